"""Intervals of figures that are no mean over images: the bootstrap over images (B. Efron, Ann. Statist. 7, 1979)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .paired import Paired
from .scores import CONFIDENCE, Score

__all__ = ["Statistic", "bootstrap_paired", "bootstrap_score"]

Statistic = Callable[[NDArray[np.intp]], float]
"""The figure over the images at these places, which may repeat; NaN where it is not defined for them."""

_SEED = 20


def bootstrap_score(metric: str, statistic: Statistic, n: int, *, resamples: int = 1000) -> Score:
    """*statistic* over all *n* images, with the 2.5% and 97.5% quantiles of it over *resamples* of them.

    Resamples for which it is not defined are left out; seeded, so that equal outputs have equal intervals.
    """
    value = statistic(np.arange(n))
    drawn = np.asarray([statistic(chosen) for chosen in _resamples(n, resamples)])
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.nanquantile(drawn, [tail, 1.0 - tail]) if np.isfinite(drawn).any() else (value, value)
    # The figure itself may lie outside for very few images, and an interval that leaves it out would confuse.
    return Score(metric=metric, value=value, low=min(float(low), value), high=max(float(high), value), n=n, pictures=n)


def bootstrap_paired(ours: Statistic, reference: Statistic, n: int, *, resamples: int = 1000) -> Paired:
    """*ours* minus *reference* over *n* images, and the 5% quantile of that over *resamples*, the same for both."""
    everything = np.arange(n)
    difference = ours(everything) - reference(everything)
    drawn = np.asarray([ours(chosen) - reference(chosen) for chosen in _resamples(n, resamples)])
    low = float(np.nanquantile(drawn, 1.0 - CONFIDENCE)) if np.isfinite(drawn).any() else difference
    return Paired(difference=difference, low=min(low, difference), mcnemar_p=None, n=n)


def _resamples(n: int, count: int) -> NDArray[np.intp]:
    return np.random.default_rng(_SEED).integers(0, n, (count, n))
