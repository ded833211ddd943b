"""At compile time: which records of a database serve a model, and which variant each of its convolutions gets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import lowering, pipeline
from .choice import choose
from .contract import Applied, Meta, Task
from .records import Best, Records, open_database, read_meta, refuse_other
from .targets import fits
from .tasks import Item, extract_module

__all__ = ["Tuned", "prepare_tuned", "usable_target"]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A model prepared for `records_apply.apply_records`, and the choice that made it so."""

    module: Any
    remarks: list[str]
    variants: Mapping[str, str]
    """By site, where it is not direct."""
    lines: tuple[int, ...]
    """Lines of the database's records that serve its kernels."""
    applied: Applied
    tasks: tuple[Task, ...]
    """Of all variants that were weighed: what the model's tuning is told from."""


def usable_target(folder: Path, host: Mapping[str, Any], features: frozenset[str], version: str) -> dict[str, Any]:
    """The target of the records in *folder*, if this CPU (*host* with its *features*) runs code of it.

    Its number of cores is that of *host*: a kernel tuned for one core is no good for two. Raises `UserError` for
    records of another kind of target, vector instructions that this CPU lacks, another thread count or TVM version.
    """
    meta = read_meta(folder)
    same = meta.target["kind"] == host["kind"] and meta.target["num-cores"] == host["num-cores"]
    runs = same and (dict(meta.target) == dict(host) or fits(meta.target, features))
    refuse_other(folder, meta, Meta(schema=meta.schema, tvm=version, target=meta.target if runs else host))
    return dict(meta.target)


def prepare_tuned(imported: Any, folder: Path) -> Tuned:
    """Prepare the Relax module *imported* for the records in *folder*, which `usable_target` found to be of use."""
    records = open_database(folder, read_meta(folder), create=False)
    target = dict(records.meta.target)
    best = records.best()
    items: dict[str, Item] = {}
    for variant in ("direct", "wino2", "wino4"):
        prepared, _ = _prepare(imported, target, variant)
        for item in extract_module(prepared, target):
            if variant == "direct" or item.task.kind == "winograd":
                items.setdefault(item.task.hash, item)
        if variant == "direct" and not any(one.trial.variant != "direct" for one in best.values()):
            break
    times = {hash_: float(one.trial.seconds or 0.0) for hash_, one in best.items()}
    choice = choose([item.task for item in items.values()], times)
    variants = dict(choice.variants)
    module, remarks = pipeline.prepare(imported, target, lowering.lowerings(lowering.plan_of(variants)), tunable=True)
    kernels = extract_module(module, target)
    found = [best[item.task.hash] for item in kernels if item.task.hash in best]
    return Tuned(
        module=module,
        remarks=remarks,
        variants=variants,
        lines=tuple(one.line for one in found),
        applied=_applied(kernels, best, records),
        tasks=tuple(item.task for item in items.values()),
    )


def _prepare(imported: Any, target: dict[str, Any], variant: str) -> tuple[Any, list[str]]:
    return pipeline.prepare(imported, target, lowering.lowerings(lambda _site: variant), tunable=True)


def _applied(kernels: list[Item], best: Mapping[str, Best], records: Records) -> Applied:
    tasks = [item.task for item in kernels]
    tuned = [task for task in tasks if task.hash in best]
    flops = sum(task.weight * task.flops for task in tasks)
    convolutions = Counter[str]()
    for task in tasks:
        if task.site:
            convolutions[task.variant] += task.weight
    digest = hashlib.sha256()
    lines = sorted(best[task.hash].line for task in tuned)
    for _, text in sorted(records.record_texts(lines).items()):
        digest.update(text.encode())
    return Applied(
        tasks=len(tasks),
        tuned=len(tuned),
        flops_share=sum(task.weight * task.flops for task in tuned) / flops if flops else 1.0,
        untuned=tuple(task.name for task in tasks if task.hash not in best),
        variants=dict(convolutions),
        spaces=dict(Counter(best[task.hash].trial.space for task in tuned)),
        target_id=records.meta.target_id,
        digest=digest.hexdigest(),
    )
