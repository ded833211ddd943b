"""What a person sees while a run goes on: what is being done, how far it is, how long it may still take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Listener", "rich_progress"]


class Listener(Protocol):
    """Told of a run's progress."""

    def plan(self, steps: int) -> None:
        """*steps* more steps are to be done."""
        ...

    def tick(self, words: str) -> None:
        """Something is being done, or still being done. Cheap: it may be called between two blocks."""
        ...

    def step(self, words: str) -> None:
        """One step is done."""
        ...

    def say(self, words: str) -> None:
        """A line that stays on the screen."""
        ...


class _Shown:
    """A Listener over a Rich progress bar, redrawn only when told: no thread of its own taxes what is measured."""

    def __init__(self, progress: Any, console: Any) -> None:
        self._progress = progress
        self._console = console
        self._task = progress.add_task("start", total=0)
        self._total = 0
        self._last = ""

    def plan(self, steps: int) -> None:
        self._total += steps
        self._progress.update(self._task, total=self._total)

    def tick(self, words: str) -> None:
        if words != self._last:
            self._last = words
            self._progress.update(self._task, description=words)
            self._progress.refresh()

    def step(self, words: str) -> None:
        self._progress.update(self._task, advance=1, description=words)
        self._progress.refresh()

    def say(self, words: str) -> None:
        self._console.print(words, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def rich_progress() -> Iterator[Listener]:
    """A progress bar on stderr; on something that is no terminal, only the lines that stay."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    progress = Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=600.0,
    )
    with progress:
        yield _Shown(progress, console)
