"""Interruptions at any moment: while importing, while working, twice, at the very end, and where they are ignored."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, signal, sys, types
from bakeoff.harness import start

def send():
    signal.raise_signal(signal.{signal})

def work():
    {work}

sys.modules["bakeoff.harness.cli"] = types.SimpleNamespace(main=work)
start.main()
"""

_ORDERLY = """
    try:
        send()
    except KeyboardInterrupt:
        {during}
        print("put away")
        sys.exit(130)
"""


def _run(work: str, signal: str = "SIGINT", ignored: bool = False) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program whose command line does *work*."""
    program = _PROGRAM.format(signal=signal, work=work.strip())
    if ignored:
        program = f"import signal\nsignal.signal(signal.{signal}, signal.SIG_IGN)\n{program}"
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_before_the_command_line_is_there(signal: str) -> None:
    """What nobody else catches, as during imports, ends in one line and 130."""
    assert (130, "", "bakeoff: interrupted\n") == _run("send()", signal)


def test_a_second_signal_at_once_is_the_same_wish() -> None:
    """It does not break what ends in order."""
    assert (130, "put away\n", "") == _run(_ORDERLY.format(during="send()"))


def test_a_later_signal_ends_it_on_the_spot() -> None:
    """Whoever still waits can leave without waiting."""
    during = "start.SAME_KEYSTROKE_S = -1.0; send()"
    assert (130, "", "bakeoff: interrupted\n") == _run(_ORDERLY.format(during=during))


def test_while_python_ends() -> None:
    """The exit code is decided by then, and stays."""
    assert (3, "", "") == _run("atexit.register(send); sys.exit(3)")


def test_what_is_ignored_stays_ignored() -> None:
    """As under `nohup` and in a script's background jobs."""
    assert (0, "still here\n", "") == _run("send(); print('still here')", ignored=True)
