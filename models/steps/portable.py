"""Scales with which integer kernels of different runtimes give the same bits, or nearly the same.

It is rare that a value is rounded to the other side because some runtime's fp32 differs in its last bit, but that
disturbs roundings behind it, and after some layers two runtimes lie nearly as far apart as rounding moves the outputs
at all: with efficientnet_lite0 as one QDQ file, ONNX Runtime and OpenVINO agreed to 28 dB, and named another class on 2
percent of photographs. Here fp32 makes no error at all between the rounding of one layer and that of the next:

- Steps of activations are powers of two. Nothing is lost by it, since each region (see `regions`) is multiplied by the
  factor that makes its largest range a power of two, and the layers that read it divide by that. Inputs have no
  factor: their steps have few bits (`_INPUT_BITS`).
- Steps of weights have few significant bits (`_BITS`), so that sum x step is exact in the 24 bits of fp32.
- What is added up has one step, so that an Add rounds nothing: OpenVINO adds to a convolution's sum before it rounds,
  ONNX Runtime rounds first.
- The sums of these convolutions are odd (even weights, odd bias), so none lies in the middle between two levels, where
  it would matter whether it is rounded before or after the addition.
- Zero points are even: halves are rounded to even, and some runtimes round before they add the zero point.

As channels of a region may have factors of their own, those of residual streams are equalized half way, to the square
root of their ranges: that wins back what even weights and common steps cost. For a graph that is not piecewise linear
none of this holds, since no two runtimes have the same exponential.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Feeds
from .layers import Layer
from .observe import beside_channels, observe
from .regions import Region, find_regions, upper_bound
from .saturation import safe_scales

__all__ = ["Portable", "make_portable"]

_BITS = 5
"""Significant bits of a weight's step: with sums up to 2^19 exact in fp32, and at most a sixteenth coarser."""
_INPUT_BITS = 3
"""Of an input's step, which no factor can make a power of two, and, unless it is one, of the weights that it meets."""
_EQUALIZED = 0.5
_LEAST = 1e-3
"""A channel's range, as a share of the largest, below which its factor grows no more."""
_LEVELS = 255.0
_SLACK = 2.0
"""Levels that a range leaves, so that an even zero point fits."""

_Factors = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Portable:
    """A float graph and the scales to quantize it with."""

    model: Any
    """The graph with its regions multiplied; what it computes is the same but for rounding."""
    activations: Mapping[str, tuple[float, int]]
    """Step and zero point by the name of the value."""
    weights: Mapping[str, NDArray[np.float32]]
    """Steps (channels,) by the name of the weights."""
    even: frozenset[str] = field(default_factory=frozenset)
    """Names of nodes whose weights are to be even, and biases odd."""


def make_portable(plain: Any, names: Sequence[str], feeds: Feeds) -> Portable | None:
    """Multiply regions of a copy of *plain* and choose the scales of the layers *names*, by ranges on *feeds*.

    None where the graph is not of a kind for which that helps (see `find_regions`), or the upper bound of a Clip would
    be lost.
    """
    made = type(plain)()
    made.CopyFrom(plain)
    regions = find_regions(made.graph)
    if regions is None:
        return None
    layers = {layer.node.name: layer for region in regions for layer in (*region.readers, *region.writers)}
    chosen = [layers[name] for name in names if name in layers]
    ranges = _ranges(made, _quantized(made.graph, chosen), feeds)
    activations: dict[str, tuple[float, int]] = {}
    for region in regions:
        own = {name: ranges[name] for name in region.values if name in ranges and name not in region.averaged}
        if not own:
            continue
        factors, step = _factors(region, own)
        if any(_LEVELS * step > bound * (1 + 1e-6) for bound in _bounds(region, made.graph, factors)):
            return None
        _multiply(made.graph, region, factors)
        activations |= {
            name: (step, _zero_point(float((low * factors).min()), float((high * factors).max()), step))
            for name, (low, high) in own.items()
        }
    even = _added(made.graph, chosen)
    first = {
        layer.node.name
        for region in regions
        if region.pinned and not _all_powers_of_two(activations, region)
        for layer in region.readers
    }
    weights = {
        layer.tensor.name: _coarse(
            safe_scales(layer, 2 if layer.node.name in even else 1), _INPUT_BITS if layer.node.name in first else _BITS
        )
        for layer in chosen
    }
    return Portable(model=made, activations=activations, weights=weights, even=even)


def _all_powers_of_two(activations: Mapping[str, tuple[float, int]], region: Region) -> bool:
    """Whether the steps of all values of *region* are powers of two, so that their product with another is exact."""
    return all(math.frexp(activations[name][0])[0] == 0.5 for name in region.values if name in activations)


def _quantized(graph: Any, layers: Sequence[Layer]) -> list[str]:
    """Values that are rounded: what *layers* read, and what convolutions among them write (behind Relu or Clip)."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = [layer.node.input[0] for layer in layers]
    for layer in layers:
        if layer.node.op_type == "Conv":
            name = layer.node.output[0]
            behind = readers.get(name, [])
            alone = len(behind) == 1 and behind[0].op_type in ("Relu", "Clip")
            found.append(behind[0].output[0] if alone else name)
    return list(dict.fromkeys(found))


def _ranges(model: Any, names: Sequence[str], feeds: Feeds) -> dict[str, tuple[_Factors, _Factors]]:
    """Smallest and largest value of each of *names* by channel, zero included."""
    found: dict[str, tuple[_Factors, _Factors]] = {}
    for values in observe(model, names, feeds):
        for name, array in values.items():
            others = beside_channels(array)
            low, high = found.get(name, (np.zeros(1), np.zeros(1)))
            found[name] = np.minimum(low, array.min(axis=others)), np.maximum(high, array.max(axis=others))
    return found


def _factors(region: Region, ranges: Mapping[str, tuple[_Factors, _Factors]]) -> tuple[_Factors, float]:
    """The factor of each channel (or one for all), and the step of all values."""
    if region.pinned:
        widest = max(float(high.max() - low.min()) for low, high in ranges.values())
        return np.ones(1), float(_coarse(np.asarray((widest or 1.0) / (_LEVELS + 1.0), np.float32), _INPUT_BITS))
    factors = np.ones(1)
    channels = {high.size for _, high in ranges.values()} | {_inputs(layer) for layer in region.readers}
    if not region.uniform and len(channels) == 1:
        peaks = np.max([np.maximum(high, -low) for low, high in ranges.values()], axis=0)
        largest = float(peaks.max()) or 1.0
        factors = (largest / np.maximum(peaks, _LEAST * largest or 1.0)) ** _EQUALIZED
    ends = [(float((low * factors).min()), float((high * factors).max())) for low, high in ranges.values()]
    wanted = max((high - low) / (_LEVELS - _SLACK * (low < 0.0)) for low, high in ends) or 1.0
    step = float(2.0 ** np.rint(np.log2(wanted)))
    return factors * (step / wanted), step


def _inputs(layer: Layer) -> int:
    """Input channels of *layer*, those of all groups."""
    return int(layer.by_output(layer.weight).shape[1]) * layer.groups


def _bounds(region: Region, graph: Any, factors: _Factors) -> list[float]:
    """Upper bounds of the region's Clip nodes, once it is multiplied; a region that has any has one factor."""
    return [(upper_bound(clip, graph) or 0.0) * float(factors[0]) for clip in region.clips]


def _zero_point(low: float, high: float, step: float) -> int:
    """The level that stands for zero: even where the range leaves room for it."""
    least, most = -low / step, _LEVELS - high / step
    if low >= 0.0:
        return 0
    middle = (least + most) / 2.0
    even = 2 * round(middle / 2.0)
    return even if least - 0.75 <= even <= most + 0.75 else round(middle)


def _multiply(graph: Any, region: Region, factors: _Factors) -> None:
    """Multiply all values of *region* by *factors*, in place: what writes them, what reads them, and its bounds."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    bounds = _bounds(region, graph, factors)
    for layer in region.writers:
        weight = layer.by_output(layer.weight)
        _store(layer.tensor, layer.stored(weight * factors.reshape(-1, *[1] * (weight.ndim - 1))))
        if len(layer.node.input) > 2 and layer.node.input[2]:
            bias = tensors[layer.node.input[2]]
            _store(bias, numpy_helper.to_array(bias) * factors)
    for layer in region.readers:
        weight = layer.by_output(layer.weight)
        by_group = weight.reshape(layer.groups, -1, *weight.shape[1:])
        divided = by_group / factors.reshape(layer.groups if factors.size > 1 else 1, 1, -1, *[1] * (weight.ndim - 2))
        _store(layer.tensor, layer.stored(divided.reshape(weight.shape)))
    for clip, bound in zip(region.clips, bounds, strict=True):
        name = f"{clip.output[0]}::bound"
        graph.initializer.append(numpy_helper.from_array(np.asarray(bound, np.float32), name))
        clip.input[2] = name


def _store(tensor: Any, values: NDArray[Any]) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), tensor.name))


def _added(graph: Any, layers: Sequence[Layer]) -> frozenset[str]:
    """Names of the convolutions among *layers* that an Add reads directly; those without bias cannot be made odd."""
    summed = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    return frozenset(
        layer.node.name
        for layer in layers
        if layer.node.op_type == "Conv" and layer.node.output[0] in summed and len(layer.node.input) > 2
    )


def _coarse(scales: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """*scales*, rounded up to so many significant bits."""
    fraction, exponent = np.frexp(scales)
    return np.asarray(np.ldexp(np.ceil(fraction * 2.0**bits) / 2.0**bits, exponent), np.float32)
