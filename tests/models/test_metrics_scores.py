"""Right and wrong answers: shares, intervals, and the comparison with a reference."""

import itertools

import numpy as np
import pytest
from bakeoff.models.errors import StageError
from bakeoff.models.metrics.paired import mcnemar, paired, paired_bound
from bakeoff.models.metrics.scores import classify, share, wilson
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom


def test_wilson_of_known_shares():
    """Newcombe's table (Statistics in Medicine 17, 1998): 81 of 263 and 0 of 20."""
    assert (0.2553, 0.3662) == pytest.approx(wilson(81, 263), abs=5e-5)
    assert (0.0, 0.1611) == pytest.approx(wilson(0, 20), abs=5e-5)


def test_views_of_a_picture_count_as_one():
    """Ten views that are all right make no answer surer than one; half of them may be."""
    right = np.array([True] * 19 + [False])
    score, one = share(np.tile(right, 10), "top1", pictures=20), share(right, "top1")

    assert (one.low, one.high) == (score.low, score.high)
    assert (200, 20, 20) == (score.n, score.pictures, one.pictures)
    assert wilson(1, 20)[0] < wilson(1.5, 20)[0] < wilson(2, 20)[0]
    with pytest.raises(ValueError, match="no share of 0"):
        wilson(0, 0)


def test_pairs_of_views_are_bound_by_pictures():
    """The bound is that of the pictures alone, and McNemar's test, whose pairs are independent, says nothing."""
    ours, reference = np.array([True] * 17 + [False] * 3), np.ones(20, dtype=bool)
    views, alone = paired(np.tile(ours, 10), np.tile(reference, 10), pictures=20), paired(ours, reference)

    assert (alone.difference, alone.low) == (pytest.approx(views.difference), pytest.approx(views.low))
    assert (None, 30) == (views.mcnemar_p, views.worse)


def test_classes_are_ranked():
    """Top-1 is the largest; top-5 the five largest, the first of equal ones before the others."""
    outputs = np.array([[0, 9, 1, 1, 1, 1, 1.0], [5, 4, 3, 2, 1, 0, -1.0], [0, 0, 0, 0, 0, 0, 0.0]])
    score = classify(outputs, np.array([1, 4, 5]))

    assert [True, False, False] == score.correct.tolist()
    assert ("top1", 1 / 3, 2 / 3, 3) == (score.metric, score.value, score.top5, score.n)
    assert score.low < score.value < score.high


def test_few_classes_have_no_top5():
    """The best five of five are no finding."""
    assert classify(np.eye(5), np.arange(5)).top5 is None


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(6, 12), st.integers(1, 20))
def test_ranking_is_that_of_a_stable_sort(seed, classes, n):
    """Also where many values are equal, as those of quantized models are."""
    rng = np.random.default_rng(seed)
    outputs, labels = rng.integers(0, 4, (n, classes)).astype(np.float32), rng.integers(0, classes, n)
    order = np.argsort(-outputs, axis=1, kind="stable")
    score = classify(outputs, labels)

    assert np.array_equal(order[:, 0] == labels, score.correct)
    assert np.mean([label in row[:5] for label, row in zip(labels, order, strict=True)]) == pytest.approx(score.top5)
    assert np.array_equal(outputs.argmax(axis=1) == labels, score.correct)


@pytest.mark.parametrize(
    ("outputs", "labels", "classes", "says"),
    [
        (np.array([[0.0, np.nan]]), [0], None, "NaN or infinite values for 1 of 1"),
        (np.array([[0.0, np.inf]]), [0], None, "NaN or infinite"),
        (np.zeros((2, 3)), [0, 3], None, "label 3 lies outside of the model's 3 classes"),
        (np.zeros((1, 3)), [-1], None, "label -1 lies outside"),
        (np.zeros((1, 1001)), [0], 1000, "tells 1001 classes apart, the data set has 1000"),
        (np.zeros((1, 3, 2)), [0], None, "no classes of 1 images"),
    ],
)
def test_what_cannot_be_judged_fails_the_cell(outputs, labels, classes, says):
    """Never a wrong answer, never a silent one."""
    with pytest.raises(StageError, match=says) as caught:
        classify(outputs, np.array(labels), classes=classes)
    assert "evaluate" == caught.value.stage


def test_pairs_are_counted():
    """Better, worse, their difference, and the exact test of 8 against 1."""
    reference = np.array([True] * 90 + [False] * 10)
    ours = reference.copy()
    ours[:8] = False
    ours[95] = True
    found = paired(ours, reference)

    assert (1, 8, 100) == (found.better, found.worse, found.n)
    assert -0.07 == pytest.approx(found.difference)
    assert 2 * binom.cdf(1, 9, 0.5) == pytest.approx(found.mcnemar_p)
    assert -0.15 < found.low < -0.07


def test_bound_without_a_differing_pair_is_the_binomial_one():
    """No loss in 360 images leaves up to 0.83 points possible, not 0."""
    assert -(1 - 0.05 ** (1 / 360)) == pytest.approx(paired_bound(0, 0, 360))
    assert -1.0 == paired_bound(0, 3, 3)


def test_bound_agrees_with_the_exact_test():
    """It lies above zero just where the one-sided exact McNemar test rejects at 5%."""
    for better, worse in itertools.product(range(16), range(8)):
        if better + worse:
            rejects = binom.sf(better - 1, better + worse, 0.5) < 0.05
            assert rejects == (paired_bound(better, worse, 60) > 0)


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
def test_bound_lies_below_the_difference_and_moves_with_it(better, worse, same):
    """One more loss lowers it, one more gain raises it."""
    n = better + worse + same + 1
    low = paired_bound(better, worse, n)

    assert -1.0 <= low < (better - worse) / n
    assert paired_bound(better, worse + 1, n) < low + 1e-9
    assert low < paired_bound(better + 1, worse, n) + 1e-9


@pytest.mark.parametrize("n", [12, 25])
def test_bound_covers_at_least_95_percent(n):
    """By enumeration of every outcome, not by chance: for rare and common losses and gains."""
    outcomes = [(b, w) for b in range(n + 1) for w in range(n + 1 - b)]
    low = {pair: paired_bound(*pair, n) for pair in outcomes}
    better, worse = np.array(outcomes).T
    lows = np.array([low[pair] for pair in outcomes])
    for gain, loss in itertools.product((0.0, 0.005, 0.02, 0.1, 0.3), (0.001, 0.01, 0.05, 0.11, 0.12, 0.2, 0.5)):
        chance = binom.pmf(better, n, gain) * binom.pmf(worse, n - better, loss / (1 - gain))
        covered = chance[lows <= gain - loss + 1e-9].sum()
        assert covered >= 0.95, (gain, loss)
    assert 1.0 == pytest.approx(chance.sum())


def test_mcnemar_without_a_differing_pair():
    """There is nothing to tell apart."""
    assert 1.0 == mcnemar(0, 0)


def test_wilson_covers():
    """Enumerated for 100 images: its mean coverage over shares is 95% within a point, as it is known for."""
    intervals = np.array([wilson(k, 100) for k in range(101)])
    shares = np.linspace(0.02, 0.98, 97)
    covered = [binom.pmf(np.arange(101), 100, p)[(intervals[:, 0] <= p) & (p <= intervals[:, 1])].sum() for p in shares]

    assert 0.95 == pytest.approx(np.mean(covered), abs=0.01)
    assert min(covered) > 0.9


def test_share_of_all():
    """Everything right still has a lower bound."""
    score = share(np.ones(20, dtype=bool), "exact")
    assert (1.0, 1.0) == (score.value, score.high)
    assert 0.8389 == pytest.approx(score.low, abs=1e-4)
