"""Jobs run side by side on cores of their own, in order, and an interrupted pool leaves no process behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import psutil
import pytest
from bakeoff.harness.pool import run_jobs, split_cores
from hypothesis import given
from hypothesis import strategies as st

LIMIT_S = 120.0


@given(st.lists(st.integers(0, 255), unique=True, max_size=32), st.integers(0, 64))
def test_split_cores(cores: list[int], jobs: int) -> None:
    """Every core goes to exactly one job, no job goes without one, and shares differ by one core at most."""
    shares = split_cores(cores, jobs)
    assert sorted(cores) == sorted(core for share in shares for core in share)
    assert max(1, min(jobs, len(cores))) == len(shares)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(sizes) or not cores


def test_results_in_order() -> None:
    """Results stand in the order of the items, whichever job ended first; `done` hears of each in this thread."""
    second_done = threading.Event()

    def work(item: str, _cores: tuple[int, ...]) -> str:
        if item == "a":
            assert second_done.wait(LIMIT_S)
        else:
            second_done.set()
        return item.upper()

    heard: list[tuple[str, threading.Thread]] = []
    results = run_jobs(
        ["a", "b"], work, cores=[0, 1], done=lambda item: heard.append((item, threading.current_thread()))
    )
    assert ["A", "B"] == results
    assert {("a", threading.current_thread()), ("b", threading.current_thread())} == set(heard)


def test_nothing_to_do() -> None:
    """No items, no results."""
    assert [] == run_jobs([], lambda item, cores: item, cores=[0], done=lambda item: None)


def test_never_two_on_one_core() -> None:
    """As many jobs run at once as there are shares, and no two of them hold the same cores."""
    lock = threading.Lock()
    busy: list[tuple[int, ...]] = []
    most = 0

    def work(_item: int, cores: tuple[int, ...]) -> tuple[int, ...]:
        nonlocal most
        with lock:
            assert cores not in busy
            busy.append(cores)
            most = max(most, len(busy))
        with lock:
            busy.remove(cores)
        return cores

    results = run_jobs(range(50), work, cores=[3, 5, 7], done=lambda item: None)
    assert {(3,), (5,), (7,)} >= set(results)
    assert most <= 3


_PROGRAM = """
import subprocess, sys, threading, time
from bakeoff.harness.pool import run_jobs

both = threading.Barrier(2)
started = []
held = threading.Event()

def work(item, cores):
    started.append(item)
    if item == "sleeper":
        command = ["sh", "-c", "sleep 1000 & echo $!; kill -STOP $$; wait"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            print(process.pid, process.stdout.readline().decode().strip(), flush=True)
            both.wait()
            process.wait()
        held.set()
        return item
    if item != "bad":
        return item
    both.wait()
    WHAT

try:
    run_jobs(["sleeper", "bad", "third", "fourth"], work, cores=[0, 1], done=lambda item: None)
except BaseException as error:
    print(type(error).__name__, *started, flush=True)
"""


@pytest.mark.parametrize(
    "what", ["raise ValueError('no')", "import os, signal; os.kill(os.getpid(), signal.SIGINT); held.wait()"]
)
def test_an_exception_stops_the_rest(what: str, eventually: Callable[[Callable[[], object]], bool]) -> None:
    """When a job raises, or on Ctrl-C, all processes below are killed, stopped ones too, and no further job starts."""
    command = [sys.executable, "-c", _PROGRAM.replace("WHAT", what)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    pids, last = done.stdout.splitlines()
    assert ("ValueError" if "ValueError" in what else "KeyboardInterrupt") == last.split()[0]
    assert eventually(lambda: not any(_lives(int(pid)) for pid in pids.split()))
    assert {"sleeper", "bad"} == set(last.split()[1:])


class _InterruptedWhileHandedOut(Sequence[str]):
    """Two items, and Ctrl-C comes once the first was handed out (and, were it let, had started)."""

    def __init__(self, started: threading.Event) -> None:
        self._started = started

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: object) -> NoReturn:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        yield "first"
        self._started.wait(0.2)
        raise KeyboardInterrupt


def test_an_interrupt_while_jobs_are_handed_out() -> None:
    """Ctrl-C before all jobs were handed out starts none, and leaves no thread that would keep the program alive."""
    started = threading.Event()
    ended = threading.Event()
    threads = set(threading.enumerate())

    def work(_item: str, _cores: tuple[int, ...]) -> bool:
        started.set()
        return ended.wait(LIMIT_S)  # what only the death of a process below would end

    try:
        with pytest.raises(KeyboardInterrupt):
            run_jobs(_InterruptedWhileHandedOut(started), work, cores=[0, 1], done=lambda item: None)
        assert not started.is_set()
        assert threads == set(threading.enumerate())
    finally:
        ended.set()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
