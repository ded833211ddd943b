"""Ratios and angles, summed up over images."""

import math

import numpy as np
import pytest
from bakeoff.models.tally import LIMIT_DB, Tally, decibel
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.01, 100.0), st.integers(1, 50), st.integers(0, 1000))
def test_ratio_and_angle(scale, count, seed):
    """The ratio is that of the powers, and both are the same over parts as over the whole."""
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((4, count)) + 3.0
    ours = reference + scale * rng.standard_normal((4, count))
    whole, parts, merged = Tally(), Tally(), Tally()
    whole.add(ours, reference)
    for left, right in zip(ours, reference, strict=True):
        parts.add(left[None], right[None])
        one = Tally()
        one.add(left[None], right[None])
        merged.merge(one)
    expected = 10 * np.log10((reference**2).sum() / ((ours - reference) ** 2).sum())
    cosine = (ours * reference).sum() / np.sqrt((ours**2).sum() * (reference**2).sum())
    for tally in (whole, parts, merged):
        assert (expected, cosine) == pytest.approx((tally.snr_db, tally.cosine))
        assert np.abs(ours - reference).max() == tally.worst
    assert (whole.classified, whole.same_class, ours.size) == (parts.classified, parts.same_class, parts.compared)
    assert parts == merged


def test_ends_of_the_scale():
    """No noise has no ratio; no signal, or endless noise, the lowest."""
    assert decibel(1.0, 0.0) is None
    assert -LIMIT_DB == decibel(0.0, 1.0) == decibel(1.0, float("inf")) == decibel(1e-300, 1e300)
    assert LIMIT_DB == decibel(1e300, 1e-300)


def test_what_is_not_finite():
    """Elements without a finite reference are left out, others that are not finite are counted."""
    tally = Tally()
    tally.add(np.array([1.0, np.nan, 3.0, np.inf]), np.array([1.0, 2.0, np.inf, 4.0]))
    assert (2, 1, None, 1.0) == (tally.broken, tally.compared, tally.snr_db, tally.cosine)
    assert math.inf == tally.noise_ratio


def test_noise_ratio():
    """Powers over each other; noise without a signal counts as one, silence as none."""
    assert (0.25, 1.0, 0.0) == tuple(
        Tally(signal=signal, noise=noise).noise_ratio for signal, noise in ((4.0, 1.0), (0.0, 9.0), (0.0, 0.0))
    )
