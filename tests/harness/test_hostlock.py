"""One measurement at a time on a host, whoever asks and however the holder ends. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bakeoff.harness.hostlock import hold_host
from bakeoff.models.errors import UserError

HOLDER = """
import subprocess, sys
from pathlib import Path
from bakeoff.harness.hostlock import hold_host
with hold_host(folder=Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"],
                             stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    sys.stdin.read()
child.kill()
"""

TURNS = """
import sys, time
from pathlib import Path
from filelock import FileLock, Timeout
from bakeoff.harness.hostlock import hold_host

name, other, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def other_waits():
    try:
        with FileLock(folder / "bakeoff-measure.queue.lock").acquire(timeout=0):
            return False
    except Timeout:
        return True

for _ in range(3):
    with hold_host(folder=folder), (folder / "log").open("a") as log:
        log.write(name)
        while not other_waits() and not (folder / f"{other} is done").exists():
            time.sleep(0.02)
(folder / f"{name} is done").touch()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process running *code*, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def wait_and_end(folder: Path, end: Callable[[], object]) -> list[str]:
    """Ask for the lock; once told to wait, *end* the holder. Returns what was told once the lock is ours."""
    told: list[str] = []

    def on_wait(words: str) -> None:
        told.append(words)
        threading.Timer(0.2, end).start()

    with hold_host(on_wait, folder):
        return told


def test_free_lock_is_taken_in_silence(tmp_path: Path) -> None:
    """Nobody is told anything if nobody else measures, and the lock can be taken again and again."""
    for _ in range(3):
        with hold_host(pytest.fail, tmp_path):
            pass


def test_second_run_waits_and_says_for_whom(tmp_path: Path) -> None:
    """The second run is told once who measures, and goes on when that one lets go."""
    with start(HOLDER, tmp_path) as holder:
        holder.stdout.readline()
        told = wait_and_end(tmp_path, holder.stdin.close)

    (words,) = told
    assert words.startswith(f"another bakeoff run (pid {holder.pid}, started 2")
    assert words.endswith(") is measuring on this host; waiting")


def test_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """A holder killed with SIGKILL leaves the lock free, even while a process that it started lives on."""
    with start(HOLDER, tmp_path) as holder:
        orphan = int(holder.stdout.readline())
        try:
            assert 1 == len(wait_and_end(tmp_path, holder.kill))
            os.kill(orphan, 0)
        finally:
            os.kill(orphan, signal.SIGKILL)

    with hold_host(pytest.fail, tmp_path):
        pass


def test_two_runs_take_turns(tmp_path: Path) -> None:
    """Two runs that take the lock for each group alternate: neither gets it twice in a row while the other waits."""
    with start(TURNS, "a", "b", tmp_path) as first, start(TURNS, "b", "a", tmp_path) as second:
        pass

    assert (0, 0) == (first.returncode, second.returncode)
    assert (tmp_path / "log").read_text() in ("ababab", "bababa")


def test_error_inside_frees_the_lock(tmp_path: Path) -> None:
    """An exception in the timed part goes through unchanged and frees the lock."""
    with pytest.raises(ZeroDivisionError), hold_host(folder=tmp_path):
        _ = 1 / 0

    with hold_host(pytest.fail, tmp_path):
        pass


def test_interrupt_while_waiting(tmp_path: Path) -> None:
    """Ctrl-C ends the wait and leaves the queue to others."""
    with start(HOLDER, tmp_path) as holder:
        holder.stdout.readline()
        with pytest.raises(KeyboardInterrupt), hold_host(lambda _: signal.raise_signal(signal.SIGINT), tmp_path):
            pytest.fail("the lock is held by another process")
        assert 1 == len(wait_and_end(tmp_path, holder.stdin.close))


def test_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Without a place for the lock, the user is told in one line what to do."""
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="BAKEOFF_LOCK_FOLDER"), hold_host(folder=tmp_path / "file"):
        pytest.fail("there is no such folder")


def test_everybody_may_lock(tmp_path: Path) -> None:
    """The files are for all users of the host, whatever the umask."""
    with hold_host(folder=tmp_path):
        assert {0o666} == {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
