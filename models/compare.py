"""How far outputs lie from their reference. Needs numpy only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Comparison", "compare", "tolerance_for"]

_TOLERANCES = {"fp32": 1e-3, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2, "int8": 2.5e-1, "int4": 2.5e-1}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The worst deviation over all outputs; both are infinite where outputs cannot be compared at all."""

    max_abs_error: float
    max_rel_error: float
    """Largest absolute difference over the largest absolute reference value of the same output."""
    rms_rel_error: float = 0.0
    """Root mean square of the difference over that of the reference, of the output where it is largest; an SNR of
    12 dB is 0.25."""
    problem: str = ""
    """What makes them incomparable (another count, shape, dtype; a NaN), in words; "" if nothing does."""

    def within(self, tolerance: float) -> bool:
        """True if nothing is wrong beyond a relative error of *tolerance*.

        From int8's tolerance on, an output is judged by its worst value or by the root mean square of all: in a deep
        net the worst of a thousand values moves by more than a quarter although the whole is right.
        """
        if self.problem:
            return False
        coarse = tolerance >= _TOLERANCES["int8"] and self.rms_rel_error <= tolerance
        return coarse or self.max_rel_error <= tolerance


def tolerance_for(precision: str) -> float:
    """Largest relative error (see `Comparison`) that is put down to *precision*, not to a fault.

    fp32 1e-3: order of summation, Winograd and fast exponentials stay well below it. fp16 1e-2 and bf16 5e-2: 11 and 8
    bits of significand, accumulated over some 50 layers. int8 0.25: catches wrong graphs, not lost accuracy, which
    is for accuracy metrics to judge. "mixed(a, b)" takes the widest of its parts, "int8-weights" that of int8; an
    unknown word takes that of fp32.
    """
    words = re.findall(r"[a-z]+\d+", precision.lower())
    return max((_TOLERANCES.get(word, _TOLERANCES["fp32"]) for word in words), default=_TOLERANCES["fp32"])


def compare(outputs: Sequence[NDArray[np.generic]], reference: Sequence[NDArray[np.generic]]) -> Comparison:
    """Compare *outputs* with *reference*, one array each for every graph output, in the same order.

    Count, shape and dtype are checked first, then values. NaN equals NaN and an infinity equals the same infinity;
    a NaN or infinity on one side only is infinitely wrong. Where the reference is all zeros, any difference is
    measured against 1.
    """
    if len(outputs) != len(reference):
        return _incomparable(f"{len(outputs)} outputs where the reference has {len(reference)}")
    worst_abs = worst_rel = worst_rms = 0.0
    for index, (ours, theirs) in enumerate(zip(outputs, reference, strict=True)):
        problem = _mismatch(np.asarray(ours), np.asarray(theirs))
        if problem:
            return _incomparable(f"output {index}: {problem}")
        error, relative, rms = _deviation(np.asarray(ours), np.asarray(theirs))
        worst_abs, worst_rel, worst_rms = max(worst_abs, error), max(worst_rel, relative), max(worst_rms, rms)
    return Comparison(max_abs_error=worst_abs, max_rel_error=worst_rel, rms_rel_error=worst_rms)


def _incomparable(problem: str) -> Comparison:
    infinite = float("inf")
    return Comparison(max_abs_error=infinite, max_rel_error=infinite, rms_rel_error=infinite, problem=problem)


def _mismatch(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> str:
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} where the reference has {theirs.shape}"
    if ours.dtype != theirs.dtype:
        return f"dtype {ours.dtype} where the reference has {theirs.dtype}"
    left, right = _wide(ours), _wide(theirs)
    odd = ~np.isfinite(left) | ~np.isfinite(right)
    if not np.array_equal(left[odd], right[odd], equal_nan=True):
        counts = f"{int(np.isnan(left).sum())} NaN and {int(np.isinf(left).sum())} infinite values"
        return f"{counts} where the reference has {int(np.isnan(right).sum())} and {int(np.isinf(right).sum())}"
    return ""


def _deviation(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> tuple[float, float, float]:
    """The largest absolute difference, the same over the largest reference value, and the relative RMS difference."""
    left, right = _wide(ours), _wide(theirs)
    finite = np.isfinite(right)
    if not finite.any():
        return 0.0, 0.0, 0.0
    with np.errstate(over="ignore"):
        difference = np.abs(left[finite] - right[finite])
    error, scale = float(np.max(difference)), float(np.max(np.abs(right[finite]))) or 1.0
    # Over the scale first: squares of what float64 still holds may overflow or vanish.
    with np.errstate(over="ignore", under="ignore"):
        power = float(np.mean(np.square(right[finite] / scale))) or 1.0
        rms = float(np.sqrt(np.mean(np.square(difference / scale)) / power))
    return error, error / scale, rms


def _wide(array: NDArray[np.generic]) -> NDArray[np.float64]:
    return array.astype(np.float64)
