"""How far outputs lie from those of the fp32 reference; needs no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError
from ..tally import Tally
from .scores import pictures_behind, wilson

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
    top1_agreement: float | None
    """Share of images with the same largest class; None where the model is no classifier."""
    top1_low: float | None
    top1_high: float | None
    """Wilson's 95% interval of it, as if pictures were drawn independently."""
    pictures: int
    """Pictures behind the *n* images, which the interval rests on."""
    widest_flip: float | None = None
    """The largest lead that the reference's first class has over its second one on an image where ours is another
    class, in units of the output; None where all agree."""
    as_close: float | None = None
    """Share of all images on which the reference's first two classes are as close as that: its near-ties."""


def fidelity(
    outputs: Sequence[Sequence[Array]],
    reference: Sequence[Sequence[Array]],
    *,
    classifier: bool,
    pictures: int | None = None,
) -> FidelityResult:
    """Compare *outputs* with *reference*: for each image one array for each output of the graph, its first dimension 1.

    Elements where the reference is not finite take no part. *classifier*: the first output is (1, classes). *pictures*
    of which the images are views, where that is fewer. Raises `StageError` (stage "evaluate") where counts or shapes
    differ, or outputs are not finite where the reference is.
    """
    if len(outputs) != len(reference) or not outputs:
        raise StageError(f"{len(outputs)} outputs for {len(reference)} of the reference", stage="evaluate")
    total, firsts = Tally(), Tally()
    cosines: list[float] = []
    for ours, theirs in zip(outputs, reference, strict=True):
        parts = _tallies(ours, theirs)
        cosines += [part.cosine for part in parts if part.compared]
        for part in parts:
            total.merge(part)
        for first in parts[:1]:
            firsts.merge(first)
    agree = firsts.same_class if classifier and firsts.classified == len(outputs) else None
    n = len(outputs)
    behind = pictures_behind(n, pictures)
    low, high = wilson(agree / n * behind, behind) if agree is not None else (None, None)
    widest, close = _near_ties(outputs, reference) if agree is not None else (None, None)
    return FidelityResult(
        cosine=float(np.mean(cosines)) if cosines else None,
        snr_db=total.snr_db,
        max_abs_error=total.worst,
        n=n,
        top1_agreement=agree / n if agree is not None else None,
        top1_low=low,
        top1_high=high,
        pictures=behind,
        widest_flip=widest,
        as_close=close,
    )


def _near_ties(
    outputs: Sequence[Sequence[Array]], reference: Sequence[Sequence[Array]]
) -> tuple[float | None, float | None]:
    """The reference's largest lead where first classes differ, and the share of all images with no larger one."""
    best = [np.sort(row[0], axis=None)[-2:].astype(np.float64) for row in reference]
    leads = np.asarray([second[1] - second[0] for second in best])
    differs = [
        int(ours[0].argmax()) != int(theirs[0].argmax()) for ours, theirs in zip(outputs, reference, strict=True)
    ]
    if not any(differs):
        return None, None
    widest = float(leads[differs].max())
    return widest, float(np.mean(leads <= widest))


def _tallies(ours: Sequence[Array], theirs: Sequence[Array]) -> list[Tally]:
    """One for each output of one image."""
    shapes = [array.shape for array in ours], [array.shape for array in theirs]
    if shapes[0] != shapes[1]:
        raise StageError(f"outputs of shapes {shapes[0]}, those of the reference {shapes[1]}", stage="evaluate")
    made = []
    for left, right in zip(ours, theirs, strict=True):
        tally = Tally()
        tally.add(left, right)
        if tally.broken:
            raise StageError("outputs hold NaN or infinite values where the reference has none", stage="evaluate")
        made.append(tally)
    return made
