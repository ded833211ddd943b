"""What a person sees while tuning goes on: tasks, trials, the best so far, what the net will take, what is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ..backends.tvm.tuning.contract import Progress, ProgressCallback

__all__ = ["TuneListener", "progress_words", "rich_tuning"]

_REDRAW_S = 0.5
"""Redrawing takes CPU time from what is timed."""


class TuneListener(Protocol):
    """Told of the progress of tuning."""

    def say(self, words: str) -> None:
        """A line that stays."""
        ...

    def follow(self, name: str, seconds: float | None, trials: int | None) -> ProgressCallback:
        """What the tuner calls after each trial of *name*, whose budget is *seconds* and *trials*."""
        ...


def progress_words(now: Progress, seconds: float | None, trials: int | None) -> tuple[str, str]:
    """Two lines: how far it is, and what it found. "refine, 2:13 of 30:00, 412 trials (3 failed)", ..."""
    clock = _clock(now.elapsed_s) + (f" of {_clock(seconds)}" if seconds is not None else "")
    count = f"{now.trials:,}" + (f" of {trials:,}" if trials is not None else "")
    first = f"{now.stage}, {clock}, {count} trials" + (f" ({now.failed:,} failed)" if now.failed else "")
    second = f"{now.tuned} of {now.tasks} kernels have a schedule"
    if now.estimated_ms is not None:
        second += f", the net ≈ {now.estimated_ms:.3g} ms"
    if now.task and now.best_ms is not None:
        second += f"; best of {now.task}: {now.best_ms:.3g} ms"
    return first, second


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


class _Shown:
    """A TuneListener over a Rich live display; without a terminal, a line for each stage."""

    def __init__(self, live: Any, console: Any) -> None:
        self._live = live
        self._console = console

    def say(self, words: str) -> None:
        self._console.print(words, markup=False, highlight=False, soft_wrap=True)

    def follow(self, name: str, seconds: float | None, trials: int | None) -> ProgressCallback:
        from rich.text import Text

        drawn, stage = 0.0, ""

        def show(now: Progress) -> None:
            nonlocal drawn, stage
            lines = progress_words(now, seconds, trials)
            changed = now.stage != stage
            if not self._console.is_terminal:
                if changed:
                    self.say(f"{name}: {'; '.join(lines)}")
            elif changed or time.monotonic() - drawn >= _REDRAW_S:
                drawn = time.monotonic()
                self._live.update(Text(f"{name}: {lines[0]}\n  {lines[1]}", overflow="ellipsis", no_wrap=True))
                self._live.refresh()
            stage = now.stage

        return show


@contextmanager
def rich_tuning() -> Iterator[TuneListener]:
    """A live display on stderr, redrawn only when told."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield _Shown(live, console)
