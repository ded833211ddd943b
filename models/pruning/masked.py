"""Masked pruning: weights of a torch module are set to zero where they stand, and its shapes stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedError
from ..steps.masks import lamp_masks, two_four_mask
from .counts import weights_of

__all__ = ["Masks", "apply_masks", "make_masks"]


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Which weights of a module are kept."""

    kept: Mapping[str, Any]
    """By the parameter's name, a bool tensor of its shape."""
    left: tuple[str, ...]
    """Names of the weights that the pattern does not fit."""


def make_masks(module: Any, percent: int, pattern: str) -> Masks:
    """Masks for the weights of all convolutions and linear layers of *module*, by magnitude.

    *pattern* is "2:4" (then *percent* is not read) or "" for *percent* of all weights together. Raises
    `UnsupportedError` where there is nothing to mask.
    """
    import torch

    weights = {name: parameter.detach().numpy() for name, parameter in weights_of(module).items()}
    if not weights:
        raise UnsupportedError("it has no convolution or linear layer to mask", stage="prune")
    if pattern:
        masks = {name: two_four_mask(weight) for name, weight in weights.items()}
    else:
        masks = lamp_masks(weights, percent)
    kept = {name: torch.from_numpy(mask) for name, mask in masks.items() if not mask.all()}
    if not kept:
        raise UnsupportedError("no weight has input channels in fours", stage="prune")
    return Masks(kept=kept, left=tuple(name for name in masks if pattern and name not in kept))


def apply_masks(module: Any, masks: Mapping[str, Any]) -> None:
    """Set the weights of *module* to zero where their mask is False."""
    import torch

    weights = weights_of(module)
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)
