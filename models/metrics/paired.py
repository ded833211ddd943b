"""Two sets of right and wrong answers to the same images: how much worse is one, at most?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scores import CONFIDENCE, pictures_behind

__all__ = ["Paired", "mcnemar", "paired", "paired_bound"]

_NODES = 2048


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A comparison with the reference on the same images."""

    difference: float
    """Accuracy minus that of the reference."""
    low: float
    """Lower bound of it, 95% one-sided: -0.008 means "loses at most 0.8 points"."""
    mcnemar_p: float | None
    """Two-sided, exact; None where answers are not right or wrong, or are to several views of each picture."""
    n: int
    better: int | None = None
    """Images that only we answered right; None where answers are not right or wrong."""
    worse: int | None = None
    """Images that only the reference answered right."""


def paired(correct: NDArray[np.bool_], reference: NDArray[np.bool_], *, pictures: int | None = None) -> Paired:
    """Compare *correct* with *reference*, both (N,) over the same images. Raises `ValueError` for other shapes.

    *pictures* of which the images are views, where that is fewer than N: the bound rests on so many pairs.
    """
    if correct.shape != reference.shape or correct.ndim != 1 or len(correct) == 0:
        raise ValueError(f"answers of shapes {correct.shape} and {reference.shape} are no pairs")
    better, worse = int(np.sum(correct & ~reference)), int(np.sum(~correct & reference))
    n = len(correct)
    behind = pictures_behind(n, pictures)
    return Paired(
        difference=(better - worse) / n,
        low=paired_bound(better * behind / n, worse * behind / n, behind),
        mcnemar_p=mcnemar(better, worse) if behind == n else None,
        n=n,
        better=better,
        worse=worse,
    )


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p-value of "as often *better* as *worse*" (Q. McNemar, Psychometrika 12, 1947)."""
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def paired_bound(better: float, worse: float, n: int) -> float:
    """Lower 95% bound of the difference of two paired shares, from the pairs that differ, among *n*.

    Counts need not be whole (see `scores.wilson`).

    M. P. Fay and K. Lumbard, Statistics in Medicine 40(5), 2021: the confidence distributions of the share of pairs
    that differ and of how they differ, melded. It agrees with the exact one-sided McNemar test (above zero just where
    that rejects), and covers at least 95% however few pairs differ; where none does it is the binomial
    1 - 0.05^(1/n), where intervals that rest on normality (Wald, Bonett and Price, Tango) claim too much.
    """
    from scipy.optimize import brentq
    from scipy.special import betainc, betaincc, betaincinv

    alpha, differ = 1.0 - CONFIDENCE, better + worse
    if better == 0:
        # Every pair that differs is a loss: the Clopper-Pearson bound of their share.
        return -1.0 if differ == n else -float(betaincinv(differ + 1, n - differ, CONFIDENCE))
    # The lower confidence distribution of P(better | differs), taken to -1..1 at the middle of each of its quantiles.
    lean = 2.0 * betaincinv(better, worse + 1, (np.arange(_NODES) + 0.5) / _NODES) - 1.0

    def below(bound: float) -> float:
        """Melded probability that the difference is below *bound*, short of alpha."""
        ratio = np.clip(np.divide(bound, lean, out=np.zeros_like(lean), where=lean != 0.0), 0.0, 1.0)
        if bound < 0.0:
            part = betaincc(differ + 1, n - differ, ratio) if differ < n else (ratio < 1.0).astype(np.float64)
            return float(np.mean(np.where(lean < 0.0, part, 0.0))) - alpha
        return float(np.mean(np.where(lean > 0.0, betainc(differ, n - differ + 1, ratio), 1.0))) - alpha

    if below(0.0) >= 0.0:
        return float(brentq(below, -1.0, -1e-12)) if below(-1e-12) > 0.0 else 0.0
    return float(brentq(below, 0.0, 1.0))
