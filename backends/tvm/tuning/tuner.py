"""Tunes a model: stages of trials in a worker process, every one of which is on disk before the next begins."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from ....models.errors import UserError
from .budget import Budget, Purse
from .choice import Choice, choose
from .contract import (
    CurvePoint,
    Meta,
    Progress,
    ProgressCallback,
    Stage,
    Task,
    TaskResult,
    Trial,
    TuneRequest,
    TuneResult,
)
from .grids import grid_of
from .process import CandidateError, Worker
from .records import SCHEMA, Records, open_database
from .search import TaskSearch, key_of
from .tiles import Candidate, Vector
from .warm import warm_candidates

__all__ = ["tune"]

_log = logging.getLogger(__name__)

_EXTRACT_S = 600.0
# A search of MetaSchedule itself may think this long between two candidates.
_THINK_S = 600.0

# First guesses for each task by kind; tasks of a model share about this many.
_GUESSES = {"conv": 6, "depthwise": 6, "winograd": 4, "dense": 5, "pool": 4, "reduce": 4, "elementwise": 6, "other": 6}
_COVER_TRIALS = 260
_LEAST_GUESSES = 3

# Trials of a task before another may come, and candidates of a task that are timed cold.
_CHUNK = 6
_COLD = 2
_COLD_KINDS = ("conv", "winograd", "dense")
# Variants that are slower than this multiple of the best of their site are not timed cold.
_FAR = 1.5


def tune(request: TuneRequest, progress: ProgressCallback | None = None) -> TuneResult:
    """Tune the model of *request* into its database, telling *progress* after each trial. See `contract`.

    Raises `UserError` (no budget; a database of another target, TVM version or schema), `UnsupportedError` and
    `StageError` (a model that TVM cannot import). Ctrl-C ends it with what was found.
    """
    if request.seconds is None and request.trials is None and request.space == "stock":
        raise UserError("tuning the stock space has no end: give a budget of seconds or of trials")
    if (request.seconds is not None and request.seconds <= 0) or (request.trials is not None and request.trials <= 0):
        raise UserError("no tuning budget: give more than 0 seconds or trials")
    budget = Budget(request.seconds, request.trials)
    folder = request.database.absolute()
    opening = {"threads": request.threads, "target": request.target, "database": str(folder)}
    with Worker(opening) as worker:
        facts = worker.open()
        meta = Meta(schema=SCHEMA, tvm=facts["tvm"], target=facts["target"])
        records = open_database(folder, meta, create=True)
        variants = [] if request.space == "stock" else ["wino2", "wino4"]
        try:
            found = worker.ask({"do": "extract", "model": str(request.model), "variants": variants}, _EXTRACT_S)
        except CandidateError as error:
            from ....models.errors import StageError

            raise StageError(f"TVM cannot take this model apart: {error}", blame="compiler", stage="tune") from error
        tasks = [Task(**task) for task in found["tasks"]]
        records.add_workloads(found["workloads"])
        vector = Vector(lanes=facts["lanes"], registers=facts["registers"])
        run = _Run(request, worker, records, tasks, vector, found["weights_bytes"], budget, progress)
        interrupted = False
        try:
            run.all_stages()
        except KeyboardInterrupt:
            interrupted = True
        return run.result(interrupted)


class _Run:
    """One call of `tune`: its tasks, what was tried, and how far it has come."""

    def __init__(
        self,
        request: TuneRequest,
        worker: Worker,
        records: Records,
        tasks: Sequence[Task],
        vector: Vector,
        weights_bytes: int,
        budget: Budget,
        progress: ProgressCallback | None,
    ) -> None:
        self._request = request
        self._worker = worker
        self._records = records
        self._tasks = tasks
        self._weights_bytes = weights_bytes
        self._budget = budget
        self._progress = progress
        self._searches = {
            task.hash: TaskSearch(
                task, grid_of(task, vector, request.threads), seed=request.seed, starts=request.starts
            )
            for task in tasks
        }
        self._before_s = records.elapsed_s
        self._failed: dict[str, int] = {}
        self._tried: dict[str, int] = {}
        self._curve: list[CurvePoint] = []
        self._warm = warm_candidates(request.warm, records.meta)
        for trial in records.trials:
            self._remember(trial)

    def all_stages(self) -> None:
        """Spend the budget."""
        self._tell("extract", None)
        if self._request.space == "stock":
            self._stock()
        else:
            self._cover()
            self._refine()
            self._rest()
            self._cold()
        self._tell("done", None)

    def result(self, interrupted: bool) -> TuneResult:
        """What was found."""
        choice = self._choice()
        best = self._records.best()
        results = []
        for task in self._tasks:
            one = self._searches[task.hash]
            results.append(
                TaskResult(
                    task=task,
                    trials=self._tried.get(task.hash, 0),
                    failed=self._failed.get(task.hash, 0),
                    hot_ms=_ms(one.best),
                    cold_ms=_ms(min(one.cold.values(), default=None)),
                    candidate=best[task.hash].trial.candidate if task.hash in best else None,
                    used=task.hash in choice.used,
                )
            )
        return TuneResult(
            tasks=tuple(results),
            trials=self._budget.spent,
            failed=sum(self._failed.values()),
            seconds=self._budget.elapsed_s,
            estimated_ms=_ms(choice.seconds),
            curve=tuple(self._curve),
            target=self._records.meta.target,
            interrupted=interrupted,
        )

    def _cover(self) -> None:
        """A few guesses for every task; all tasks get their first before any gets its second."""
        wanted = sum(_GUESSES[task.kind] for task in self._tasks)
        share = min(1.0, _COVER_TRIALS / max(1, wanted))
        for number in range(1, max(_GUESSES.values()) + 1):
            for one in self._searches.values():
                count = max(_LEAST_GUESSES, round(_GUESSES[one.task.kind] * share))
                if number > count or not self._budget.left():
                    continue
                candidate = one.first(number, self._like(one))
                if candidate is not None:
                    self._try(one, candidate, "cover")

    def _like(self, one: TaskSearch) -> list[Candidate]:
        """The best candidates of tasks that differ in their epilogue only, and those of other databases."""
        kin = [
            other.ranked()[0]
            for other in self._searches.values()
            if other is not one
            and other.task.kind == one.task.kind
            and other.task.shape == one.task.shape
            and other.ranked()
        ]
        return [*kin[:1], *self._warm.get((one.task.kind, key_of(one.task.shape)), ())]

    def _refine(self) -> None:
        """Steps from the best candidates, where they promise the most."""
        open_ = [one for one in self._searches.values() if one.best is not None and one.task.kind != "other"]
        purse = Purse(open_)
        while open_ and self._budget.left(keep_trials=self._cold_trials()):
            one = purse.next(open_)
            before = one.best
            for _ in range(_CHUNK):
                candidate = one.refine()
                if candidate is None:
                    open_.remove(one)
                    break
                if not self._budget.left(keep_trials=self._cold_trials()):
                    return
                self._try(one, candidate, "refine")
            purse.report(one, before)

    def _rest(self) -> None:
        """Random candidates with what is left, where there is a budget to end them."""
        if self._request.seconds is None and self._request.trials is None:
            return
        open_ = [one for one in self._searches.values() if one.best is not None]
        purse = Purse(open_)
        while open_ and self._budget.left(keep_trials=self._cold_trials()):
            one = purse.next(open_)
            before, candidate = one.best, one.draw()
            if candidate is None:
                open_.remove(one)
                continue
            self._try(one, candidate, "rest")
            purse.report(one, before)

    def _cold_trials(self) -> int:
        return len(list(self._cold_candidates()))

    def _cold(self) -> None:
        """Time the best candidates again with weights as cold as they are within the model."""
        for one, candidate in list(self._cold_candidates()):
            if self._budget.left():
                self._try(one, candidate, "cold")

    def _cold_candidates(self) -> Iterator[tuple[TaskSearch, Candidate]]:
        fastest: dict[str, float] = {}
        for one in self._searches.values():
            if one.best is not None:
                key = _place(one.task)
                fastest[key] = min(one.best, fastest.get(key, one.best))
        chosen = [
            one
            for one in self._searches.values()
            if one.task.kind in _COLD_KINDS and one.best is not None and one.best <= _FAR * fastest[_place(one.task)]
        ]
        # Rivals of one site follow each other, the heaviest sites first: a comparison that the budget cuts off is none.
        cost = {one.task.hash: one.task.weight * fastest[_place(one.task)] for one in chosen}
        chosen.sort(key=lambda one: (-cost[one.task.hash], _place(one.task), one.task.variant))
        for number in range(_COLD):
            for one in chosen:
                ranked = one.ranked()
                if number < len(ranked) and key_of(ranked[number]) not in one.cold:
                    yield one, ranked[number]

    def _stock(self) -> None:
        """MetaSchedule's own search, in a second process, asks for trials in the worker."""
        request = {
            "do": "stock",
            "tasks": [{**vars(task), "shape": dict(task.shape)} for task in self._tasks],
            "trials": self._request.trials or 1_000_000,
            "seed": self._request.seed,
        }
        opening = {"threads": 1, "target": self._records.meta.target, "database": str(self._records.folder)}
        with Worker({**opening, "threads": self._request.threads}) as thinker:
            for number, (message, answer) in enumerate(thinker.converse(request, _THINK_S)):
                if not self._budget.left():
                    return
                one = self._searches[message["task"]]
                candidate = {"trace": len(self._records.trials) + number}
                seconds, error = self._try(one, candidate, "refine", trace=message["trace"])
                answer({"seconds": seconds, "error": error})

    def _try(self, one: TaskSearch, candidate: Candidate, stage: Stage, trace: Any = None) -> tuple[float | None, str]:
        cold = stage == "cold"
        request: dict[str, Any] = {
            "do": "trial",
            "task": one.task.hash,
            "kind": one.task.kind,
            "candidate": candidate,
            "best": one.best,
        }
        if trace is not None:
            request["trace"] = trace
        if cold:
            request["cold"] = self._weights_bytes
        seconds, record, error = None, None, ""
        try:
            answer = self._worker.ask(request, self._request.trial_timeout_s)
            seconds, record = answer["seconds"], answer["record"]
        except CandidateError as failure:
            error = str(failure)
        self._budget.spent += 1
        trial = Trial(
            task=one.task.hash,
            kind=one.task.kind,
            shape=one.task.shape,
            variant=one.task.variant,
            candidate=candidate,
            space=self._request.space,
            stage=stage,
            seconds=seconds,
            cold=cold,
            error=error,
            elapsed_s=self._before_s + self._budget.elapsed_s,
        )
        self._records.add_trial(trial, record)
        self._remember(trial)
        self._tried[one.task.hash] = self._tried.get(one.task.hash, 0) + 1
        if error:
            self._failed[one.task.hash] = self._failed.get(one.task.hash, 0) + 1
            _log.debug("%s %s: %s", one.task.name, candidate, error)
        self._tell(stage, one)
        return seconds, error

    def _remember(self, trial: Trial) -> None:
        """Take in a trial, of this call or an earlier one, if it belongs to one of this model's tasks."""
        one = self._searches.get(trial.task)
        if one is None:
            return
        if trial.cold and trial.seconds is not None:
            key = key_of(trial.candidate)
            one.cold[key] = min(trial.seconds, one.cold.get(key, trial.seconds))
        elif trial.space == self._request.space:
            one.tell(trial.candidate, trial.seconds)

    def _choice(self) -> Choice:
        times = {hash_: one.judged for hash_, one in self._searches.items()}
        return choose(self._tasks, {hash_: time for hash_, time in times.items() if time is not None})

    def _tell(self, stage: Stage, one: TaskSearch | None) -> None:
        estimated = _ms(self._choice().seconds)
        elapsed = self._budget.elapsed_s
        if estimated is not None and (not self._curve or estimated < self._curve[-1].estimated_ms):
            point = CurvePoint(trials=self._budget.spent, elapsed_s=elapsed, estimated_ms=estimated)
            self._curve.append(point)
        if self._progress is None:
            return
        self._progress(
            Progress(
                stage=stage,
                task="" if one is None else one.task.name,
                tasks=len(self._tasks),
                tuned=sum(search.best is not None for search in self._searches.values()),
                trials=self._budget.spent,
                failed=sum(self._failed.values()),
                best_ms=None if one is None else _ms(one.best),
                estimated_ms=estimated,
                elapsed_s=elapsed,
            )
        )


def _place(task: Task) -> str:
    """What variants of one convolution have in common."""
    return f"{task.site} {task.epilogue}" if task.site else task.hash


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
