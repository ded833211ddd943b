"""Peaks from the best moments of many visits: against machines whose true rates are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from bakeoff.harness.peak_windows import WINDOW_S, Series, Visit, fastest, reached
from bakeoff.reports.peak_figures import differences, peak_figures, percent_apart, roof_names, unsettled_words
from bakeoff.reports.results import ComputePeak, Peaks, TierPeak
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

CALL_S = 1e-4
TRUE_RATE = 50e9


def visit(slowdowns: list[float], *, start: float = 0.0, rate: float = TRUE_RATE) -> Visit:
    """Calls of `CALL_S` at *rate*, each as many times slower as *slowdowns* say."""
    ends = start + np.concatenate([[0.0], np.cumsum(np.array(slowdowns) * CALL_S)])
    return Visit(amount=rate * CALL_S, ends_s=ends)


class TestFastest:
    def test_a_steady_rate(self) -> None:
        """One process that nothing holds up has its rate in every window, two together have twice that."""
        steady = visit([1.0] * 60)

        assert TRUE_RATE == pytest.approx(fastest([steady]))
        assert 2 * TRUE_RATE == pytest.approx(fastest([steady, visit([1.0] * 60)]))

    def test_the_moment_between_two_hindrances(self) -> None:
        """A few calls at full speed are found, wherever they are."""
        hindered = visit([3.0] * 20 + [1.0] * 3 + [40.0] + [2.0] * 20)

        assert TRUE_RATE == pytest.approx(fastest([hindered]))

    def test_a_moment_shorter_than_the_window_does_not_count_alone(self) -> None:
        """One quick call is averaged with what surrounds it: no single reading of the clock makes a roof."""
        one_call = visit([1.0] * 20 + [0.1] + [1.0] * 20)

        assert TRUE_RATE < fastest([one_call]) < 1.7 * TRUE_RATE

    def test_together_means_at_the_same_time(self) -> None:
        """Two processes that are fast in turns never have the sum of their rates."""
        first, second = visit([1.0] * 20 + [10.0] * 2), visit([10.0] * 2 + [1.0] * 20)

        assert fastest([first, second]) < 1.2 * TRUE_RATE
        assert [TRUE_RATE] * 2 == pytest.approx([fastest([first]), fastest([second])])

    def test_no_common_time(self) -> None:
        """Processes that worked one after the other reached nothing together."""
        assert 0.0 == fastest([visit([1.0] * 5), visit([1.0] * 5, start=1.0)])

    def test_one_long_call(self) -> None:
        """A call that is longer than the window counts as even."""
        assert TRUE_RATE / 100 == pytest.approx(fastest([visit([100.0])]))

    @given(
        st.lists(st.floats(1.0, 50.0), min_size=4, max_size=40),
        st.floats(0.0, 1e5),
        st.floats(1.0, 100.0),
    )
    def test_between_the_mean_and_the_true_rate(self, slowdowns: list[float], start: float, scale: float) -> None:
        """Whatever holds the process up, whenever it began; and twice the work per call is twice the rate."""
        one = visit(slowdowns)
        mean = TRUE_RATE / np.mean(slowdowns)

        assert 0.999999 * mean <= fastest([one]) <= 1.000001 * TRUE_RATE
        moved = visit(slowdowns, start=start, rate=TRUE_RATE * scale)
        assert fastest([one]) * scale == pytest.approx(fastest([moved]), rel=1e-4)

    @given(
        st.lists(st.floats(1.0, 50.0), min_size=4, max_size=30), st.lists(st.floats(1.0, 50.0), min_size=4, max_size=30)
    )
    def test_never_more_than_each_alone(self, one: list[float], other: list[float]) -> None:
        """The sum over the same window is at most the sum of the best windows."""
        both = [visit(one), visit(other)]

        assert fastest(both) <= 1.000001 * sum(fastest([each]) for each in both)


def machine(rng: np.random.Generator, *, busy: float, halves: bool = False) -> tuple[Visit, Visit]:
    """A visit of two cores, each of which others disturb for a part *busy* of the time, for some calls on end.

    It has two thirds of its rate then. With *halves*, the two are one core in truth: each has half of its rate, nothing
    while it is disturbed, and all of it while the other one is.
    """
    disturbed = []
    for _ in range(2):
        state: list[bool] = []
        while len(state) < 60:
            state += [bool(rng.random() < busy)] * int(1 + rng.exponential(8.0))
        disturbed.append(np.array(state[:60]))
    speeds = [np.where(state, 2 / 3, 1.0) for state in disturbed]
    if halves:
        pairs = (disturbed, disturbed[::-1])
        speeds = [np.where(state, 1e-6, np.where(other, 1.0, 0.5)) for state, other in pairs]
    first, second = (paced(speed) for speed in speeds)
    return first, second


def paced(speed: NDArray[np.float64]) -> Visit:
    """Calls at `TRUE_RATE` times *speed*, which has a value for each stretch of time as long as a call."""
    done = np.concatenate([[0.0], np.cumsum(speed)])
    ends = np.interp(np.arange(0.0, done[-1]), done, CALL_S * np.arange(len(done)))
    return Visit(amount=TRUE_RATE * CALL_S, ends_s=ends)


class TestSeries:
    @pytest.mark.parametrize("busy", [0.0, 0.5, 0.85])
    def test_true_rates_are_found_three_times(self, busy: float) -> None:
        """Three measurements of cores that others slow down most of the time agree within 5%, and are right."""
        found = []
        for seed in range(3):
            rng, series = np.random.default_rng(seed), Series(apart=True)
            for _ in range(160):
                first, second = machine(rng, busy=busy)
                series.add([second])
                series.add([first, second])
            found.append(series.rates())

        for place, truth in enumerate((TRUE_RATE, 2 * TRUE_RATE)):
            assert all(0.95 * truth <= rates[place] <= 1.001 * truth for rates in found)
        assert all(percent_apart(*pair) <= 5 for pair in itertools.combinations([all_ for _, all_ in found], 2))

    def test_moments_need_not_coincide_where_nothing_hinders(self) -> None:
        """Cores that are slow in turns reach the sum of their rates; from memory, they have to reach it at once."""
        own, shared = Series(apart=True), Series()
        for series in (own, shared):
            for _ in range(10):
                series.add([visit([1.0] * 30 + [1.5] * 20), visit([1.5] * 30 + [1.0] * 20)])

        assert (TRUE_RATE, 2 * TRUE_RATE) == pytest.approx(own.rates())
        assert shared.rates()[1] < 1.7 * TRUE_RATE

    def test_two_halves_of_one_core_are_not_two(self) -> None:
        """Though each is as fast as a core while the other is held up."""
        rng, series = np.random.default_rng(1), Series(apart=True)
        for _ in range(160):
            series.add(machine(rng, busy=0.3, halves=True))

        assert TRUE_RATE == pytest.approx(series.rates()[0], rel=0.01)
        # A call that was held up half-way counts as even, which lets some of it overlap with what the other did then.
        assert series.rates()[1] < 1.3 * TRUE_RATE

    def test_one_reading_is_none(self) -> None:
        """A rate that was seen once may be the clock's fault."""
        assert 50.0 == reached([50.0, 49.0, 80.0, 48.0])
        assert 50.0 == reached([50.0])
        assert 0.0 == reached([])

    def test_settled_when_both_halves_tell_the_same(self) -> None:
        """A machine that becomes faster while it is measured has not settled."""
        steady, rising = Series(), Series()
        for step in range(20):
            steady.add([visit([1.0] * 20)])
            rising.add([visit([1.0] * 20, rate=TRUE_RATE * (1 + step / 100))])

        assert steady.settled(0.1)
        assert not rising.settled(5.0)
        assert rising.settled(20.0)

    def test_a_window_is_longer_than_a_call_of_these_tests(self) -> None:
        """Else nothing above would be averaged."""
        assert 2 * CALL_S <= WINDOW_S


class TestFigures:
    PEAKS = Peaks(
        gemm_fp32_single_core_gflops=90.0,
        compute=(ComputePeak(precision="fp32", single_core_gmac_s=50.0, all_cores_gmac_s=100.0),),
        tiers=(TierPeak(tier="memory", update_all_cores_gbytes_s=40.0),),
    )

    def test_each_by_its_name(self) -> None:
        """With its unit, and nothing that was not measured."""
        assert {
            "fp32 GEMM, one core": (90.0, "GFLOP/s"),
            "fp32 multiply-adds, one core": (50.0, "GMAC/s"),
            "fp32 multiply-adds, all cores": (100.0, "GMAC/s"),
            "memory update, all cores": (40.0, "GB/s"),
        } == peak_figures(self.PEAKS)

    def test_those_that_differ(self) -> None:
        """In percent of the smaller one, whichever of the two that is; equal ones are not told."""
        slower = self.PEAKS.model_copy(
            update={"tiers": (TierPeak(tier="memory", update_all_cores_gbytes_s=32.0),), "compute": ()}
        )

        assert {"memory update, all cores": 25.0} == differences(self.PEAKS, slower, above_percent=5)
        assert {"memory update, all cores": 25.0} == differences(slower, self.PEAKS, above_percent=5)
        assert {} == differences(self.PEAKS, self.PEAKS, above_percent=0)
        assert float("inf") == percent_apart(0.0, 1.0)
        assert 0.0 == percent_apart(0.0, 0.0)

    def test_what_did_not_settle_is_told(self) -> None:
        """Between which looks, and what helps; nothing of peaks that have."""
        once = self.PEAKS.model_copy(update={"unsettled": {"memory update, all cores": 12.4}})

        assert "" == unsettled_words(self.PEAKS)
        words = unsettled_words(once)
        assert words.startswith("memory update, all cores 12% between the two halves of the time; ")
        assert words.endswith("`bakeoff target --remeasure` keeps the best")
        assert "between two measurements" in unsettled_words(once.model_copy(update={"measurements": 2}))

    def test_limits_rest_on_the_fastest_way(self) -> None:
        """Of moving data, on one core and on all; what is slower need not settle, nor what a library reaches."""
        tier = TierPeak(
            tier="L2",
            read_single_core_gbytes_s=90.0,
            copy_single_core_gbytes_s=95.0,
            update_single_core_gbytes_s=80.0,
            read_all_cores_gbytes_s=190.0,
            copy_all_cores_gbytes_s=185.0,
        )
        apart = {"L2 read, one core": 8.0, "L2 read, all cores": 9.0, "fp32 GEMM, one core": 10.0}
        peaks = self.PEAKS.model_copy(update={"tiers": (tier,), "unsettled": apart})

        assert {
            "fp32 multiply-adds, one core",
            "fp32 multiply-adds, all cores",
            "L2 copy, one core",
            "L2 read, all cores",
        } == roof_names(peaks)
        assert unsettled_words(peaks, roof_names(peaks)).startswith("L2 read, all cores 9% between")
        assert "" == unsettled_words(peaks, ())
