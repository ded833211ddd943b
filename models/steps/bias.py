"""Empirical bias correction of a quantized graph (Nagel et al., 2019, "Data-Free Quantization Through Weight
Equalization and Bias Correction", section 4.2).

Rounded weights W + E shift the mean of what a layer computes by E mean(x), and depthwise layers, where few weights make
a sum, by much. With mean(x) measured on the calibration data, that is taken off the bias. On efficientnet_lite0 and
photographs it brings 2 to 4 dB at the outputs, at no cost at run time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Feeds
from .layers import Layer, find_layers
from .observe import beside_channels, observe

__all__ = ["correct_biases", "mean_inputs", "shifts"]

_KINDS = ("Conv", "Gemm")
"""Layers that have a bias of their own."""


def correct_biases(plain: Any, made: Any, feeds: Feeds, odd: Collection[str] = ()) -> int:
    """Correct the int32 biases of the QDQ graph *made*, in place, against the float graph *plain*; return how many.

    A layer is corrected if it has the same name in both and a bias that no other reads; biases of the layers *odd* come
    out odd.
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    coded = {node.output[0]: node for node in made.graph.node if node.op_type == "DequantizeLinear"}
    nodes = {node.name: node for node in made.graph.node if node.op_type in _KINDS}
    uses = [name for node in made.graph.node for name in node.input]
    chosen = []
    for layer in find_layers(plain.graph):
        twin = nodes.get(layer.node.name)
        if twin is None or len(twin.input) < 3 or twin.input[1] not in coded or twin.input[2] not in coded:
            continue
        if uses.count(twin.input[2]) == 1 and uses.count(coded[twin.input[2]].input[0]) == 1:
            chosen.append((layer, coded[twin.input[1]], coded[twin.input[2]]))
    means = mean_inputs(plain, [layer.node.input[0] for layer, _, _ in chosen], feeds)
    for layer, weight_node, bias_node in chosen:
        weight, scale = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in weight_node.input[:2])
        shape = [-1 if axis == layer.output_axis else 1 for axis in range(weight.ndim)]
        error = layer.by_output((weight * scale.reshape(shape) - layer.weight).astype(np.float32))
        shift = shifts(layer, error, means[layer.node.input[0]])
        bias = tensors[bias_node.input[0]]
        levels = numpy_helper.to_array(bias) - shift / numpy_helper.to_array(tensors[bias_node.input[1]])
        limits = np.iinfo(np.int32)
        levels = np.clip(np.rint(levels), limits.min, limits.max).astype(np.int32)
        if layer.node.name in odd:
            levels = levels | 1
        bias.CopyFrom(numpy_helper.from_array(levels, bias.name))
    return len(chosen)


def mean_inputs(model: Any, names: Sequence[str], feeds: Feeds) -> Mapping[str, NDArray[np.float64]]:
    """Of each value *names* of the graph the mean over *feeds*, batch and places, by channel: (channels,).

    Channels are the second axis of arrays of more than two dimensions, else the last.
    """
    wanted = list(dict.fromkeys(names))
    sums: dict[str, NDArray[np.float64]] = dict.fromkeys(wanted, np.zeros((), np.float64))
    for values in observe(model, wanted, feeds):
        for name in wanted:
            sums[name] = sums[name] + _by_channel(values[name])
    return {name: np.asarray(total / len(feeds)) for name, total in sums.items()}


def _by_channel(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array.mean(axis=beside_channels(array), dtype=np.float64))


def shifts(layer: Layer, error: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """What *error* (outputs, inputs of a group, ...) adds to the mean of each output, (outputs,)."""
    sums = error.reshape(*error.shape[:2], -1).sum(axis=2, dtype=np.float64)
    by_group = sums.reshape(layer.groups, -1, sums.shape[1])
    return np.asarray(np.einsum("goi,gi->go", by_group, mean.reshape(layer.groups, -1)).reshape(-1))
