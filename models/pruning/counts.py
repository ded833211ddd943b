"""What a torch module holds and does, counted: parameters, weights that are zero, channels, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Counts", "count", "facts", "prunable", "weights_of"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The figures of one module."""

    parameters: int
    """Values in all parameters, biases and norms included."""
    weights: int
    """Values in the weights of `weights_of`."""
    zeros: int
    """How many of these are exactly zero."""
    channels: int
    """Output channels and features of all convolutions and linear layers but the ones left whole."""
    macs: int
    """Multiply-accumulates of one forward pass of a single input."""


def prunable(module: Any) -> dict[str, Any]:
    """Convolutions and linear layers by their name in *module*; a layer used under two names appears once."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, kinds)}


def weights_of(module: Any) -> dict[str, Any]:
    """Weights of convolutions and linear layers, and of the projections into attention, by the parameter's name."""
    import torch

    found = {f"{name}.weight".lstrip("."): layer.weight for name, layer in prunable(module).items()}
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.MultiheadAttention) and layer.in_proj_weight is not None:
            found[f"{name}.in_proj_weight".lstrip(".")] = layer.in_proj_weight
    return found


def count(module: Any, inputs: Sequence[Any], *, without: Iterable[str] = ()) -> Counts:
    """Count *module*, run once on *inputs* (torch tensors); the layers named in *without* lend no channels."""
    layers, left = prunable(module), set(without)
    weights = list(weights_of(module).values())
    return Counts(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weights=sum(weight.numel() for weight in weights),
        zeros=sum(weight.numel() - int(weight.count_nonzero()) for weight in weights),
        channels=sum(layer.weight.shape[0] for name, layer in layers.items() if name not in left),
        macs=_macs(module, inputs),
    )


def facts(before: Counts, after: Counts) -> Mapping[str, str]:
    """What a step changed, for its record."""
    made = {
        "parameters": f"{before.parameters} -> {after.parameters}",
        "MACs": f"{before.macs} -> {after.macs}",
        "zeros": f"{_share(before.zeros, before.weights)} -> {_share(after.zeros, after.weights)}",
    }
    if before.channels != after.channels:
        made["channels"] = f"{before.channels} -> {after.channels}"
    return made


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"


def _macs(module: Any, inputs: Sequence[Any]) -> int:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    batch = inputs[0].shape[0] if inputs and inputs[0].dim() else 1
    # The fast path and the fused kernels of attention are operators that the counter does not know.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            module(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // 2 // batch
