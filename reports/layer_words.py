"""What a part of a graph is called: after the node that holds its arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from .profiles import GroupTimes, RowNode, RowTime, VariantTimes

__all__ = ["layer_label", "main_node", "main_place", "op_kind"]

_HEAVY = ("Conv", "Gemm", "MatMul", "QLinear")
"""How the names of operators begin that multiply with weights."""


def main_place(ops: Sequence[str]) -> int:
    """Place of the operator that *ops*, which run as one, are about: the first that multiplies, else the first."""
    return next((place for place, op in enumerate(ops) if op.startswith(_HEAVY)), 0)


def main_node(row: RowTime) -> RowNode | None:
    """The node that *row* is about; None where none is known."""
    return row.nodes[main_place([node.op for node in row.nodes])] if row.nodes else None


def layer_label(layer: GroupTimes | VariantTimes) -> str:
    """ "layer1.0.conv1 (Conv +2)": the module it was exported from, else its node's name; and how many nodes more."""
    place = main_place(layer.ops)
    others = len(layer.nodes) - 1
    return f"{layer.scopes[place] or layer.nodes[place]} ({layer.ops[place]}{f' +{others}' if others else ''})"


def op_kind(op: str, weight_shape: Sequence[int] | None) -> str:
    """ "Conv 3x3", "depthwise Conv", else the operator alone; *weight_shape* is (outputs, inputs of a group, ...)."""
    if "Conv" not in op or "Transpose" in op or weight_shape is None or len(weight_shape) < 3:
        return op
    outputs, inputs, *kernel = weight_shape
    if inputs == 1 and outputs > 1:
        return f"depthwise {op}"
    return f"{op} {'×'.join(str(length) for length in kernel)}"  # noqa: RUF001
