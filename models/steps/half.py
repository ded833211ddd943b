"""16-bit floating point throughout: fp16 and bfloat16, with fp32 inputs and outputs.

ONNX's own operator schemas say what each input and output of an operator may be, so every value becomes 16 bits wide
where its operators take that, and Casts stand where they do not (the scales of a Resize, an operator that came to
bfloat16 in a later opset) and around the nodes to keep. One pass serves both: the converters that exist (onnxruntime's
and onnxconverter-common's `float16`) know no bfloat16, and keep operators in fp32 by a list of their runtime's gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..variants import Step
from .base import StepContext, StepResult, versions_of
from .layers import HEAVY, check_layers, lift_constants, upgrade

__all__ = ["apply_bf16", "apply_fp16"]

_BF16_OPSET = 22
"""The first in which Conv and the pooling operators take bfloat16."""

_LARGEST_FP16 = float(np.finfo(np.float16).max)


def apply_fp16(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* in IEEE 754 half precision.

    Weights beyond +-65504 are clipped to that, with a note. Raises `UnsupportedError` for graphs with control flow, and
    what `check_layers` raises.
    """
    return _convert(model, step, "FLOAT16")


def apply_bf16(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* in bfloat16, converted to opset 22 first. Raises what `apply_fp16` raises, and for that conversion."""
    return _convert(upgrade(model, _BF16_OPSET, step), step, "BFLOAT16")


def _convert(model: Any, step: Step, target: str) -> StepResult:
    import onnx

    made = type(model)()
    made.CopyFrom(model)
    lift_constants(made.graph)
    layers = [node for node in made.graph.node if node.op_type in HEAVY]
    check_layers(made.graph, step)
    for node in made.graph.node:
        if any(attribute.type in (5, 10) for attribute in node.attribute):
            reason = f"node {node.name!r} ({node.op_type}) holds a graph of its own"
            raise UnsupportedError(f"{step.text} does not apply: {reason}", stage="refactor")
    walk = _Walk(onnx.shape_inference.infer_shapes(made, data_prop=True), target, frozenset(step.keep))
    notes = walk.run()
    names = {node.name for node in layers}
    facts = {"16-bit layers": f"{len(names & walk.low_nodes)} of {len(names)}", "casts": str(walk.casts)}
    parameters = {"type": target.lower(), "inputs and outputs": "float32", "keep": "|".join(step.keep)}
    versions = versions_of("onnx", "ml_dtypes", "numpy")
    return StepResult(model=walk.model, parameters=parameters, versions=versions, facts=facts, notes=notes)


@dataclass
class _Walk:
    """State of one conversion. A float32 value of the old graph has up to two versions in the new one."""

    model: Any
    target: str
    keep: frozenset[str]
    nodes: list[Any] = field(default_factory=list)
    versions: dict[tuple[str, bool], str] = field(default_factory=dict)
    """(value, in 16 bits) -> its name in the new graph."""
    made: dict[str, Any] = field(default_factory=dict)
    """Float weights of the new graph, by name."""
    low_nodes: set[str] = field(default_factory=set)
    casts: int = 0
    clipped: int = 0

    def run(self) -> tuple[str, ...]:
        """Rewrite the graph in place; return notes."""
        graph = self.model.graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.floats = self._floats()
        self.ends = {value.name for value in [*graph.input, *graph.output]}
        self.versions = {(value.name, False): value.name for value in graph.input}
        for node in graph.node:
            self._node(node)
        for value in graph.output:
            if value.name in self.floats:
                self._get(value.name, low=False)
        del graph.node[:]
        graph.node.extend(self.nodes)
        others = [tensor for tensor in graph.initializer if tensor.name not in self.floats]
        del graph.initializer[:]
        graph.initializer.extend([*others, *self.made.values()])
        if not self.clipped:
            return ()
        return (f"{self.clipped} weights beyond {_LARGEST_FP16:g} were clipped to it",)

    def _floats(self) -> set[str]:
        from onnx import TensorProto

        graph = self.model.graph
        values = [*graph.input, *graph.output, *graph.value_info]
        found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}

    def _node(self, node: Any) -> None:
        allowed = {} if node.name in self.keep else self._allowed(node)
        copy = type(node)()
        copy.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name in self.floats:
                copy.input[place] = self._get(name, low=allowed.get(("in", place), False))
        lows = [allowed.get(("out", place), False) for place in range(len(node.output))]
        for place, name in enumerate(node.output):
            if name in self.floats:
                copy.output[place] = self._name(name, low=lows[place])
                self.versions[name, lows[place]] = copy.output[place]
        if lows and lows[0] and node.output[0] in self.floats:
            self.low_nodes.add(node.name)
            self._retype(copy)
        self.nodes.append(copy)

    def _allowed(self, node: Any) -> Mapping[tuple[str, int], bool]:
        """Which inputs and outputs of *node* may be 16 bits wide; of outputs only those whose type follows."""
        import onnx

        opset = {entry.domain.replace("ai.onnx", ""): entry.version for entry in self.model.opset_import}
        domain = node.domain.replace("ai.onnx", "")
        try:
            schema = onnx.defs.get_schema(node.op_type, opset.get(domain, 1), domain)
        except onnx.defs.SchemaError:
            return {}
        wide = f"tensor({self.target.lower()})"
        open_types = {item.type_param_str for item in schema.type_constraints if wide in item.allowed_type_strs}
        found, bound = {}, set()
        for place in range(len(node.input)):
            kind = schema.inputs[min(place, len(schema.inputs) - 1)].type_str
            found["in", place] = kind in open_types
            bound.add(kind)
        for place in range(len(node.output)):
            kind = schema.outputs[min(place, len(schema.outputs) - 1)].type_str
            free = node.op_type in _TYPED_BY_ATTRIBUTE
            found["out", place] = kind in open_types and (kind in bound or free)
        return found

    def _retype(self, node: Any) -> None:
        """Where an attribute says what comes out, make it say 16 bits."""
        from onnx import TensorProto, helper, numpy_helper

        wanted = _TYPED_BY_ATTRIBUTE.get(node.op_type)
        if wanted is None:
            return
        old = next((attribute for attribute in node.attribute if attribute.name == wanted), None)
        code = TensorProto.DataType.Value(self.target)
        if wanted == "to":
            value: Any = code
        else:
            array = np.zeros(1, np.float32) if old is None else numpy_helper.to_array(old.t)
            value = numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(code)), "")
        if old is not None:
            node.attribute.remove(old)
        node.attribute.append(helper.make_attribute(wanted, value))

    def _get(self, name: str, *, low: bool) -> str:
        """The name of *name* in 16 or 32 bits, which is made here where it is not there yet."""
        from onnx import TensorProto, helper

        if (name, low) in self.versions:
            return self.versions[name, low]
        made = self._name(name, low=low)
        if name in self.weights:
            self.made[made] = self._weight(self.weights[name], made, low=low)
        else:
            code = TensorProto.DataType.Value(self.target) if low else TensorProto.FLOAT
            source = self.versions[name, not low]
            self.nodes.append(helper.make_node("Cast", [source], [made], name=f"{made}_cast", to=code))
            self.casts += 1
        self.versions[name, low] = made
        return made

    def _name(self, name: str, *, low: bool) -> str:
        """Inputs and outputs of the graph keep their name in fp32; of all else what comes first keeps it."""
        taken = self.versions.get((name, not low)) == name
        if name in self.ends:
            return f"{name}_{self.target.lower()}" if low else name
        if not taken:
            return name
        return f"{name}_{self.target.lower() if low else 'float'}"

    def _weight(self, tensor: Any, name: str, *, low: bool) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        if not low:
            made = type(tensor)()
            made.CopyFrom(tensor)
            made.name = name
            return made
        array = np.asarray(numpy_helper.to_array(tensor), dtype=np.float32)
        if self.target == "FLOAT16":
            beyond = np.isfinite(array) & (np.abs(array) > _LARGEST_FP16)
            self.clipped += int(beyond.sum())
            array = np.where(beyond, np.copysign(np.float32(_LARGEST_FP16), array), array)
        dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(self.target))
        return numpy_helper.from_array(array.astype(dtype), name)


_TYPED_BY_ATTRIBUTE = {"Cast": "to", "ConstantOfShape": "value"}
"""Operators whose output has the type that an attribute says."""
