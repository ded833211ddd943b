"""Small parts that a run's figures and words rest on: usage, phases, blame, watch, progress."""

from __future__ import annotations

import io
import os
import threading
import time

import pytest
from bakeoff.harness.blame import blame_mismatch
from bakeoff.harness.cores import usable_cores
from bakeoff.harness.phases import PhaseClock
from bakeoff.harness.progress import rich_progress
from bakeoff.harness.usage import Usage, own_usage, working_threads
from bakeoff.harness.watch import Watch


def usage(**thread_cpu_s: float) -> Usage:
    return Usage(
        thread_cpu_s={int(name[1:]): seconds for name, seconds in thread_cpu_s.items()},
        rss_bytes=0,
        peak_rss_bytes=0,
        rss_method="",
        involuntary_switches=0,
    )


class TestThreads:
    @pytest.mark.parametrize(
        ("before", "after", "working"),
        [
            ({}, {}, 0),
            ({"t1": 5.0}, {"t1": 5.0}, 0),
            ({"t1": 1.0}, {"t1": 2.0}, 1),
            ({"t1": 1.0}, {"t1": 2.0, "t2": 1.0}, 2),
            ({"t1": 1.0, "t2": 9.0}, {"t1": 2.0, "t2": 9.05}, 1),
            ({"t1": 1.0, "t2": 9.0}, {"t1": 2.0, "t2": 9.2}, 2),
            ({"t1": 1.0, "t3": 50.0}, {"t1": 2.0, "t2": 0.9}, 2),
        ],
    )
    def test_counted_by_work(self, before: dict[str, float], after: dict[str, float], working: int) -> None:
        """A thread counts if it did a tenth of what the busiest did since the first reading, not before it."""
        assert working == working_threads(usage(**before), usage(**after))

    def test_real_threads(self) -> None:
        """The kernel's counters tell the thread that works from the one that sleeps."""
        stop = threading.Event()
        sleeper = threading.Thread(target=stop.wait)
        sleeper.start()
        before = own_usage()
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        after = own_usage()
        stop.set()
        sleeper.join()
        assert 1 == working_threads(before, after)

    def test_memory(self) -> None:
        """The peak is at least what is resident now, and its method is named."""
        found = own_usage()
        assert 0 < found.rss_bytes <= found.peak_rss_bytes * 1.01
        assert "VmHWM of /proc/self/status" == found.rss_method


class TestPhases:
    def test_they_add_up(self) -> None:
        """A phase that comes twice is one; time that none covers is told as other, last."""
        clock = PhaseClock()
        for name in ("load", "measure", "load"):
            with clock.phase(name):
                pass
        phases = clock.phases()
        assert ["load", "measure", "other"] == [phase.name for phase in phases]
        assert all(phase.seconds >= 0.0 for phase in phases)

    def test_a_phase_that_fails_counts(self) -> None:
        """An exception ends a phase and passes."""
        clock = PhaseClock()
        with pytest.raises(ValueError, match="no"), clock.phase("export"):
            raise ValueError("no")
        assert "export" == clock.phases()[0].name


@pytest.mark.parametrize(
    ("stage", "baseline", "baseline_mismatched", "blame"),
    [
        ("first", True, True, "importer"),
        ("first", False, True, "importer"),
        ("first", False, False, "compiler"),
        ("block", False, False, "runtime"),
        ("block", True, True, "runtime"),
    ],
)
def test_blame(stage: str, baseline: bool, baseline_mismatched: bool, blame: str) -> None:
    """Who else is wrong, and when, tells whose fault it looks like."""
    assert blame == blame_mismatch(stage=stage, baseline=baseline, baseline_mismatched=baseline_mismatched)


class TestWatch:
    def test_room(self) -> None:
        """A byte has room and the memory of all machines has none."""
        watch = Watch(cores=usable_cores())
        assert watch.has_room(1)
        assert not watch.has_room(2.0**80)

    def test_standing_reasons(self) -> None:
        """What holds for the whole sitting is said of every cell, measured or not."""
        assert ["governor is powersave"] == Watch(cores=usable_cores(), standing=("governor is powersave",)).reasons(1)

    def test_own_work_is_no_reason(self) -> None:
        """CPU time that the worker says is its own is not taken for another's."""
        watch = Watch(cores=usable_cores())
        with watch.block(1) as tally:
            tally({"cpu_s": 1e6})
        assert [] == watch.reasons(1)

    def test_a_failed_block_counts_nothing(self) -> None:
        """A block without an answer leaves no trace."""
        watch = Watch(cores=usable_cores())
        with pytest.raises(OSError, match="gone"), watch.block(1):
            raise OSError("gone")
        assert [] == watch.reasons(1)

    def test_state(self) -> None:
        """Our own processes are never named as busy beside us."""
        assert not any(f"({os.getpid()})" in words for words in Watch(cores=usable_cores()).state().busy_processes)


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody sees a bar, only the lines that stay are written, each in one piece and with its brackets."""
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    line = "random weights [bold]for[/bold] " + "a very long name " * 20 + "end"
    with rich_progress() as listener:
        listener.plan(2)
        listener.tick("load [x]")
        listener.step("done [y]")
        listener.say(line)
    assert line + "\n" == shown.getvalue()
