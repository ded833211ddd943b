"""How far outputs lie from those of the fp32 reference; needs no labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError
from ..tally import decibel
from .scores import wilson

__all__ = ["FidelityResult", "fidelity"]

Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class FidelityResult:
    """Closeness to the reference over *n* images."""

    cosine: float | None
    """Mean over images and outputs of the cosine between output and reference; None where no reference is finite."""
    snr_db: float | None
    """10 log10(sum of ref^2 / sum of (out - ref)^2) over everything; None where nothing differs."""
    max_abs_error: float
    n: int
    top1_agreement: float | None = None
    """Share of images with the same largest class; None where the model is no classifier."""
    top1_low: float | None = None
    top1_high: float | None = None
    """Wilson's 95% interval of it, as if images were drawn independently."""


def fidelity(
    outputs: Sequence[Sequence[Array]], reference: Sequence[Sequence[Array]], *, classifier: bool
) -> FidelityResult:
    """Compare *outputs* with *reference*: for each image one array for each output of the graph, its first dimension 1.

    Elements where the reference is not finite take no part. *classifier*: the first output is (1, classes). Raises
    `StageError` (stage "evaluate") where counts or shapes differ, or outputs are not finite where the reference is.
    """
    if len(outputs) != len(reference) or not outputs:
        raise StageError(f"{len(outputs)} outputs for {len(reference)} of the reference", stage="evaluate")
    cosines: list[float] = []
    signal = noise = worst = 0.0
    for ours, theirs in zip(outputs, reference, strict=True):
        for left, right in _pairs(ours, theirs):
            difference = left - right
            signal, noise = signal + float(right @ right), noise + float(difference @ difference)
            worst = max(worst, float(np.abs(difference).max(initial=0.0)))
            if right.size:
                cosines.append(_cosine(left, right))
    agree = _agreement(outputs, reference) if classifier else None
    low, high = wilson(agree, len(outputs)) if agree is not None else (None, None)
    return FidelityResult(
        cosine=float(np.mean(cosines)) if cosines else None,
        snr_db=decibel(signal, noise),
        max_abs_error=worst,
        n=len(outputs),
        top1_agreement=agree / len(outputs) if agree is not None else None,
        top1_low=low,
        top1_high=high,
    )


def _pairs(ours: Sequence[Array], theirs: Sequence[Array]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    shapes = [array.shape for array in ours], [array.shape for array in theirs]
    if shapes[0] != shapes[1]:
        raise StageError(f"outputs of shapes {shapes[0]}, those of the reference {shapes[1]}", stage="evaluate")
    made = []
    for left, right in zip(ours, theirs, strict=True):
        wide, against = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
        usable = np.isfinite(against)
        wide, against = wide[usable], against[usable]
        if not np.isfinite(wide).all():
            raise StageError("outputs hold NaN or infinite values where the reference has none", stage="evaluate")
        made.append((wide, against))
    return made


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """1 where both are zero, 0 where one is."""
    length = math.sqrt(float(left @ left) * float(right @ right))
    if length == 0.0:
        return 1.0 if not left.any() and not right.any() else 0.0
    return max(-1.0, min(1.0, float(left @ right) / length))


def _agreement(outputs: Sequence[Sequence[Array]], reference: Sequence[Sequence[Array]]) -> int | None:
    if any(len(row) == 0 or row[0].ndim != 2 or row[0].shape[1] < 2 for row in outputs):
        return None
    return sum(
        int(ours[0][0].argmax() == theirs[0][0].argmax()) for ours, theirs in zip(outputs, reference, strict=True)
    )
