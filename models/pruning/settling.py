"""Batch norms of a pruned module that is not trained: their statistics are taken anew from images.

What was cut or masked is missing in every layer's input, so that means and variances of the whole module no longer fit
and even a mildly pruned net answers at random (Li et al., "EagleEye: Fast Sub-net Evaluation for Efficient Neural
Network Pruning", ECCV 2020).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

__all__ = ["has_statistics", "settle"]

_BATCH = 64
_FEWEST = 16
"""Of fewer images no layer behind a global pooling has a variance to speak of."""


def has_statistics(module: Any) -> bool:
    """Whether *module* has batch norms that keep statistics."""
    return bool(_norms(module))


def settle(module: Any, path: Path, shape: tuple[int, ...]) -> int | None:
    """Take the statistics of all batch norms of *module* anew, in place, from the .npz *path*.

    That holds `images` (N, C, H, W) float32. Each norm gets the mean over batches of what it sees while those before it
    normalise by their batch, as in training; all else stays in evaluation mode. *shape* is that of the module's input.
    Returns the number of images; None where they are too few, and then nothing has changed. Raises `UserError` for
    images that the module does not take.
    """
    import torch

    with np.load(path, allow_pickle=False) as stored:
        images = stored["images"]
    if images.dtype != np.float32 or images.shape[1:] != shape[1:]:
        given = f"{'x'.join(map(str, images.shape))} {images.dtype}"
        raise UserError(f"{path}: images are {given}, the model takes Nx{'x'.join(map(str, shape[1:]))} float32")
    if len(images) < _FEWEST:
        return None
    norms = _norms(module)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    with torch.no_grad():
        # Nearly equal parts: a last batch of one would have no variance.
        for part in torch.tensor_split(torch.from_numpy(images), -(-len(images) // _BATCH)):
            module(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return len(images)


def _norms(module: Any) -> list[Any]:
    from torch.nn.modules.batchnorm import _BatchNorm

    return [child for child in module.modules() if isinstance(child, _BatchNorm) and child.running_mean is not None]
