"""One call of the tuner: its tasks, every trial as it is made, and what is known after each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .budget import Budget
from .choice import Choice, choose
from .contract import (
    CurvePoint,
    Progress,
    ProgressCallback,
    Proposal,
    Stage,
    Task,
    TaskResult,
    Trial,
    TuneRequest,
    TuneResult,
)
from .grids import grid_of
from .records import Records
from .search import TaskSearch, key_of
from .tasks_wire import Found
from .tiles import Vector
from .warm import warm_candidates

__all__ = ["Ledger", "place_of"]

_log = logging.getLogger(__name__)


class Ledger:
    """Writes down what became of each candidate, on disk first."""

    def __init__(
        self,
        request: TuneRequest,
        *,
        records: Records,
        found: Found,
        vector: Vector,
        budget: Budget,
        progress: ProgressCallback | None,
    ) -> None:
        self.request = request
        self.budget = budget
        self.records = records
        self.searches = {
            task.hash: TaskSearch(
                task, grid_of(task, vector, request.threads), seed=request.seed, starts=request.starts
            )
            for task in found.tasks
        }
        self.warm = warm_candidates(request.warm)
        self._tasks = found.tasks
        self._progress = progress
        self._before_s = records.elapsed_s
        self._failed: Counter[str] = Counter()
        self._tried: Counter[str] = Counter()
        self._curve: list[CurvePoint] = []
        for trial in records.trials:
            self._remember(trial)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Tasks of all variants, heaviest first within a variant."""
        return self._tasks

    def begin(self, proposal: Proposal) -> dict[str, Any]:
        """A trial begins: what a worker is asked."""
        one = self.searches[proposal.task]
        self.budget.underway += 1
        one.underway.add(key_of(proposal.candidate))
        asked: dict[str, Any] = {"do": "trial", "task": one.task.hash, "kind": one.task.kind, "best": one.best}
        asked["candidate"] = proposal.candidate
        if proposal.trace is not None:
            asked["trace"] = proposal.trace
        if proposal.cold_bytes:
            asked["cold"] = proposal.cold_bytes
        return asked

    def finish(self, proposal: Proposal, answer: Mapping[str, Any] | None, error: str) -> None:
        """A trial is spent: what the worker answered, or None and why it failed."""
        one = self.searches[proposal.task]
        seconds, record = (None, None) if answer is None else (answer["seconds"], answer["record"])
        if error:
            _log.debug("%s %s: %s", one.task.name, proposal.candidate, error)
        one.underway.discard(key_of(proposal.candidate))
        self.budget.underway -= 1
        self.budget.spent += 1
        trial = Trial(
            task=one.task.hash,
            kind=one.task.kind,
            shape=one.task.shape,
            variant=one.task.variant,
            candidate=proposal.candidate,
            space=self.request.space,
            stage=proposal.stage,
            seconds=seconds,
            cold=proposal.cold_bytes > 0,
            error=error,
            elapsed_s=self._before_s + self.budget.elapsed_s,
        )
        self.records.add_trial(trial, record)
        self._remember(trial)
        self._tried[one.task.hash] += 1
        self._failed[one.task.hash] += bool(error)
        self.tell(proposal.stage, one)

    def _remember(self, trial: Trial) -> None:
        """Take in a trial, of this call or an earlier one, if it belongs to one of this model's tasks."""
        one = self.searches.get(trial.task)
        if one is None or trial.space != self.request.space:
            return
        if not trial.cold:
            one.tell(trial.candidate, trial.seconds)
        elif trial.seconds is not None:
            key = key_of(trial.candidate)
            one.cold[key] = min(trial.seconds, one.cold.get(key, trial.seconds))

    def choice(self) -> Choice:
        """The fastest graph so far."""
        times = {hash_: one.judged for hash_, one in self.searches.items()}
        return choose(self._tasks, {hash_: time for hash_, time in times.items() if time is not None})

    def weights_bytes(self) -> int:
        """Bytes of constants that one inference of the fastest graph so far reads: Winograd has more than direct."""
        used = self.choice().used
        return sum(task.weight * task.weights_bytes for task in self._tasks if task.hash in used)

    def tell(self, stage: Stage, one: TaskSearch | None) -> None:
        """Add to the tuning curve, and call back."""
        estimated = _ms(self.choice().seconds)
        elapsed = self.budget.elapsed_s
        if estimated is not None and (not self._curve or estimated < self._curve[-1].estimated_ms):
            self._curve.append(CurvePoint(trials=self.budget.spent, elapsed_s=elapsed, estimated_ms=estimated))
        if self._progress is None:
            return
        self._progress(
            Progress(
                stage=stage,
                task="" if one is None else one.task.name,
                tasks=len(self._tasks),
                tuned=sum(search.best is not None for search in self.searches.values()),
                trials=self.budget.spent,
                failed=self._failed.total(),
                best_ms=None if one is None else _ms(one.best),
                estimated_ms=estimated,
                elapsed_s=elapsed,
            )
        )

    def result(self, *, interrupted: bool) -> TuneResult:
        """What was found."""
        choice, best = self.choice(), self.records.best()
        results = [
            TaskResult(
                task=task,
                trials=self._tried[task.hash],
                failed=self._failed[task.hash],
                hot_ms=_ms(self.searches[task.hash].best),
                cold_ms=_ms(min(self.searches[task.hash].cold.values(), default=None)),
                candidate=best[task.hash].candidate if task.hash in best else None,
                used=task.hash in choice.used,
            )
            for task in self._tasks
        ]
        return TuneResult(
            tasks=tuple(results),
            trials=self.budget.spent,
            failed=self._failed.total(),
            seconds=self.budget.elapsed_s,
            estimated_ms=_ms(choice.seconds),
            curve=tuple(self._curve),
            target=self.records.meta.target,
            interrupted=interrupted,
        )


def place_of(task: Task) -> str:
    """What variants of one convolution have in common; the task's own hash for others."""
    return f"{task.site} {task.epilogue}" if task.site else task.hash


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
