"""What a converter sees of an ONNX node, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from ...models.errors import UnsupportedError

__all__ = ["Converter", "Function", "OnnxNode", "Step", "Tensor", "call", "unsupported"]

Tensor = Any
"""A `torch.Tensor`; torch is imported inside functions only."""

Function = Callable[..., Any]
"""Takes tensors (None for an absent optional input), returns one tensor or a tuple of them."""

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One ONNX node with all that is known of it before anything runs."""

    name: str
    op_type: str
    domain: str
    """"" for ONNX's own operators."""
    opset: int
    """Version of *domain* that the model imports."""
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    """Value names; "" for an absent optional input."""
    outputs: tuple[str, ...]
    """Value names; "" for an output that nobody wants."""
    constants: Mapping[int, Tensor]
    """Inputs whose values are known at import, by position."""
    shape_of: Callable[[str], tuple[int, ...]]
    """Static shape of a value, by its name."""
    stage: str
    """"compile" or "load": what an error names."""
    weights_only: bool = False
    """Nothing in the graph quantizes an activation, so that quantized weights are multiplied in float."""
    zero_pads: bool = False
    """What is taken the maximum of is never negative, and is to be padded with zeros, in front of that."""

    def has(self, position: int) -> bool:
        """Whether the input at *position* is given."""
        return position < len(self.inputs) and self.inputs[position] != ""

    def shape(self, position: int) -> tuple[int, ...]:
        """Static shape of the input at *position*."""
        known = self.constants.get(position)
        return tuple(known.shape) if known is not None else self.shape_of(self.inputs[position])

    def attribute(self, name: str, default: _T) -> _T:
        """The attribute's value or *default*; text comes as str, repeated values as list."""
        value: _T = self.attributes.get(name, default)
        return value

    def constant(self, position: int, what: str) -> Tensor:
        """The input at *position*, which must be known at import; *what* it means goes into the error."""
        if position not in self.constants:
            raise unsupported(self, f"its {what} is computed from the input data; it has to be constant")
        return self.constants[position]

    def ints(self, position: int, what: str) -> list[int]:
        """The constant input at *position* as a flat list of int."""
        return [int(value) for value in self.constant(position, what).reshape(-1).tolist()]

    def ints_given(self, name: str, position: int) -> list[int] | None:
        """A list that newer opsets give as an input and older ones as attribute *name*; None if neither is there."""
        if self.has(position):
            return self.ints(position, name)
        given = self.attributes.get(name)
        return None if given is None else list(given)

    def wants(self, output: int) -> bool:
        """Whether anybody may read the output at that position."""
        return output < len(self.outputs) and self.outputs[output] != ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The module made for a node, and which of the node's inputs it is called with."""

    module: Any
    """An `nn.Module` that holds the constants and returns one tensor or a tuple."""
    arguments: tuple[int, ...]
    many: bool = False
    """The module returns a tuple, one tensor for each output of the node."""
    fold: bool = True
    """False: stays in the graph even if all its inputs are constant."""


Converter = Callable[[OnnxNode], Step]
"""Makes the module for a node, or raises `UnsupportedError`."""


def unsupported(node: OnnxNode, why: str = "") -> UnsupportedError:
    """The error for a node that the importer cannot express."""
    domain = node.domain or "ai.onnx"
    reason = f"the torch importer cannot import {node.op_type} ({domain} opset {node.opset}) at node {node.name!r}"
    return UnsupportedError(f"{reason}: {why}" if why else reason, blame="importer", stage=node.stage)


def call(node: OnnxNode, function: Function, *positions: int, many: bool = False, fold: bool = True) -> Step:
    """Make the module that calls *function* with the node's inputs at *positions*.

    Constant inputs become buffers `input_<position>` of the module, absent ones are None, the others are its
    arguments. See `Step` for *many* and *fold*.
    """
    constants = {p: node.constants[p] for p in positions if p in node.constants}
    arguments = tuple(p for p in positions if node.has(p) and p not in constants)
    module = _module_type()(node.op_type, function, positions, arguments, constants)
    return Step(module=module, arguments=arguments, many=many, fold=fold)


@cache
def _module_type() -> Any:
    """The module class; made on first use because its base class is torch's."""
    from torch import nn

    class OnnxCall(nn.Module):  # type: ignore[misc]
        def __init__(
            self,
            op_type: str,
            function: Function,
            positions: tuple[int, ...],
            arguments: tuple[int, ...],
            constants: Mapping[int, Tensor],
        ) -> None:
            super().__init__()
            self.op_type = op_type
            self.function = function
            self.layout = tuple(
                arguments.index(p) if p in arguments else (f"input_{p}" if p in constants else None) for p in positions
            )
            for position, value in constants.items():
                self.register_buffer(f"input_{position}", value)

        def forward(self, *given: Tensor) -> Any:
            return self.function(
                *(
                    given[place] if isinstance(place, int) else None if place is None else getattr(self, place)
                    for place in self.layout
                )
            )

        def extra_repr(self) -> str:
            return self.op_type

    return OnnxCall
