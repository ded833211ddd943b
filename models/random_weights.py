"""Random weights under which a network still computes something.

A freshly initialised deep network is a bad stand-in for a trained one: batch normalisation without statistics lets the
signal fade, so that the output is a constant whatever the input (a wrong backend would pass every comparison), or
makes it grow until it overflows. So one pass over a few seeded images scales every convolution and linear layer to
unit variance of its output (Mishkin & Matas, "All you need is a good init", 2016) and gives every batch
normalisation the statistics of what reaches it, times some noise, as training would. The pass runs in float64, so that
machines whose kernels round differently still arrive at the same float32 weights (where a module allows it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["randomise"]

_VARIANCE_FLOOR = 0.3
"""Least variance of a channel, as a share of the layer's mean: nearly constant channels are not blown up."""


def randomise(module: Any, feeds: Sequence[Any], seed: int, *, float64: bool) -> None:
    """Give *module* seeded random weights in place; *feeds* are example inputs (torch tensors) of batch 2 or more.

    *float64* says whether its forward pass may run in that precision; a module with float32 tensors of its own cannot.

    Layers keep their own initialisation up to a factor, except that constant parameters (zeroed heads, ones of
    norms, tiny layer scales) are drawn anew.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            _redraw(parameter, generator)
        if float64:
            module.double()
        calibration = _Calibration(generator)
        handles = [handle for child in module.modules() if (handle := calibration.attach(child)) is not None]
        module(*[feed.double() if float64 and feed.is_floating_point() else feed for feed in feeds])
        for handle in handles:
            handle.remove()
        if float64:
            module.float()


def _redraw(parameter: Any, generator: Any) -> None:
    if parameter.numel() < 2 or not parameter.is_floating_point() or float(parameter.max() - parameter.min()) > 0.0:
        return
    if float(parameter.flatten()[0]) != 0.0:
        parameter.uniform_(0.8, 1.2, generator=generator)
    elif parameter.dim() > 1:
        parameter.normal_(0.0, 1.0 / math.sqrt(parameter[0].numel()), generator=generator)
    else:
        parameter.normal_(0.0, 0.1, generator=generator)


class _Calibration:
    """Hooks that set each layer's scale or statistics at its first call, in the order of execution."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._seen: set[int] = set()

    def attach(self, layer: Any) -> Any:
        import torch

        if isinstance(layer, torch.nn.modules.batchnorm._NormBase) and layer.running_var is not None:
            return layer.register_forward_pre_hook(self._normalise)
        if isinstance(layer, torch.nn.Linear | torch.nn.modules.conv._ConvNd):
            return layer.register_forward_hook(self._scale)
        return None

    def _first(self, layer: Any) -> bool:
        first = id(layer) not in self._seen
        self._seen.add(id(layer))
        return first

    def _normalise(self, layer: Any, args: tuple[Any, ...]) -> None:
        if not self._first(layer):
            return
        others = [axis for axis in range(args[0].dim()) if axis != 1]
        mean, variance = args[0].mean(others), args[0].var(others, correction=0)
        variance = variance.clamp(min=float(variance.mean()) * _VARIANCE_FLOOR + 1e-12)
        spread = variance.new_empty(variance.shape).uniform_(0.5, 1.5, generator=self._generator)
        shift = variance.new_empty(variance.shape).normal_(0.0, 0.1, generator=self._generator)
        layer.running_var.copy_(variance * spread)
        layer.running_mean.copy_(mean + variance.sqrt() * shift)

    def _scale(self, layer: Any, args: tuple[Any, ...], output: Any) -> Any:
        if not self._first(layer):
            return output
        factor = 1.0 / max(float(output.std(correction=0)), 1e-12)
        if factor > 1e6:
            return output
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor)
        return output * factor
