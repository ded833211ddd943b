"""Intervals cover the truth as often as they say, over blocks that share the machine's state; nothing is trimmed."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from bakeoff.harness.stats import CONFIDENCE, aa_floor, median_interval, order_ranks, summarize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Blocks = NDArray[np.float64]
"""One row for each block, one column for each call."""

RUNS = 1000
ERROR = 3.0 * math.sqrt(CONFIDENCE * (1.0 - CONFIDENCE) / RUNS)
"""Three standard errors of a coverage of 95% estimated from `RUNS` simulated runs: 2.1%."""

_BLOCKS = 15
_CALLS = 9

finite = st.floats(min_value=1e-3, max_value=1e6)


def normal(random: np.random.Generator, runs: int) -> tuple[NDArray[np.float64], float]:
    """Each block has its own level; calls scatter around it. Runs x blocks x calls, and the true median."""
    level = random.normal(10.0, 0.5, (runs, _BLOCKS, 1))
    return level + random.normal(0.0, 0.2, (runs, _BLOCKS, _CALLS)), 10.0


def lognormal(random: np.random.Generator, runs: int) -> tuple[NDArray[np.float64], float]:
    """Skewed to the right in blocks and calls, as latency is."""
    level = random.normal(0.0, 0.3, (runs, _BLOCKS, 1))
    return np.exp(level + random.normal(0.0, 0.2, (runs, _BLOCKS, _CALLS))), 1.0


def two_states(random: np.random.Generator, runs: int) -> tuple[NDArray[np.float64], float]:
    """The machine is in one of two states for a whole block; no value lies near the true median between them."""
    level = random.choice([9.0, 11.0], (runs, _BLOCKS, 1))
    return level + random.normal(0.0, 0.3, (runs, _BLOCKS, _CALLS)), 10.0


def two_paths(random: np.random.Generator, runs: int) -> tuple[NDArray[np.float64], float]:
    """Single calls take a slow path, one in five, whatever the block; the true median lies within the fast ones."""
    level = random.normal(0.0, 0.05, (runs, _BLOCKS, 1))
    slow = random.random((runs, _BLOCKS, _CALLS)) < 0.2
    times = 10.0 + level + random.uniform(-1.0, 1.0, slow.shape) + 20.0 * slow
    # Of nine calls the fifth smallest is the block's median; the truth is the median of that, from a large sample.
    many = np.random.default_rng(99)
    slow = many.random((100_000, _CALLS)) < 0.2
    reference = 10.0 + many.normal(0.0, 0.05, (100_000, 1)) + many.uniform(-1.0, 1.0, slow.shape) + 20.0 * slow
    return times, float(np.median(np.median(reference, axis=1)))


SHAPES = [normal, lognormal, two_states, two_paths]
Shape = Callable[[np.random.Generator, int], tuple[NDArray[np.float64], float]]


class TestRanks:
    @pytest.mark.parametrize("count", range(1, 17))
    def test_coverage_is_exact(self, count: int) -> None:
        """The coverage is that of counting, over all 2^n ways for n draws to lie below or above the median."""
        low, high, coverage = order_ranks(count)
        below = [bin(way).count("1") for way in range(2**count)]
        enclosed = sum(1 for under in below if low + 1 <= under <= high)
        assert enclosed / 2**count == coverage

    @pytest.mark.parametrize("count", [6, 7, 8, 9, 20, 57, 200, 1030, 1100])
    def test_the_narrowest_that_suffices(self, count: int) -> None:
        """The confidence is reached, and the next narrower pair would miss it; beyond the range of floats too."""
        low, high, coverage = order_ranks(count)

        def missed(rank: int) -> float:
            return float(2 * sum(math.comb(count, k) for k in range(rank + 1)) / 2**count)

        assert count - 1 == low + high
        assert coverage >= CONFIDENCE
        assert 1.0 - missed(low) == coverage
        assert 1.0 - missed(low + 1) < CONFIDENCE

    @pytest.mark.parametrize(("count", "coverage"), [(1, 0.0), (2, 0.5), (3, 0.75), (5, 0.9375)])
    def test_too_few_draws_say_so(self, count: int, coverage: float) -> None:
        """Fewer than six draws cannot reach 95%: the extremes come with the coverage that they have."""
        assert (0, count - 1, coverage) == order_ranks(count)

    def test_no_draws(self) -> None:
        """Nothing can be said of nothing."""
        with pytest.raises(ValueError, match="at least one draw"):
            order_ranks(0)


class TestCoverage:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_interval_over_blocks_covers_the_truth(self, shape: Shape) -> None:
        """In at least 95% of simulated runs, less the Monte-Carlo error, the true median lies in the interval."""
        runs, truth = shape(np.random.default_rng(1), RUNS)
        intervals = [summarize(list(run)).interval for run in runs]
        covered = sum(interval.low <= truth <= interval.high for interval in intervals) / RUNS
        assert covered >= CONFIDENCE - ERROR

    @pytest.mark.parametrize("shape", [normal, lognormal, two_states])
    def test_interval_over_calls_would_not(self, shape: Shape) -> None:
        """Calls of one block are no independent draws: an interval over calls misses the truth far too often."""
        runs, truth = shape(np.random.default_rng(1), RUNS)
        intervals = [median_interval(list(run.ravel())) for run in runs]
        covered = sum(interval.low <= truth <= interval.high for interval in intervals) / RUNS
        assert covered < CONFIDENCE - 3 * ERROR

    def test_stopping_when_narrow_costs_little(self) -> None:
        """Looking after every block and stopping once the interval is narrow costs at most 3% of the coverage.

        An interval that is narrow by chance stops the sampling, so the coverage must be a little below that of a
        fixed number of blocks; how much was found by this very simulation.
        """
        random = np.random.default_rng(6)
        covered = 0
        for _ in range(RUNS):
            blocks = np.exp(random.normal(0.0, 0.015, 80))
            for count in range(8, len(blocks) + 1):
                interval = median_interval(list(blocks[:count]))
                if interval.high - interval.low <= 0.02:
                    break
            covered += interval.low <= 1.0 <= interval.high
        assert covered / RUNS >= CONFIDENCE - 0.03 - ERROR


class TestSummary:
    def test_no_sample_is_trimmed(self) -> None:
        """One call a thousand times slower than all others is in count, mean, percentiles and maximum rank."""
        blocks = [[1.0] * 10 for _ in range(10)]
        blocks[3][4] = 1000.0
        summary = summarize(blocks)
        assert 100 == summary.count
        assert pytest.approx((99 * 1.0 + 1000.0) / 100) == summary.mean
        assert summary.p99 is not None
        assert summary.p99 > 1.0

    def test_p99_needs_a_hundred(self) -> None:
        """Below 100 samples the 99th percentile would be no more than the maximum, and is not told."""
        assert summarize([[1.0] * 33] * 3).p99 is None
        assert 1.0 == summarize([[1.0] * 50] * 2).p99

    def test_known_figures(self) -> None:
        """Percentiles interpolate linearly; the interval of six blocks is from the least to the greatest median."""
        summary = summarize([[float(10 * block + call) for call in range(10)] for block in range(6)])
        assert 29.5 == summary.median
        assert (4.5, 54.5) == (summary.interval.low, summary.interval.high)
        assert 1.0 - 2 / 64 == summary.interval.confidence
        assert pytest.approx((53.1, 56.05)) == (summary.p90, summary.p95)
        assert 0.0 == summary.minimum

    def test_blocks_of_different_length(self) -> None:
        """A block counts once in the median and in its interval, however many calls it holds."""
        summary = summarize([[5.0] * 100, *([[float(k)] for k in range(1, 8)])])
        assert 4.5 == summary.median
        assert (1.0, 7.0) == (summary.interval.low, summary.interval.high)

    @given(st.lists(st.lists(finite, min_size=1, max_size=7), min_size=1, max_size=12))
    def test_interval_contains_the_median(self, blocks: list[list[float]]) -> None:
        """The median of all samples is never outside its interval, and both lie among the samples."""
        summary = summarize(blocks)
        samples = np.concatenate(blocks)
        assert summary.interval.low <= summary.median <= summary.interval.high
        assert samples.min() <= summary.interval.low
        assert summary.interval.high <= samples.max()
        assert samples.size == summary.count

    @given(
        st.lists(st.lists(finite, min_size=1, max_size=7), min_size=1, max_size=12),
        st.integers(min_value=-10, max_value=10),
    )
    def test_scale(self, blocks: list[list[float]], power: int) -> None:
        """Another unit changes every figure by the same factor (a power of two, so that nothing is rounded)."""
        factor = 2.0**power
        first, second = summarize(blocks), summarize([[factor * value for value in block] for block in blocks])
        assert factor * first.median == second.median
        assert factor * first.interval.low == second.interval.low
        assert factor * first.interval.high == second.interval.high
        assert pytest.approx(factor * first.p90) == second.p90
        assert pytest.approx(factor * first.mean) == second.mean

    @given(st.lists(st.lists(finite, min_size=1, max_size=7), min_size=1, max_size=12), st.randoms())
    def test_order_does_not_matter(self, blocks: list[list[float]], random: Random) -> None:
        """Neither the order of the blocks nor that of the calls within one changes anything but rounding."""
        mixed = [list(reversed(block)) for block in blocks]
        random.shuffle(mixed)
        first, second = summarize(blocks), summarize(mixed)
        assert (first.median, first.interval, first.p90) == (second.median, second.interval, second.p90)

    @given(st.lists(finite, min_size=1, max_size=60), st.lists(st.floats(0.0, 0.999), min_size=2, max_size=2))
    def test_less_confidence_never_widens(self, draws: list[float], levels: list[float]) -> None:
        """Whoever asks for less confidence gets an interval inside the one for more."""
        less, more = sorted(levels)
        narrow, wide = median_interval(draws, less), median_interval(draws, more)
        assert wide.low <= narrow.low <= narrow.high <= wide.high
        assert narrow.confidence <= wide.confidence

    @given(st.integers(min_value=6, max_value=300))
    def test_more_draws_narrow(self, count: int) -> None:
        """The share of the draws that the interval spans shrinks, up to the step of one rank, as draws come in."""

        def span(draws: int) -> float:
            low, high, _ = order_ranks(draws)
            return (high - low) / draws

        assert span(4 * count) < span(count)


class TestNoiseFloor:
    def test_identical_twins(self) -> None:
        """Two records that are the same have no noise."""
        blocks = [[1.0, 2.0, 3.0], [2.0, 2.5, 4.0]] * 5
        assert 0.0 == aa_floor(blocks, blocks)

    @pytest.mark.parametrize("factor", [1.05, 1 / 1.05])
    def test_shifted_twins(self, factor: float) -> None:
        """A twin that is 5% slower or faster throughout gives a floor of log 1.05."""
        random = np.random.default_rng(3)
        blocks = random.lognormal(0.0, 0.3, (12, 5))
        assert pytest.approx(math.log(1.05)) == aa_floor(blocks.tolist(), (factor * blocks).tolist())

    def test_noise_between_twins(self) -> None:
        """Noise without a shift gives a floor above the median's error, and drift common to both none at all."""
        random = np.random.default_rng(4)
        drift = np.linspace(1.0, 3.0, 20)[:, None]
        quiet = drift * np.ones((20, 5))
        noisy = drift * random.lognormal(0.0, 0.05, (20, 1))
        assert 0.0 == aa_floor(quiet.tolist(), quiet.tolist())
        floor = aa_floor(quiet.tolist(), noisy.tolist())
        assert floor is not None
        assert abs(math.log(float(np.median(noisy / drift)))) < floor < 0.05

    def test_floor_bounds_the_median_difference_of_equals(self) -> None:
        """Of twins that differ by noise alone, the true difference, none, is under the floor in 95% of runs."""
        random = np.random.default_rng(5)
        level = random.normal(0.0, 0.02, (RUNS, 12, 2))
        covered = 0
        for run in level:
            floor = aa_floor(np.exp(run[:, :1]).tolist(), np.exp(run[:, 1:]).tolist())
            logs = median_interval([float(value) for value in run[:, 1] - run[:, 0]])
            assert pytest.approx(max(abs(logs.low), abs(logs.high))) == floor
            covered += logs.low <= 0.0 <= logs.high
        assert covered / RUNS >= CONFIDENCE - ERROR

    def test_unequal_lengths(self) -> None:
        """Only rounds that both have count; without a common one nothing can be said."""
        assert 0.0 == aa_floor([[1.0], [1.0]], [[1.0], [1.0], [9.0]])
        assert aa_floor([], [[1.0]]) is None

    @settings(max_examples=50)
    @given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
    def test_symmetric(self, rounds: list[tuple[float, float]]) -> None:
        """It does not matter which of the two is called the twin."""
        first, second = [[a] for a, _ in rounds], [[b] for _, b in rounds]
        assert pytest.approx(aa_floor(first, second)) == aa_floor(second, first)
