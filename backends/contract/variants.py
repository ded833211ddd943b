"""The nets of `nets` after refactoring: statically quantized, in half precision, and with most weights zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..base import Array
from .quantize import quantize_graph

__all__ = ["HEAVY_OPERATORS", "QUANTIZED", "VARIANTS", "quantization", "write_variants"]

QUANTIZED = "qdq"
"""QuantizeLinear and DequantizeLinear around a stem, a depthwise convolution, a residual addition and a Gemm."""

VARIANTS = ("zeros", "half", QUANTIZED)
"""Variants of one net: 80% of the weights are zero; fp16 with inputs and outputs in fp32; static int8."""

HEAVY_OPERATORS = 5
"""Convolutions and matrix products in each of them."""

_FLOAT = "qdq_float"
_IMAGES = "qdq_images.npz"
_COUNT = 8
_ZERO_SHARE = 0.8


def write_variants(folder: Path, model: Any) -> None:
    """Write the variants of *model*, an `onnx.ModelProto` with one input and one output, into *folder*."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    images = np.random.default_rng(11).standard_normal((_COUNT, *shape[1:]), np.float32)
    np.savez(folder / _IMAGES, images=images)
    _save(model, folder / f"{_FLOAT}.onnx")
    _save(quantize_graph(model, [image[None] for image in images]), folder / f"{QUANTIZED}.onnx")
    _save(_half(model), folder / "half.onnx")
    _save(_zeros(model), folder / "zeros.onnx")


def quantization(folder: Path, net: str) -> dict[str, Any] | None:
    """What `CompileRequest.quantization` of *net* holds, by name; None for a net that no step has quantized."""
    if net != QUANTIZED:
        return None
    return {"kind": "int8", "float_model": folder / f"{_FLOAT}.onnx", "calibration": folder / _IMAGES, "keep": []}


def _half(model: Any) -> Any:
    from onnx import ModelProto, TensorProto, helper

    half = ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    (source,), (sink,) = graph.input, graph.output
    inside = {source.name: f"{source.name}_half", sink.name: f"{sink.name}_half"}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    _replace(graph, {name: array.astype(np.float16) for name, array in _floats(graph)})
    ends = [
        helper.make_node("Cast", [source.name], [inside[source.name]], name="to_half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", [inside[sink.name]], [sink.name], name="from_half", to=TensorProto.FLOAT),
    ]
    nodes = [ends[0], *graph.node, ends[1]]
    del graph.node[:]
    graph.node.extend(nodes)
    return half


def _zeros(model: Any) -> Any:
    from onnx import ModelProto

    sparse = ModelProto()
    sparse.CopyFrom(model)
    weights = {name: array for name, array in _floats(sparse.graph) if array.ndim > 1}
    _replace(sparse.graph, {name: _thinned(array) for name, array in weights.items()})
    return sparse


def _thinned(weight: Array) -> Array:
    size = np.abs(weight)
    return np.where(size < np.quantile(size, _ZERO_SHARE), np.zeros_like(weight), weight)


def _floats(graph: Any) -> Iterable[tuple[str, Array]]:
    from onnx import TensorProto, numpy_helper

    floats = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT]
    return [(tensor.name, numpy_helper.to_array(tensor)) for tensor in floats]


def _replace(graph: Any, arrays: Mapping[str, Array]) -> None:
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))


def _save(model: Any, path: Path) -> None:
    import onnx

    onnx.checker.check_model(model)
    onnx.save(model, path)
