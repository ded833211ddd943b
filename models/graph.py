"""What every ONNX graph goes through, whoever exported it: simplify, name, check, stamp. Export process only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compare import compare
from .engine import run_graph
from .spec import TensorSpec

__all__ = ["MAX_BYTES", "count_weights", "infer", "name_nodes", "simplify", "stamp", "strip", "tensor_specs"]

MAX_BYTES = 2**31 - 2**20
"""Protobuf's limit for one message, less some room for metadata."""

Array = NDArray[np.generic]

_SAME = 1e-4
"""Relative error within which a simplified graph counts as unchanged: folding constants rounds differently."""

# They turn MatMul + Add over more than two dimensions into Reshape, Gemm, Reshape, which only adds nodes.
_SKIPPED_FUSIONS = ["FusionGemm", "FusionGemmAdd"]

_PREFIX = "bakeoff."
_KEPT_NODE_METADATA = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")


def simplify(model: Any, feeds: Sequence[Array], *, keep: bool = False) -> tuple[Any, list[Array], tuple[str, ...]]:
    """Simplify the static *model*, or *keep* it as it is; return it, its outputs for *feeds*, and notes.

    Both graphs are run on *feeds*. The simplified one is kept only if it has the same inputs and outputs and computes
    the same; else the original comes back with a note that says why. Raises what the engine raises where the
    original does not run.
    """
    import onnx
    import onnxslim

    expected = _run(model, feeds)
    if keep:
        return model, expected, ()
    try:
        # Its own shape inference is symbolic and slow (25 s for a ViT), and the graph is static.
        slim = onnxslim.slim(_copy(model), no_shape_infer=True, skip_fusion_patterns=_SKIPPED_FUSIONS)
        onnx.checker.check_model(slim)
        problem = _signature_change(model, slim)
        if not problem:
            comparison = compare(_run(slim, feeds), expected)
            if not comparison.within(_SAME):
                problem = comparison.problem or f"its outputs moved by {comparison.max_rel_error:.2g}"
    # The simplifier raises anything at all on graphs it did not foresee; the original graph is still good.
    except Exception as error:  # noqa: BLE001
        problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    if problem:
        return model, expected, (f"not simplified by onnxslim: {problem}",)
    _carry_metadata(model.graph, slim.graph)
    return slim, expected, ()


def name_nodes(graph: Any) -> None:
    """Give every node of *graph* and of its subgraphs a name that no other has; good names stay as they are."""
    nodes = list(_nodes(graph))
    taken = {node.name for node in nodes}
    used: set[str] = set()
    for index, node in enumerate(nodes):
        if not node.name or node.name in used:
            base = node.name or f"node_{node.op_type}"
            number = index
            while f"{base}_{number}" in taken:
                number += 1
            node.name = f"{base}_{number}"
            taken.add(node.name)
        used.add(node.name)


def infer(model: Any, *, strict: bool) -> Any:
    """*model* with all shapes inferred, and checked.

    Raises `onnx.shape_inference.InferenceError` or a checker error.
    """
    import onnx

    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict, data_prop=True)
    onnx.checker.check_model(inferred)
    return inferred


def strip(model: Any) -> None:
    """Remove what differs between machines or runs: documentation strings, stack traces, paths, exporter metadata."""
    del model.metadata_props[:]
    graph = model.graph
    model.doc_string = graph.doc_string = ""
    del graph.metadata_props[:]
    for item in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.doc_string = ""
        del item.metadata_props[:]
    for node in _nodes(graph):
        node.doc_string = ""
        kept = [(entry.key, entry.value) for entry in node.metadata_props if entry.key in _KEPT_NODE_METADATA]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)


def stamp(model: Any, provenance: Mapping[str, str]) -> None:
    """Write *provenance* into the file's metadata, under keys that begin with `bakeoff.`."""
    for key, value in sorted(provenance.items()):
        model.metadata_props.add(key=_PREFIX + key, value=value)


def tensor_specs(values: Any, observed: Sequence[Array] = ()) -> list[TensorSpec]:
    """Specs of graph inputs or outputs; a dimension that is not static is taken from the arrays *observed*."""
    import onnx

    specs = []
    for index, value in enumerate(values):
        kind = value.type.tensor_type
        shape = observed[index].shape if observed else tuple(dim.dim_value for dim in kind.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
        specs.append(TensorSpec(name=value.name, shape=tuple(shape), dtype=dtype))
    return specs


def count_weights(model: Any) -> tuple[int, int]:
    """How many values the weights of *model* have, and how many of these are exactly zero.

    Weights are the initializers of two and more dimensions: biases, scales and statistics are not pruned.
    """
    from onnx import numpy_helper

    values = zeros = 0
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1:
            array = numpy_helper.to_array(tensor)
            values += array.size
            zeros += array.size - int(np.count_nonzero(array.astype(np.float32)))
    return values, zeros


def _run(model: Any, feeds: Sequence[Array]) -> list[Array]:
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        (outputs,) = run_graph(path, [feeds])
    return list(outputs)


def _copy(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _signature_change(before: Any, after: Any) -> str:
    for what in ("input", "output"):
        left = [(v.name, v.type.tensor_type.elem_type) for v in getattr(before.graph, what)]
        right = [(v.name, v.type.tensor_type.elem_type) for v in getattr(after.graph, what)]
        if left != right:
            return f"it changed the graph's {what}s from {[n for n, _ in left]} to {[n for n, _ in right]}"
    return ""


def _carry_metadata(before: Any, after: Any) -> None:
    """The simplifier drops node metadata: bring it back for every output that is still made."""
    by_output = {output: node for node in before.node for output in node.output if output}
    for node in after.node:
        source = next((by_output[output] for output in node.output if output in by_output), None)
        if source is not None and not node.metadata_props:
            node.metadata_props.extend(source.metadata_props)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else []:
                yield from _nodes(subgraph)
