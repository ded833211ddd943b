"""MetaSchedule's own space and search. Its candidates are tried in another process, which may be killed."""

from __future__ import annotations

import importlib.util
import platform
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .contract import Task

__all__ = ["import_meta_schedule", "sample", "search"]

# Candidates between two updates of the cost model.
_BATCH = 8

_INTRINSICS = ("cuda", "rocm", "metal", "hexagon", "riscv_cpu")


def import_meta_schedule() -> Any:
    """Import MetaSchedule without the tensor intrinsics of other devices, whose parsing takes 10 to 20 seconds."""
    foreign = [*_INTRINSICS, *(["arm_cpu"] if platform.machine() in ("x86_64", "AMD64") else [])]
    for name in foreign:
        full = f"tvm.s_tir.tensor_intrin.{name}"
        sys.modules.setdefault(full, types.ModuleType(full))
    from tvm.s_tir import meta_schedule

    return meta_schedule


def sample(module: Any, target: Any, number: int) -> Any:
    """The schedule that MetaSchedule's rules for *target* give *module* when *number* seeds their random choices."""
    from tvm import s_tir

    ms = import_meta_schedule()
    context = ms.TuneContext(
        module,
        target=target,
        space_generator=ms.space_generator.PostOrderApply(),
        search_strategy="replay-trace",
        rand_state=number + 1,
        num_threads=1,
    )
    spaces = context.generate_design_space()
    trace = spaces[number % len(spaces)].trace
    loops = s_tir.Schedule(module, seed=number + 1)
    s_tir.schedule.Trace(trace.insts, {}).apply_to_schedule(loops, remove_postproc=True)
    loops.enter_postproc()
    for step in context.space_generator.postprocs or []:
        if not step.apply(loops):
            raise ValueError(f"MetaSchedule's own check {type(step).__name__} refuses candidate {number}")
    return loops


def search(
    tasks: Sequence[tuple[Task, Any]],
    target: Any,
    consult: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    write: Callable[[Any], Any],
    *,
    trials: int,
    seed: int,
) -> None:
    """Tune *tasks* by MetaSchedule's space, evolutionary search and cost model; the task with most to gain comes next.

    *write* makes JSON values of a record. Each candidate goes to *consult* as {"task": hash,
    "trace": record} and comes back as {"seconds": float | None}, or
    as {"stop": true}, which ends the search. Ends by itself after *trials*, or when no task has new candidates.
    """
    ms = import_meta_schedule()
    seeds = ms.utils.fork_seed(seed + 1, n=len(tasks))
    model = _cost_model(ms)
    database = ms.database.MemoryDatabase()
    running = [
        _Running(task, _context(ms, task, module, target, state), database.commit_workload(module))
        for (task, module), state in zip(tasks, seeds, strict=True)
    ]
    for task in running:
        task.context.pre_tuning(trials, _BATCH, None, database, model)
    done = 0
    while running and done < trials:
        task = max(running, key=lambda one: one.worth())
        candidates = list(task.context.generate_measure_candidates() or ())
        if not candidates:
            running.remove(task)
            continue
        results = []
        for candidate in candidates:
            record = ms.database.TuningRecord(candidate.sch.trace, task.workload, None, target, candidate.args_info)
            answer = consult({"task": task.task.hash, "trace": write(record)})
            if answer.get("stop"):
                return
            done += 1
            seconds = answer["seconds"]
            results.append(ms.runner.RunnerResult(None if seconds is None else [seconds], answer.get("error") or None))
            if seconds is not None:
                task.best = min(seconds, task.best or seconds)
                kept = ms.database.TuningRecord(
                    candidate.sch.trace, task.workload, [seconds], target, candidate.args_info
                )
                database.commit_tuning_record(kept)
        task.batches += 1
        task.context.notify_runner_results(candidates, results)
        model.update(task.context, candidates, results)


@dataclass
class _Running:
    """A task in the midst of its search."""

    task: Task
    context: Any
    workload: Any
    best: float | None = None
    batches: int = 0

    def worth(self) -> float:
        """Whatever has no time yet, the heaviest first; then by time in one inference, less after each batch."""
        if self.batches == 0:
            return 1e9 + self.task.weight * self.task.flops
        return self.task.weight * (self.best or 0.0) / self.batches


def _context(ms: Any, task: Task, module: Any, target: Any, state: int) -> Any:
    return ms.TuneContext(
        module,
        target=target,
        space_generator="post-order-apply",
        search_strategy=ms.search_strategy.EvolutionarySearch(population_size=128, init_min_unmeasured=24),
        task_name=task.name,
        rand_state=state,
        num_threads=1,
    ).clone()


def _cost_model(ms: Any) -> Any:
    """XGBoost where it is installed, as in TVM's own default; else random choice among the mutated candidates."""
    if importlib.util.find_spec("xgboost") is None:  # XGBModel itself finds that out only when it learns
        return ms.cost_model.RandomModel()
    return ms.cost_model.XGBModel(num_warmup_samples=64, num_tuning_cores=1)
