"""At compile time: a model lowered as its records want it, and what is told of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import lowering, pipeline
from .contract import Applied, Task
from .serving import Gathered, Serving
from .tasks import extract_module

__all__ = ["Tuned", "prepare_tuned"]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A model prepared for `records_apply.apply_records`, and the choice that made it so."""

    module: Any
    remarks: list[str]
    lines: tuple[int, ...]
    """Which of the gathered records serve its kernels."""
    applied: Applied


def prepare_tuned(imported: Any, gathered: Gathered) -> Tuned:
    """Prepare the Relax module *imported* for the records in *gathered*."""
    target = dict(gathered.meta.target)
    plan = lowering.plan_of(gathered.variants)
    module, remarks = pipeline.prepare(imported, target, lowering.lowerings(plan), tunable=True)
    tasks = [item.task for item in extract_module(module, target)]
    lines = {one.trial.task: line for line, one in enumerate(gathered.servings)}
    found = {task.hash: gathered.servings[lines[task.hash]] for task in tasks if task.hash in lines}
    return Tuned(
        module=module,
        remarks=remarks,
        lines=tuple(lines[hash_] for hash_ in found),
        applied=_applied(tasks, found, gathered.meta.target_id),
    )


def _applied(tasks: list[Task], found: Mapping[str, Serving], target_id: str) -> Applied:
    tuned = [task for task in tasks if task.hash in found]
    flops = sum(task.weight * task.flops for task in tasks)
    convolutions = Counter[str]()
    for task in tasks:
        if task.site:
            convolutions[task.variant] += task.weight
    texts = sorted(f"{hash_} {one.record}" for hash_, one in found.items())
    return Applied(
        tasks=len(tasks),
        tuned=len(tuned),
        flops_share=sum(task.weight * task.flops for task in tuned) / flops if flops else 1.0,
        untuned=tuple(task.name for task in tasks if task.hash not in found),
        variants=dict(convolutions),
        spaces=dict(Counter(found[task.hash].trial.space for task in tuned)),
        target_id=target_id,
        digest=hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    )
