"""What makes a figure suspicious is said in words, and quiet machines get none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pytest
from bakeoff.harness.cores import usable_cores
from bakeoff.harness.machine import Counters, count, judge, judge_state, snapshot, subtract
from bakeoff.harness.processes import ProcessScan, busy_processes, scan_processes
from bakeoff.reports.results import MachineState

ZERO = Counters(busy_s=100.0, steal_s=5.0, throttled_periods=2, oom_kills=0)


def later(busy_s: float = 0.0, steal_s: float = 0.0, throttled: int = 0, oom_kills: int = 0) -> Counters:
    """A reading after `ZERO`."""
    return Counters(busy_s=100.0 + busy_s, steal_s=5.0 + steal_s, throttled_periods=2 + throttled, oom_kills=oom_kills)


class TestJudge:
    def test_quiet(self) -> None:
        """Our own work, and a little besides, is no reason to suspect anything."""
        assert () == judge(ZERO, later(busy_s=10.5), 10.0, 10.0, 2)

    def test_other_processes(self) -> None:
        """CPU time that is not ours is told as a share of one core."""
        assert ("other processes used 34% of a core",) == judge(ZERO, later(busy_s=13.48), 10.04, 10.0, 2)

    def test_ticks_are_no_evidence(self) -> None:
        """In a stretch of a few kernel ticks, a tick too many is not blamed on others."""
        assert () == judge(ZERO, later(busy_s=0.05), 0.02, 0.02, 2)

    def test_steal(self) -> None:
        """Stolen time counts against the time in which there was work, not against idle cores."""
        assert ("the hypervisor stole 3.1% of the time",) == judge(
            ZERO, later(busy_s=9.69, steal_s=0.31), 9.6, 100.0, 2
        )

    @pytest.mark.parametrize(("times", "words"), [(1, "once"), (4, "4 times")])
    def test_throttled_by_the_quota(self, times: int, words: str) -> None:
        """Each stop by the CPU quota is counted."""
        assert (f"the CPU quota stopped the container {words}",) == judge(ZERO, later(throttled=times), 0.0, 1.0, 2)

    def test_killed_for_memory(self) -> None:
        """A kill for lack of memory is told."""
        assert ("the kernel killed for lack of memory once",) == judge(ZERO, later(oom_kills=1), 0.0, 1.0, 2)

    def test_without_control_groups(self) -> None:
        """Counters that the system does not keep are no reason."""
        nothing = Counters(busy_s=0.0, steal_s=0.0, throttled_periods=None, oom_kills=None)

        assert () == judge(nothing, nothing, 0.0, 1.0, 2)
        assert nothing == subtract(nothing, nothing)

    def test_state_adds_its_reasons(self) -> None:
        """With a state, its reasons follow those of the counters."""
        state = MachineState(when=datetime.now(UTC), load_1m=5.2)

        assert (
            "the CPU quota stopped the container once",
            "load average 5.2 on 2 cores before the run",
        ) == judge(ZERO, later(throttled=1), 0.0, 1.0, 2, state=state)


class TestJudgeState:
    @pytest.mark.parametrize(
        ("facts", "expected"),
        [
            ({"load_1m": 1.9}, ()),
            ({"load_1m": 5.2}, ("load average 5.2 on 2 cores before the run",)),
            ({"governor": "performance (acpi-cpufreq)"}, ()),
            ({"governor": "powersave (acpi-cpufreq)"}, ("frequency governor is powersave",)),
            ({"governor": "powersave (intel_pstate)"}, ()),
            ({"temperature_c": 70.0}, ()),
            ({"temperature_c": 96.2}, ("temperature 96 C",)),
            ({"busy_processes": ("make (71): 87% of a core",)}, ("busy beside it: make (71): 87% of a core",)),
        ],
    )
    def test_reasons(self, facts: dict[str, object], expected: tuple[str, ...]) -> None:
        """Load, governor, temperature and busy processes are told beyond their thresholds only."""
        assert expected == judge_state(MachineState(when=datetime.now(UTC), **facts), 2)


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing but burn CPU."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        yield process
        process.kill()


def burn_until(process: subprocess.Popen[bytes], cpu_s: float) -> None:
    """Wait until *process* has used *cpu_s* seconds of CPU more, however long that takes."""
    watched = psutil.Process(process.pid)
    start = sum(watched.cpu_times()[:2])
    while sum(watched.cpu_times()[:2]) - start < cpu_s:
        time.sleep(0.02)


class TestReadings:
    def test_counters_see_another_process(self, burner: subprocess.Popen[bytes]) -> None:
        """What another process burns shows in the counters of the cores."""
        before = count(usable_cores())
        burn_until(burner, 0.4)

        assert subtract(count(usable_cores()), before).busy_s >= 0.3

    def test_snapshot(self) -> None:
        """A snapshot fits the published schema and has what every Linux tells."""
        cores = usable_cores()
        state = snapshot(cores, since=count(cores), busy_processes=("x (1): 20% of a core",))

        assert state == MachineState.model_validate_json(state.model_dump_json())
        assert state.memory_available_bytes > 0
        assert state.load_1m is not None
        assert 0.0 == state.steal_percent or state.steal_percent > 0.0
        assert ("x (1): 20% of a core",) == state.busy_processes


class TestBusyProcesses:
    def scan_around(self, burner: subprocess.Popen[bytes]) -> tuple[ProcessScan, ProcessScan]:
        """Two scans between which the burner had at least a fifth of a core."""
        while True:
            before = scan_processes()
            start = time.monotonic()
            burn_until(burner, 0.2)
            if time.monotonic() - start < 1.0:
                return before, scan_processes()

    def test_named_with_share(self, burner: subprocess.Popen[bytes]) -> None:
        """A busy stranger is named with its pid and its share of a core; a process that slept is not."""
        before, after = self.scan_around(burner)
        found = busy_processes(before, after, own=())

        assert any(f"({burner.pid}): " in one and one.endswith("% of a core") for one in found)

    def test_own_tree_left_out(self, burner: subprocess.Popen[bytes]) -> None:
        """Whatever descends from our own processes is not a stranger."""
        before, after = self.scan_around(burner)

        assert not any(f"({burner.pid})" in one for one in busy_processes(before, after, own=[os.getpid()]))
