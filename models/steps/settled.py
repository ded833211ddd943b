"""What a runtime that quantizes by itself is given: the graph in float, its weights on the 256 levels of int8 already.

Such a tool rounds weights one by one and leaves biases as they are. Where the weights lie on the levels that it will
choose (symmetric, per output channel, the largest at 127), it has nothing left to round, and both what rounding in sums
saves and what corrected biases bring (see `rounding`, `bias`) are there for it too. Kernels that pair products in 16
bits are no concern here: LiteRT's add them up in 32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..variants import Step
from .base import StepContext, StepResult, versions_of
from .bias import mean_inputs, shifts
from .layers import check_layers, lift_constants
from .rounding import ROUNDING, round_in_sums
from .static_int8 import check_feeds

__all__ = ["apply"]

_KINDS = ("Conv", "Gemm")
_LARGEST = 127.0


def apply(model: Any, step: Step, context: StepContext) -> StepResult:
    """*model* with settled weights and corrected biases. Raises what `static_int8.apply` raises."""
    from onnx import numpy_helper

    made = type(model)()
    made.CopyFrom(model)
    lift_constants(made.graph)
    layers = [layer for layer in check_layers(made.graph, step) if layer.node.op_type in _KINDS]
    feeds = check_feeds(made, context.calibration, step)
    uses = [name for node in made.graph.node for name in node.input]
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    layers = [layer for layer in layers if uses.count(layer.tensor.name) == 1]
    means = mean_inputs(made, [layer.node.input[0] for layer in layers], feeds)
    corrected = 0
    for layer in layers:
        weight = layer.by_output(layer.weight)
        rounded = _rounded(weight)
        bias = tensors.get(layer.node.input[2]) if len(layer.node.input) > 2 else None
        if bias is not None and uses.count(bias.name) == 1:
            value = numpy_helper.to_array(bias) - shifts(layer, rounded - weight, means[layer.node.input[0]])
            bias.CopyFrom(numpy_helper.from_array(value.astype(np.float32), bias.name))
            corrected += 1
        layer.tensor.CopyFrom(numpy_helper.from_array(layer.stored(rounded), layer.tensor.name))
    return StepResult(
        model=made,
        parameters={"weights": f"on the levels of int8, {ROUNDING}", "calibration calls": str(len(feeds))},
        versions=versions_of("onnx"),
        facts={"settled layers": str(len(layers)), "corrected biases": str(corrected)},
    )


def _rounded(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """*weight* (outputs, inputs, ...) on its levels, in float32 as a quantizer will divide it."""
    peak = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(peak > 0, peak / np.float32(_LARGEST), np.float32(1)).astype(np.float32)
    scale = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return np.asarray(round_in_sums(weight / scale) * scale, dtype=np.float32)
