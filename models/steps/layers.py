"""The layers of an ONNX graph that hold its weights, and what steps ask of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError, UserError
from ..variants import Step

__all__ = ["HEAVY", "Layer", "check_layers", "find_layers", "lift_constants", "upgrade", "zero_points"]

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that hold nearly all weights and take nearly all time."""

_QUANTIZED = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv",
     "QLinearMatMul", "MatMulNBits")
)  # fmt: skip
_INTEGER = frozenset({"ConvInteger", "MatMulInteger"})
_NEAR = 0.6


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul whose weights are float32 and constant."""

    node: Any
    tensor: Any
    """The TensorProto of its weights."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """Its weights as they are stored."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self.tensor), dtype=np.float32)

    @property
    def output_axis(self) -> int:
        """The axis of the stored weights that counts the layer's output channels (of one group)."""
        return {"Conv": 0, "ConvTranspose": 1, "Gemm": 1 - self._transposed}.get(
            self.node.op_type, len(self.tensor.dims) - 1
        )

    @property
    def input_axis(self) -> int:
        """The axis of the stored weights that counts its input channels (of one group)."""
        return {"Conv": 1, "ConvTranspose": 0, "Gemm": self._transposed}.get(
            self.node.op_type, len(self.tensor.dims) - 2
        )

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 for other layers."""
        return next((int(attribute.i) for attribute in self.node.attribute if attribute.name == "group"), 1)

    @property
    def _transposed(self) -> int:
        return next((attribute.i for attribute in self.node.attribute if attribute.name == "transB"), 0)

    def by_output(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """A view of *weight*, stored as this layer's, with output channels first, then input channels."""
        return np.moveaxis(weight, (self.output_axis, self.input_axis), (0, 1))

    def stored(self, weight: NDArray[Any]) -> NDArray[Any]:
        """*weight* as `by_output` gives it in the order of axes in which it is stored."""
        return np.ascontiguousarray(np.moveaxis(weight, (0, 1), (self.output_axis, self.input_axis)))


def find_layers(graph: Any) -> list[Layer]:
    """All layers of *graph*, in its order; a MatMul of two activations is none."""
    from onnx import TensorProto

    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    return [
        Layer(node=node, tensor=tensors[node.input[1]])
        for node in graph.node
        if node.op_type in HEAVY and len(node.input) > 1 and node.input[1] in tensors
        if len(tensors[node.input[1]].dims) > 1
    ]


def check_layers(graph: Any, step: Step, kinds: Sequence[str] = HEAVY) -> list[Layer]:
    """The layers that *step* is to change: those of *kinds* that it need not keep.

    Raises `UserError` where it is to keep a node that *graph* does not have, and `UnsupportedError` where the graph is
    quantized already, has no such layer, or has NaN or infinite weights.
    """
    names = {node.name for node in graph.node}
    for name in step.keep:
        if name not in names:
            raise UserError(f"{step.text}: the graph has no node {name!r}{_near(name, graph)}")
    coded = next((node for node in graph.node if node.op_type in _QUANTIZED), None)
    if coded is not None:
        raise _unfit(step, f"the graph is quantized already ({coded.op_type} at node {coded.name!r})")
    layers = find_layers(graph)
    for layer in layers:
        if not np.isfinite(layer.weight).all():
            raise _unfit(step, f"weights {layer.tensor.name!r} of node {layer.node.name!r} hold NaN or infinite values")
    chosen = [layer for layer in layers if layer.node.op_type in kinds and layer.node.name not in step.keep]
    if not chosen:
        kept = f" beside the {len(step.keep)} to keep" if step.keep else ""
        raise _unfit(step, f"the graph has no {_listed(kinds)} with constant float32 weights{kept}")
    return chosen


def lift_constants(graph: Any) -> None:
    """Make initializers of all Constant nodes that hold one tensor, in place: steps look for weights there."""
    kept = []
    for node in graph.node:
        tensor = next((a.t for a in node.attribute if a.name == "value"), None) if node.op_type == "Constant" else None
        if tensor is None:
            kept.append(node)
            continue
        lifted = graph.initializer.add()
        lifted.CopyFrom(tensor)
        lifted.name = node.output[0]
    del graph.node[:]
    graph.node.extend(kept)


def upgrade(model: Any, opset: int, step: Step) -> Any:
    """*model* in at least *opset*, by ONNX's own converter; node names and their metadata stay.

    Raises `UnsupportedError` where the converter cannot.
    """
    import onnx

    now = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if now >= opset:
        return model
    try:
        made = onnx.version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _unfit(step, f"it needs opset {opset}, and the graph cannot be converted from {now}: {reason}") from error
    known = {node.output[0]: node for node in model.graph.node}
    for node in made.graph.node:
        source = known.get(node.output[0]) if node.output else None
        if source is not None and source.op_type == node.op_type:
            node.name = source.name
            del node.metadata_props[:]
            node.metadata_props.extend(source.metadata_props)
    return made


def zero_points(graph: Any) -> dict[str, NDArray[np.float32]]:
    """For each quantized weight what value stands for zero, in a shape that broadcasts against it."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        # DequantizeLinear(x, scale, zero point); ConvInteger and MatMulInteger(x, w, x's zero point, w's zero point).
        place, given = (0, 2) if node.op_type == "DequantizeLinear" else (1, 3)
        if place == 1 and node.op_type not in _INTEGER:
            continue
        if len(node.input) <= given or node.input[place] not in tensors or node.input[given] not in tensors:
            continue
        value = numpy_helper.to_array(tensors[node.input[given]]).astype(np.float32)
        rank = len(tensors[node.input[place]].dims)
        axis = {"ConvInteger": 0, "MatMulInteger": rank - 1}.get(node.op_type, _axis(node))
        if value.size == 1:
            found[node.input[place]] = value.reshape(())
        elif value.ndim == 1:
            found[node.input[place]] = value.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
    return found


def _axis(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)


def _unfit(step: Step, reason: str) -> UnsupportedError:
    return UnsupportedError(f"{step.text} does not apply: {reason}", stage="refactor")


def _listed(kinds: Iterable[str]) -> str:
    *most, last = kinds
    return f"{', '.join(most)} or {last}" if most else last


def _near(name: str, graph: Any) -> str:
    candidates: Mapping[str, None] = dict.fromkeys(node.name for node in graph.node if node.op_type in HEAVY)
    near = difflib.get_close_matches(name, candidates, n=3, cutoff=_NEAR)
    if near:
        return f"; did you mean {', '.join(near)}?"
    return f"; its layers are {', '.join([*candidates][:3])}, ..." if candidates else ""
