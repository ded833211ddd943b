"""An ONNX graph as values that flow from its inputs, with roundings (Q/DQ pairs, casts) seen through.

A *raw* value is what an operator computes; after it may come roundings, which change the figures but not the meaning:
`X -> QuantizeLinear -> DequantizeLinear -> X'`. What the next operators read, X', is where X *settles*. The onnx
package is needed, nothing else; child processes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Net", "element_types", "extract", "kind", "read_net", "reads", "rewired"]

_ROUNDINGS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Identity"})

_KINDS = {"Gemm": "MatMul", "MatMulNBits": "MatMul"}
"""Operators that one layer may become. Not integer ones (ConvInteger): they compute something else, sums of codes."""


def kind(node: Any) -> str:
    """What *node* computes, however it is spelled: "MatMul" for Gemm too."""
    return _KINDS.get(node.op_type, str(node.op_type))


def reads(node: Any) -> Iterator[str]:
    """Names of all values that *node* reads, those that its subgraphs take from outside included."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
            inner = {value.name for value in [*graph.input, *graph.initializer]}
            for item in graph.node:
                yield from (name for name in reads(item) if name not in inner)
                inner.update(item.output)
            yield from (value.name for value in graph.output if value.name not in inner)


@dataclass(frozen=True, kw_only=True)
class Net:
    """The nodes of a graph that depend on its inputs, and who makes and reads their values."""

    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Any, ...]
    """In topological order, without roundings and without what is computed from weights alone."""
    maker: Mapping[str, Any]
    """Value -> the live node that computes it; graph inputs have none."""
    readers: Mapping[str, Sequence[Any]]
    """Value -> the live nodes that read it, in topological order."""
    fixed: Mapping[str, Any]
    """Value -> the node that computes it from weights alone."""
    shapes: Mapping[str, tuple[int, ...]]
    """Shapes of the initializers."""

    def live(self, name: str) -> bool:
        """Whether the value *name* depends on a graph input."""
        return name in self.maker or name in self.inputs

    def rounding(self, node: Any) -> bool:
        """Whether *node* only rounds a live value or hands it on."""
        return node.op_type in _ROUNDINGS and self.live(node.input[0])

    def origin(self, name: str) -> str:
        """The raw value that *name* is a rounding of; *name* itself where nothing rounds it."""
        while name in self.maker and self.rounding(self.maker[name]):
            name = self.maker[name].input[0]
        return name

    def ends(self, raw: str) -> list[str]:
        """Where operators and graph outputs read the value *raw*, roundings seen through; integers left out."""
        found = []
        coded = raw in self.maker and self.maker[raw].op_type == "QuantizeLinear"
        readers = self.readers.get(raw, ())
        if not coded and (raw in self.outputs or any(not self.rounding(node) for node in readers)):
            found.append(raw)
        for node in readers:
            # A scale or zero point that depends on the inputs is no rounding of the value.
            if self.rounding(node) and node.input[0] == raw:
                found.extend(self.ends(node.output[0]))
        return found

    def settled(self, raw: str) -> str:
        """The rounded value that is read in the place of *raw*, the first of several; *raw* if it is read as it is."""
        ends = self.ends(raw)
        return next((name for name in ends if name != raw), raw)

    def operators(self, raw: str) -> list[Any]:
        """Nodes that read *raw*, directly or rounded, in topological order."""
        found = [node for end in self.ends(raw) for node in self.readers.get(end, ()) if not self.rounding(node)]
        return list({id(node): node for node in found}.values())

    def weights(self, node: Any) -> tuple[int, ...]:
        """Shape of what *node* multiplies with, if that is an initializer or computed from one; else ()."""
        name = node.input[1] if len(node.input) > 1 else ""
        while name in self.fixed and self.fixed[name].input:
            name = self.fixed[name].input[0]
        return self.shapes.get(name, ())

    def live_inputs(self, node: Any) -> list[str]:
        """Raw values that *node* reads, in the order of its inputs."""
        return [self.origin(name) for name in node.input if name and self.live(name)]


def read_net(model: Any) -> Net:
    """*model* (a ModelProto) as a `Net`."""
    graph = model.graph
    initial = {item.name: tuple(item.dims) for item in graph.initializer}
    inputs = tuple(value.name for value in graph.input if value.name not in initial)
    kept: list[Any] = []
    maker: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        taken = list(dict.fromkeys(reads(node)))
        made = {name: node for name in node.output if name}
        if not any(name in maker or name in inputs for name in taken):
            fixed.update(made)
            continue
        kept.append(node)
        maker.update(made)
        for name in taken:
            readers.setdefault(name, []).append(node)
    net = Net(
        model=model,
        inputs=inputs,
        outputs=tuple(value.name for value in graph.output),
        nodes=(),
        maker=maker,
        readers=readers,
        fixed=fixed,
        shapes=initial,
    )
    return replace(net, nodes=tuple(node for node in kept if not net.rounding(node)))


def extract(
    model: Any,
    nodes: Iterable[Any],
    targets: Iterable[str],
    fed: Mapping[str, int] | None = None,
) -> Any:
    """A model of those of *nodes* that the values *targets* need, with *targets* as its outputs, all in float32.

    Initializers and inputs come from *model*, as far as they are needed; *fed* are further inputs in float32: name ->
    number of dimensions. The output for target T is called `seen::T`.
    """
    import onnx

    graph, fed, targets = model.graph, fed or {}, [*targets]
    wanted, kept = set(targets), []
    for node in reversed([*nodes]):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    real = onnx.TensorProto.FLOAT
    further = [onnx.helper.make_tensor_value_info(name, real, [None] * rank) for name, rank in fed.items()]
    # A cast, because not every engine hands out every dtype (bfloat16).
    seen = {name: f"seen::{name}" for name in targets}
    casts = [onnx.helper.make_node("Cast", [name], [out], name=out, to=real) for name, out in seen.items()]
    made = onnx.helper.make_graph(
        [*kept[::-1], *casts],
        graph.name or "walk",
        [value for value in [*graph.input, *further] if value.name in wanted],
        [onnx.helper.make_tensor_value_info(name, real, None) for name in seen.values()],
        [item for item in graph.initializer if item.name in wanted],
    )
    return onnx.helper.make_model(
        made, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def rewired(node: Any, read: Mapping[str, str], write: Mapping[str, str] | None = None) -> Any:
    """A copy of *node* with other names: *read* for its inputs, *write* for its outputs, old name -> new name."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[:] = [read.get(name, name) for name in node.input]
    copy.output[:] = [(write or {}).get(name, name) for name in node.output]
    return copy


def element_types(model: Any) -> dict[str, int]:
    """ONNX element type of every value of *model* for which shape inference knows it."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")}
