"""Where the program begins: interruptions are answered before anything slow is imported, and until the very end."""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False  # what type checkers take as true; typing itself takes milliseconds to import
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["answer_interruptions", "main"]

ENDING = (signal.SIGINT, signal.SIGTERM)

SAME_KEYSTROKE_S = 1.0
"""A signal that follows the first one sooner is the same wish: terminals, shells and `tox` pass on what they get."""

SHOW_CURSOR = b"\x1b[?25h"


def main() -> NoReturn:
    """Run the command line; the exit codes are those of `harness.cli.main`.

    Interrupted while still importing, it says so and ends with 130, as later.
    """
    answer_interruptions()
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        _leave()
    finally:  # all is said and done; Python, as it ends, would give signals their deadly meaning back
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(0)


def answer_interruptions() -> None:
    """Take SIGINT and SIGTERM as KeyboardInterrupt, once.

    What ends in order must not be interrupted in its turn, so a second signal is not an exception: within a second it
    is ignored, after that it ends the program on the spot (workers die with it, and the store has what was finished).
    What whoever started us told us to ignore, as `nohup` and a script's background jobs do, stays ignored.
    """
    first: list[float] = []

    def answer(_number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not first:
            first.append(now)
            raise KeyboardInterrupt
        if now - first[0] > SAME_KEYSTROKE_S:
            _leave()

    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, answer)


def _leave() -> NoReturn:
    """Say that it was interrupted and exit with 130, without unwinding anything."""
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)
    os.write(2, b"bakeoff: interrupted\n")
    os._exit(130)
