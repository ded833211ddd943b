"""The clock goes round the call and nothing else; inputs rotate; warm-up ends when steady, or at its cap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from bakeoff.backends.base import Array
from bakeoff.harness import timing
from bakeoff.harness.live import settling_calls
from bakeoff.harness.timing import Rotation, WarmUp, run_block, warm_up
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000


@dataclass
class Clock:
    """Stands in for the `time` module: time passes only when told to."""

    now_ns: int = 0
    readings: int = 0

    def perf_counter_ns(self) -> int:
        self.readings += 1
        return self.now_ns

    def perf_counter(self) -> float:
        return self.now_ns / 1e9


@dataclass
class Runtime:
    """Infers with latencies that are given, into one buffer that each call overwrites; time also passes between."""

    clock: Clock
    latency_ms: Callable[[int], float]
    seen: list[float] = field(default_factory=list)
    buffer: Array = field(default_factory=lambda: np.zeros(1))

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        self.clock.now_ns += round(self.latency_ms(len(self.seen)) * MS)
        self.seen.append(float(feeds[0][0]))
        self.buffer[0] = 10.0 * feeds[0][0]
        return [self.buffer]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the module under test reads."""
    found = Clock()
    monkeypatch.setattr(timing, "time", found)
    return found


def rotation(count: int) -> Rotation:
    """Inputs 0, 1, 2, ..."""
    return Rotation([(np.array([float(index)]),) for index in range(count)])


class TestBlock:
    def test_each_call_is_timed(self, clock: Clock) -> None:
        """Every latency is kept, in order, with the clock read twice a call."""
        block = run_block(Runtime(clock, lambda call: call + 1.0).infer, rotation(2), 5, frozenset())
        assert [MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS] == block.times_ns
        assert 10 == clock.readings

    def test_inputs_rotate_across_blocks(self, clock: Clock) -> None:
        """The next block goes on with the input where the last one ended."""
        runtime, inputs = Runtime(clock, lambda _: 1.0), rotation(3)
        run_block(runtime.infer, inputs, 4, frozenset())
        run_block(runtime.infer, inputs, 3, frozenset())
        assert [0, 1, 2, 0, 1, 2, 0] == runtime.seen

    def test_kept_copies_survive(self, clock: Clock) -> None:
        """Outputs that are kept are copies: a runtime may write the next outputs over them."""
        block = run_block(Runtime(clock, lambda _: 1.0).infer, rotation(3), 5, frozenset({1, 3, 4}))
        kept = [(index, outputs[0].tolist()) for index, outputs in block.kept]
        assert [(1, [10.0]), (0, [0.0]), (1, [10.0])] == kept

    def test_copying_is_outside_the_clock(self, clock: Clock) -> None:
        """A copy that takes long makes no sample longer."""

        class Slow:
            def __array__(self, dtype: object = None, copy: object = None) -> Array:
                clock.now_ns += 1000 * MS
                return np.zeros(1)

        def infer(_feeds: Sequence[Array]) -> Sequence[Array]:
            clock.now_ns += MS
            return [Slow()]  # type: ignore[list-item]

        block = run_block(infer, rotation(1), 4, frozenset({0, 2}))
        assert [MS] * 4 == block.times_ns
        assert 2 == len(block.kept)

    def test_errors_pass(self, clock: Clock) -> None:
        """What the runtime raises goes on to who asked."""

        def infer(_feeds: Sequence[Array]) -> Sequence[Array]:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            run_block(infer, rotation(1), 1, frozenset())


def _warm(clock: Clock, latency_ms: Callable[[int], float], *, window: int = 5, cap_s: float = 2.0) -> WarmUp:
    return warm_up(Runtime(clock, latency_ms).infer, rotation(4), window=window, tolerance=0.02, cap_s=cap_s)


class TestWarmUp:
    def test_steady_at_once(self, clock: Clock) -> None:
        """A latency that never changes needs two windows."""
        assert WarmUp(calls=10, steady=True, median_ns=MS) == _warm(clock, lambda _: 1.0)

    def test_waits_until_it_stops_falling(self, clock: Clock) -> None:
        """Twenty calls that get faster and faster are all warm-up, and the speed told is that after them."""
        warm = _warm(clock, lambda call: max(1.0, 3.0 - 0.1 * call))
        assert warm.steady
        assert 25 < warm.calls <= 35
        assert MS == warm.median_ns

    def test_slow_outlier_does_not_hide_the_trend(self, clock: Clock) -> None:
        """One call that was disturbed neither ends the warm-up early nor keeps it from ending."""
        assert 10 == _warm(clock, lambda call: 50.0 if call == 7 else 1.0).calls

    def test_getting_slower_is_steady(self, clock: Clock) -> None:
        """Latency that rises, as on a processor that gets hot, is no warm-up: the samples shall show it."""
        assert _warm(clock, lambda call: 1.0 + 0.1 * call).steady

    def test_cap(self, clock: Clock) -> None:
        """What keeps on getting faster is cut off at the cap, and said not to be steady."""
        warm = _warm(clock, lambda call: 100.0 * 0.9**call, cap_s=0.5)
        assert not warm.steady
        assert 0.5 <= clock.now_ns / 1e9 < 0.6

    def test_two_calls_at_least(self, clock: Clock) -> None:
        """Calls that each take longer than the cap are made twice all the same."""
        assert WarmUp(calls=2, steady=False, median_ns=5000 * MS) == _warm(clock, lambda _: 5000.0)

    def test_window_of_one(self, clock: Clock) -> None:
        """The smallest window compares a call with the one before."""
        assert 2 == _warm(clock, lambda _: 1.0, window=1).calls

    @given(
        latencies=st.lists(st.floats(0.01, 50.0), min_size=1, max_size=40),
        window=st.integers(1, 8),
        cap_s=st.floats(0.001, 1.0),
    )
    def test_always_ends(self, latencies: list[float], window: int, cap_s: float) -> None:
        """Whatever the latencies, it ends at most one call after the cap, and at least two calls are made."""
        clock = Clock()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timing, "time", clock)
            warm = _warm(clock, lambda call: latencies[call % len(latencies)], window=window, cap_s=cap_s)
        assert warm.calls >= 2
        assert clock.now_ns / 1e9 <= max(cap_s, 0.05) + 0.05 + 1e-6
        assert warm.steady or clock.now_ns / 1e9 >= cap_s


@pytest.mark.parametrize(
    ("call_ms", "calls"), [(0.001, 400), (1.0, 10), (6.0, 2), (9.9, 2), (10.0, 1), (99.0, 1), (100.0, 0), (5000.0, 0)]
)
def test_settling_calls(call_ms: float, calls: int) -> None:
    """About ten milliseconds of calls, at least one; none where cold caches no longer show."""
    assert calls == settling_calls(call_ms, 10.0)


def test_nothing_settles_if_not_asked() -> None:
    assert 0 == settling_calls(1.0, 0.0)
