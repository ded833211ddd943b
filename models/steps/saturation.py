"""Scales of 8-bit weights with which no kernel saturates, on CPUs without VNNI either.

There, u8 x s8 products are added up in pairs by `vpmaddubsw`, whose sums have 16 bits: 255 (a + b) must not leave
[-32768, 32767], so two weights that meet in a pair may not sum to more than 128. Halving all weights (`reduce_range`)
always suffices; mostly less does, because the two largest weights of a channel seldom meet.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .layers import Layer

__all__ = ["pair_peak", "safe_scales"]

_LARGEST = 127
_PAIR = 128
"""Largest sum of a pair of levels."""
_FEWEST = np.finfo(np.float32).tiny


def safe_scales(layer: Layer, unit: int = 1) -> NDArray[np.float32]:
    """One scale for each output channel of *layer*, (channels,), as fine as int8 and pairs of 16 bits allow.

    Levels are to be multiples of *unit*: rounding moves each weight by less than that.
    """
    turned = layer.by_output(layer.weight)
    peak = np.abs(turned).reshape(len(turned), -1).max(axis=1)
    scale = np.maximum(peak / (_LARGEST // unit * unit), pair_peak(turned) / (_PAIR - 2 * unit))
    return np.where(scale > _FEWEST, scale, 1.0).astype(np.float32)


def pair_peak(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest |a + b| of two weights that may meet, for each output channel: (outputs,).

    *weight* is (outputs, inputs, ...). Kernels pair neighbours: of the inputs at one place of the window, with them
    padded to blocks of four or not, or of the window at one input. All of these orders are looked at.
    """
    peaks = [np.abs(rows[:, 0::2] + rows[:, 1::2]).max(axis=1) for rows in _orders(weight)]
    return np.asarray(np.max(peaks, axis=0), dtype=np.float32)


def _orders(weight: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    inner = np.moveaxis(weight, 1, -1)
    short = -inner.shape[-1] % 4
    padded = np.pad(inner, [(0, 0)] * (inner.ndim - 1) + [(0, short)])
    for values in (weight, inner, padded):
        rows = values.reshape(len(weight), -1)
        yield np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
