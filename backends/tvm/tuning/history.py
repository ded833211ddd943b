"""What tuning cost and brought, told again from the trials that a database keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .choice import choose
from .contract import CurvePoint, Task, Trial

__all__ = ["History", "durations", "history"]


@dataclass(frozen=True, kw_only=True)
class History:
    """The tuning of one model: only trials of its own kernels count, whichever model they were done for."""

    trials: int
    failed: int
    seconds: float
    curve: tuple[CurvePoint, ...]
    """Estimated latency against trials and seconds; it only falls, and begins where every kernel has a time."""


def durations(trials: Sequence[Trial]) -> Iterator[float]:
    """Seconds that each trial took, with what went before it: the extraction of the tasks, a worker that started anew.

    Where the clock of `elapsed_s` goes back, the trials of another database begin.
    """
    before = 0.0
    for trial in trials:
        yield trial.elapsed_s - before if trial.elapsed_s >= before else trial.elapsed_s
        before = trial.elapsed_s


def history(tasks: Sequence[Task], trials: Sequence[Trial], space: str = "") -> History:
    """The history of the model with *tasks* (those of all variants) in *trials*, of *space* only unless it is ""."""
    hashes = {task.hash for task in tasks}
    best: dict[str, float] = {}
    count = failed = 0
    seconds = 0.0
    curve: list[CurvePoint] = []
    for trial, duration in zip(trials, durations(trials), strict=True):
        if trial.task not in hashes or (space and trial.space != space):
            continue
        count += 1
        seconds += duration
        failed += trial.seconds is None
        if trial.seconds is None or trial.cold or trial.seconds >= best.get(trial.task, float("inf")):
            continue
        best[trial.task] = trial.seconds
        estimated = choose(tasks, best).seconds
        if estimated is not None and (not curve or estimated * 1e3 < curve[-1].estimated_ms):
            curve.append(CurvePoint(trials=count, elapsed_s=seconds, estimated_ms=estimated * 1e3))
    return History(trials=count, failed=failed, seconds=seconds, curve=tuple(curve))
