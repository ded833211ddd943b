"""Right or wrong, image by image, and the share of right ones with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError

__all__ = ["CONFIDENCE", "Score", "classify", "finite", "pictures_behind", "share", "wilson"]

CONFIDENCE = 0.95
"""Of every interval and bound."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One accuracy: all shares are between 0 and 1."""

    metric: str
    """"top1", "exact", "mAP" or "mIoU"."""
    value: float
    low: float
    high: float
    """95% interval: Wilson's for shares of right answers, a bootstrap over images for the others."""
    n: int
    """Images judged."""
    pictures: int
    """Pictures behind them, which Wilson's interval rests on; *n* unless several images are views of one."""
    top5: float | None = None
    """None for fewer than six classes, and for everything but classification."""
    correct: NDArray[np.bool_] | None = None
    """(N,), whether each image was answered right; None where answers are not right or wrong."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95% interval of a share (E. B. Wilson, JASA 22, 1927). Raises `ValueError` for *n* below 1.

    *successes* need not be whole: of *n* pictures that are seen in several views each, one may be known in half of
    them. As if all views of a picture stood and fell together, which is the worst that can be.
    """
    if n < 1:
        raise ValueError(f"no share of {n}")
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2.0)
    value = successes / n
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, value)), min(1.0, max(middle + half, value))


def pictures_behind(images: int, pictures: int | None) -> int:
    """What a figure over *images* rests on: the *pictures* that they are views of; None: each is of its own."""
    return min(images, pictures or images)


def share(correct: NDArray[np.bool_], metric: str, *, top5: float | None = None, pictures: int | None = None) -> Score:
    """The share of right answers in *correct* (N,), N at least 1, with Wilson's interval.

    *pictures* of which they are views, where that is fewer than N.
    """
    n = len(correct)
    value, behind = int(correct.sum()) / n, pictures_behind(n, pictures)
    low, high = wilson(value * behind, behind)
    return Score(metric=metric, value=value, low=low, high=high, n=n, pictures=behind, top5=top5, correct=correct)


def classify(
    outputs: NDArray[np.generic],
    labels: NDArray[np.int64],
    *,
    classes: int | None = None,
    pictures: int | None = None,
) -> Score:
    """Top-1 and top-5 of *outputs* (N, classes), whose largest is the answer, against *labels* (N,).

    Of equal outputs the first counts as the larger one, as argmax has it. *classes* is what the labels are numbered in,
    if that is known; *pictures*: see `share`. Raises `StageError` (stage "evaluate") where outputs are no scores of
    these classes or not finite, and for labels outside of them.
    """
    scores = finite(outputs, "outputs")
    if scores.ndim != 2 or len(scores) != len(labels) or len(labels) == 0:
        raise StageError(f"outputs of shape {scores.shape} are no classes of {len(labels)} images", stage="evaluate")
    width = scores.shape[1]
    if classes is not None and classes != width:
        raise StageError(f"the model tells {width} classes apart, the data set has {classes}", stage="evaluate")
    outside = labels[(labels < 0) | (labels >= width)]
    if outside.size:
        raise StageError(f"label {outside[0]} lies outside of the model's {width} classes", stage="evaluate")
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(width) < labels[:, None]
    rank = np.sum((scores > own) | ((scores == own) & before), axis=1)
    top5 = float(np.mean(rank < 5)) if width > 5 else None
    return share(rank == 0, "top1", top5=top5, pictures=pictures)


def finite(array: NDArray[np.generic], what: str) -> NDArray[np.float64]:
    """*array* (N, ...) in double precision.

    Raises `StageError` (stage "evaluate") where it holds NaN or infinite values: a wrong answer would hide them.
    """
    wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        odd = int(np.sum(~np.isfinite(wide).reshape(len(wide), -1).all(axis=1)))
        raise StageError(f"{what} hold NaN or infinite values for {odd} of {len(wide)} images", stage="evaluate")
    return wide
