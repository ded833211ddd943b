"""Which values of an ONNX graph are never negative, whatever its inputs are."""

from __future__ import annotations

from .node import OnnxNode

__all__ = ["Signs"]

_KEEPING = frozenset({"AveragePool", "Concat", "Identity", "MaxPool"})
"""Operators whose results are not negative where none of their inputs is."""


class Signs:
    """What is known so far, as a walk goes along the graph."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._levels: dict[str, int] = {}
        """By values in 8 bits, say, of which none is below its zero point: that zero point."""

    def never_negative(self, value: str) -> bool:
        """Whether no element of *value* (a name) is below zero. False: it may be, or nobody knows."""
        return value in self._values

    def see(self, node: OnnxNode) -> None:
        """Take the next *node*, in topological order."""
        if node.op_type == "QuantizeLinear":
            zero = _zero_point(node)
            if zero is not None and self.never_negative(node.inputs[0]):
                self._levels[node.outputs[0]] = zero
        elif self._gives_none(node):
            self._values.update(node.outputs)

    def _gives_none(self, node: OnnxNode) -> bool:
        """Whether no result of *node* is negative."""
        if node.op_type in _KEEPING:
            return all(map(self.never_negative, node.inputs))
        if node.op_type == "DequantizeLinear":
            zero = _zero_point(node)
            return zero is not None and (zero == self._levels.get(node.inputs[0]) or zero == _lowest(node))
        return node.op_type == "Relu" or (node.op_type == "Clip" and _clips_at_zero(node))


def _clips_at_zero(node: OnnxNode) -> bool:
    """Whether a Clip lets nothing negative through. Both bounds count: an upper one below the lower one wins."""
    bounds = []
    for position, name in ((1, "min"), (2, "max")):
        if node.has(position):
            known = node.constants.get(position)
            bounds.append(None if known is None else float(known))
        elif name in node.attributes:
            bounds.append(float(node.attributes[name]))
        elif name == "min":
            return False
    return all(bound is not None and bound >= 0 for bound in bounds)


def _zero_point(node: OnnxNode) -> int | None:
    """That of a rounding by one positive scale; None where it has several, or they are computed."""
    scale, zero = node.constants.get(1), node.constants.get(2)
    if scale is None or scale.numel() != 1 or not float(scale) > 0:
        return None
    if not node.has(2):
        return 0
    return None if zero is None or zero.is_floating_point() else int(zero)


def _lowest(node: OnnxNode) -> int | None:
    """The lowest level that a DequantizeLinear may be given; None where its zero point does not tell its type."""
    import torch

    zero = node.constants.get(2)
    return None if zero is None else int(torch.iinfo(zero.dtype).min)
