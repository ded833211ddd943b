"""Weights stored in 8 or 4 bits and computed with in floating point: smaller files, not faster arithmetic.

Both are plain ONNX, DequantizeLinear in front of each layer, which a runtime may keep (and unpack at every call), fold
into fp32 when it loads, or fuse with the layer. ONNX Runtime unpacks convolutions at every call (0.4 to 0.8 of fp32's
speed on one core), OpenVINO folds them (1.0) and keeps Gemm packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from ..variants import Step
from ..walk_graph import reads
from .base import StepContext, StepResult, versions_of
from .layers import Layer, check_layers, lift_constants, upgrade
from .rounding import ROUNDING, round_in_sums

__all__ = ["apply_int4", "apply_int8", "block_size"]

_INT8_OPSET = 13
"""The first with a scale for each channel."""
_INT4_OPSET = 21
"""The first with 4-bit integers and blocks."""

_BLOCK = 32
_LARGEST_BLOCK = 64
_SMALLEST_BLOCK = 16
"""Below, the scales would take as much room as the weights."""

_CLIPS = np.arange(1.0, 0.69, -0.05)
"""Shares of a block's largest weight that are tried as its range."""


def apply_int8(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* with int8 weights, symmetric, one scale for each output channel, rounded in sums (see `rounding`).

    Raises what `check_layers` raises.
    """
    made = _copy(upgrade(model, _INT8_OPSET, step))
    layers = check_layers(made.graph, step)
    for layer in layers:
        turned = layer.by_output(layer.weight)
        scale = _positive(np.abs(turned).reshape(len(turned), -1).max(axis=1) / 127.0)
        levels = layer.stored(round_in_sums(turned / scale.reshape(-1, *[1] * (turned.ndim - 1)))).astype(np.int8)
        _store(made.graph, layer, levels, scale, {"axis": layer.output_axis})
    parameters = {"weights": f"int8, symmetric, per output channel, {ROUNDING}", "keep": "|".join(step.keep)}
    return _result(made, step, parameters, layers, [])


def apply_int4(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* with int4 weights, symmetric, one scale for each block of 16 to 64 input channels (see `block_size`).

    Of each block's range that share is taken which leaves the smallest squared error. Layers whose input channels make
    no blocks (first layers, depthwise convolutions) stay in fp32. Raises `UnsupportedError` where all are such, and
    what `check_layers` raises.
    """
    import ml_dtypes

    made = _copy(upgrade(model, _INT4_OPSET, step))
    done, left = [], []
    for layer in check_layers(made.graph, step):
        size = block_size(layer.weight.shape[layer.input_axis])
        if size is None:
            left.append(layer)
            continue
        levels, scale = _in_blocks(layer, size)
        coded = levels.astype(ml_dtypes.int4)
        _store(made.graph, layer, coded, scale, {"axis": layer.input_axis, "block_size": size})
        done.append(layer)
    if not done:
        reason = f"no layer's input channels can be cut into blocks of {_SMALLEST_BLOCK} to {_LARGEST_BLOCK}"
        raise UnsupportedError(f"{step.text} does not apply: {reason}", stage="refactor")
    parameters = {
        "weights": f"int4, symmetric, in blocks of input channels, {ROUNDING}",
        "block": f"{_BLOCK} where it divides the channels, else the largest divisor up to {_LARGEST_BLOCK}",
        "keep": "|".join(step.keep),
    }
    return _result(made, step, parameters, done, left)


def block_size(channels: int) -> int | None:
    """Input channels in a block: 32, else their largest divisor from 16 to 64; None where there is none."""
    if channels % _BLOCK == 0:
        return _BLOCK
    sizes = range(_LARGEST_BLOCK, _SMALLEST_BLOCK - 1, -1)
    return next((size for size in sizes if channels % size == 0), None)


def _in_blocks(layer: Layer, size: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Levels -7..7 in the shape of the layer's weights, and scales in that shape with the inputs counting blocks."""
    turned = layer.by_output(layer.weight)
    shape = (len(turned), turned.shape[1] // size, size, *turned.shape[2:])
    blocks = turned.reshape(shape)
    full = np.abs(blocks).max(axis=2, keepdims=True) / 7.0
    best = _positive(full)
    error = np.full(full.shape, np.inf, dtype=np.float32)
    for share in _CLIPS:
        scale = _positive(full * np.float32(share))
        found = np.square(np.clip(np.rint(blocks / scale), -7, 7) * scale - blocks).sum(axis=2, keepdims=True)
        best = np.where(found < error, scale, best)
        error = np.minimum(found, error)
    levels = round_in_sums(np.clip(blocks / best, -7, 7).reshape(turned.shape)).astype(np.int8)
    return layer.stored(levels), layer.stored(best[:, :, 0])


def _positive(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights that are all zero need some scale, and any will do."""
    return np.where(scale > 0, scale, 1.0).astype(np.float32)


def _copy(model: Any) -> Any:
    made = type(model)()
    made.CopyFrom(model)
    lift_constants(made.graph)
    return made


def _store(graph: Any, layer: Layer, levels: NDArray[Any], scale: NDArray[np.float32], attributes: Any) -> None:
    """Have *layer* read dequantized *levels*; layers that share a weight share its levels."""
    from onnx import helper, numpy_helper

    name = layer.tensor.name
    made = f"{name}_dequantized"
    layer.node.input[1] = made
    if any(tensor.name == f"{name}_quantized" for tensor in graph.initializer):
        return
    for suffix, array in (("quantized", levels), ("scale", scale)):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_{suffix}"))
    inputs = [f"{name}_quantized", f"{name}_scale"]
    node = helper.make_node("DequantizeLinear", inputs, [made], name=f"{name}_dequantize", **attributes)
    graph.node.insert(0, node)


def _result(
    made: Any, step: Step, parameters: dict[str, str], done: Sequence[Layer], left: Sequence[Layer]
) -> StepResult:
    read = {name for node in made.graph.node for name in reads(node)} | {value.name for value in made.graph.output}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in read]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    facts = {"quantized layers": f"{len(done)} of {len(done) + len(left) + len(step.keep)}"}
    if left:
        facts["layers in fp32"] = ", ".join(layer.node.name for layer in left)
    return StepResult(
        model=made, parameters=parameters, versions=versions_of("onnx", "numpy", "ml_dtypes"), facts=facts
    )
