"""Reads an ONNX file's nodes: `python -m bakeoff.models.nodes_worker SCRATCH PARENT_PID` (see `child`, `nodes`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .child import serve
from .errors import StageError
from .near_twins import near_twins
from .nodes import Node, encode_nodes
from .value_numbers import number_values
from .walk_graph import reads

__all__ = ["describe", "work"]

_HEAVY = frozenset(
    {
        "Conv",
        "ConvInteger",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "MatMulInteger",
        "MatMulNBits",
        "QLinearConv",
        "QLinearMatMul",
    }
)
_WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3}
"""Place of the weights among the inputs, where it is not 1."""
_PACKED = frozenset({"MatMulNBits"})
"""Their weights are stored in a shape that is nobody else's."""
_SCOPES = "pkg.torch.onnx.name_scopes"
_LONGEST = 10_000
_STATIC = frozenset({"Shape", "Size"})
"""What they tell of a tensor is known before it is computed."""


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """The nodes of the file `model` of *request*, encoded."""
    import onnx

    path = Path(request["model"])
    try:
        model = onnx.load(path, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    # Whatever protobuf and onnx raise on a file that they cannot read.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        raise StageError(f"{path}: cannot be read as ONNX: {reason}", stage="profile") from error
    return encode_nodes(describe(model))


def describe(model: Any) -> tuple[Node, ...]:
    """The nodes of *model* (a ModelProto, its shapes inferred) that depend on its inputs, in topological order."""
    graph = model.graph
    shapes = {value.name: _static(value) for value in [*graph.value_info, *graph.input, *graph.output]}
    stored = {item.name: tuple(item.dims) for item in graph.initializer}
    shapes.update(stored)
    live = {value.name for value in graph.input if value.name not in stored}
    outputs = {value.name for value in graph.output}
    numbers = number_values(graph)
    twins = near_twins(graph, numbers)
    maker: dict[str, int] = {}
    first: dict[bytes, int] = {}
    found: list[Node] = []
    for node in graph.node:
        taken = list(dict.fromkeys(reads(node)))
        made = [name for name in node.output if name]
        if node.op_type in _STATIC or not live.intersection(taken):
            continue
        weights, number = _weights(node, live), numbers[made[0]] if made else node.name.encode()
        found.append(
            Node(
                name=node.name,
                op=node.op_type,
                reads=tuple(dict.fromkeys(maker[name] for name in taken if name in maker)),
                output_shape=shapes.get(made[0]) if made else None,
                weight_shape=None if node.op_type in _PACKED else shapes.get(weights),
                heavy=bool(weights),
                output=not outputs.isdisjoint(made),
                repeats=first.get(number),
                resembles=maker.get(twins.get(made[0], "")) if made else None,
                scope=_scope(node),
            )
        )
        first.setdefault(number, len(found) - 1)
        live.update(made)
        maker.update(dict.fromkeys(made, len(found) - 1))
    return tuple(found)


def _weights(node: Any, live: set[str]) -> str:
    """Name of the constant that a heavy *node* multiplies with; "" for a light one."""
    place = _WEIGHTS.get(node.op_type, 1)
    if node.op_type not in _HEAVY or len(node.input) <= place or node.input[place] in live:
        return ""
    return str(node.input[place])


def _scope(node: Any) -> str:
    """The module that torch's exporter notes: the last but one of "['', 'layer1', 'layer1.conv', 'conv2d']"."""
    noted = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    try:
        scopes = json.loads(noted.replace("'", '"')) if len(noted) < _LONGEST else []
    except ValueError:
        return ""
    plain = isinstance(scopes, list) and len(scopes) > 1 and isinstance(scopes[-2], str)
    return scopes[-2] if plain else ""


def _static(value: Any) -> tuple[int, ...] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
