"""Which weights a masking step keeps: by magnitude in one array or in a network, or 2 of 4 inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["lamp_masks", "two_four_mask", "unstructured_mask"]

_BLOCK = 4
_KEPT = 2


def unstructured_mask(weight: NDArray[np.floating], percent: int) -> NDArray[np.bool_]:
    """True where *weight* (any shape) is kept: *percent* of its values, the smallest in magnitude, are not.

    Their number is rounded to the nearest whole; among equals, those that come first go first.
    """
    order = np.argsort(np.abs(weight), axis=None, kind="stable")
    mask = np.ones(weight.size, dtype=np.bool_)
    mask[order[: round(weight.size * percent / 100)]] = False
    return mask.reshape(weight.shape)


def lamp_masks(weights: Mapping[str, NDArray[np.floating]], percent: int) -> dict[str, NDArray[np.bool_]]:
    """True where each of a network's *weights* (any shapes) is kept; *percent* of all their values together are not.

    Those with the smallest LAMP score go: the square of a weight over the sum of squares of all weights of its layer
    that are no smaller (Lee et al., "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021). On the
    digits nets it kept more accuracy than the same share of every layer, which starves small layers, and than one
    threshold on magnitude for all, which empties whole layers behind a batch normalisation.
    """
    scores = [_lamp_scores(weight) for weight in weights.values()]
    mask = unstructured_mask(np.concatenate(scores), percent)
    ends = np.cumsum([weight.size for weight in weights.values()])
    parts = zip(weights.items(), np.split(mask, ends[:-1]), strict=True)
    return {name: part.reshape(weight.shape) for (name, weight), part in parts}


def _lamp_scores(weight: NDArray[np.floating]) -> NDArray[np.float64]:
    squares = np.square(weight.astype(np.float64)).ravel()
    order = np.argsort(squares, kind="stable")
    ascending = squares[order]
    no_smaller = np.cumsum(ascending[::-1])[::-1]
    scores = np.zeros_like(squares)
    scores[order] = np.divide(ascending, no_smaller, out=np.zeros_like(ascending), where=no_smaller > 0)
    return scores


def two_four_mask(weight: NDArray[np.floating]) -> NDArray[np.bool_]:
    """True where *weight* (outputs, inputs, ...) is kept: the 2 largest in magnitude of each 4 neighbouring inputs.

    The pattern is that of NVIDIA's sparse tensor cores (Mishra et al., 2021, "Accelerating Sparse Deep Neural
    Networks"). All True where the inputs are no multiple of 4 (first layers, depthwise convolutions): none is cut.
    """
    if weight.ndim < 2 or weight.shape[1] % _BLOCK:
        return np.ones(weight.shape, dtype=np.bool_)
    last = np.moveaxis(np.abs(weight), 1, -1)
    blocks = last.reshape(-1, _BLOCK)
    mask = np.zeros(blocks.shape, dtype=np.bool_)
    # Negated, so that the stable order puts the first of equals ahead.
    order = np.argsort(-blocks, axis=1, kind="stable")
    np.put_along_axis(mask, order[:, :_KEPT], True, axis=1)
    return np.moveaxis(mask.reshape(last.shape), -1, 1)
