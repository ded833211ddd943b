"""Which records serve one model on this machine, and how each of its convolutions is computed then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .choice import choose
from .contract import Meta, Task, Trial, Variant
from .pack import Pack, write_folder
from .records import rank
from .shelf import Source

__all__ = ["Gathered", "Serving", "gather", "variants_in"]


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The record that serves one kernel."""

    source: Source
    trial: Trial
    record: str
    """JSON of MetaSchedule's record."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """For each kernel of a model the record that serves it."""

    meta: Meta
    """What they are compiled for."""
    servings: tuple[Serving, ...]
    variants: Mapping[str, Variant]
    """By a convolution's site, where it is not direct."""
    tasks: tuple[Task, ...]
    """The model's kernels in all variants that were weighed."""
    space: str = ""
    trials: int = 0
    """Trials of these kernels in all sources that serve: what tuning cost is told with its result."""

    @property
    def spread(self) -> bool:
        """Whether some of them were tuned for another number of threads, which is one."""
        wanted = self.meta.target["num-cores"]
        return any(one.source.pack.meta.target["num-cores"] != wanted for one in self.servings)

    @property
    def digest(self) -> str:
        """sha256 of all these records and of what they are compiled for, "" for none."""
        rows = sorted([one.trial.task, one.record] for one in self.servings)
        facts = [dict(self.meta.target), dict(self.variants), rows]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest() if rows else ""

    def write(self, folder: Path) -> None:
        """Write them as a database into the new *folder*; line n of its records is the nth of `servings`."""
        workloads = {one.trial.task: one.source.pack.workloads[one.trial.task] for one in self.servings}
        trials = tuple(one.trial for one in self.servings)
        records = tuple(one.record for one in self.servings)
        write_folder(Pack(meta=self.meta, workloads=workloads, trials=trials, records=records), folder)


def variants_in(sources: Iterable[Source], space: str = "") -> set[str]:
    """Variants of convolutions, besides the direct one, that were ever tried: failed trials are part of the cost."""
    tried: set[str] = {
        trial.variant for source in sources for trial in source.pack.trials if space in ("", trial.space)
    }
    return tried - {"direct"}


@dataclass
class _Group:
    """Sources of one target: their times can be compared."""

    target: Mapping[str, Any]
    best: dict[str, Serving] = field(default_factory=dict)

    def take(self, source: Source, hashes: set[str], space: str) -> None:
        """Add the best of *source*; where an earlier source has a record too, the faster one stays."""
        best: dict[str, Serving] = {}
        for trial, record in zip(source.pack.trials, source.pack.records, strict=True):
            if record is None or trial.seconds is None or trial.task not in hashes or space not in ("", trial.space):
                continue
            now = best.get(trial.task)
            if now is None or rank(trial) < rank(now.trial):
                best[trial.task] = Serving(source=source, trial=trial, record=record)
        for hash_, one in best.items():
            now = self.best.get(hash_)
            if now is None or (one.trial.cold == now.trial.cold and rank(one.trial) < rank(now.trial)):
                self.best[hash_] = one

    def cover(self, tasks: Sequence[Task]) -> tuple[list[Serving], Mapping[str, Variant]] | None:
        """Records for all kernels of one place, in the variant that is fastest there; None where one is missing."""
        times = {task.hash: self.best[task.hash].trial.seconds or 0.0 for task in tasks if task.hash in self.best}
        choice = choose(tasks, times)
        if choice.seconds is None:
            return None
        return [self.best[hash_] for hash_ in sorted(choice.used)], choice.variants


def gather(sources: Sequence[Source], tasks: Sequence[Task], meta: Meta, space: str = "") -> Gathered:
    """The records of *sources*, the best source first, that serve the model with *tasks*; of *space* unless it is "".

    Each place (a convolution's site with all its variants, or another kernel) is served by the first target whose
    records cover it: times of one CPU tell nothing of another, so variants are compared within one target only. What
    no target covers wholly is served kernel by kernel, directly.

    Everything is compiled for one target, that of the first source that serves anything: sources come in the order of
    their vectors' width, and narrow tiles run as they are with wide registers about, while wide ones would spill. The
    threads stay those of *meta*.
    """
    groups = _groups(sources, {task.hash for task in tasks}, space)
    chosen: dict[str, Serving] = {}
    variants: dict[str, Variant] = {}
    for place in _places(tasks):
        covered = next((found for group in groups if (found := group.cover(place)) is not None), None)
        servings, ways = covered if covered is not None else (_piecemeal(groups, place), {})
        chosen |= {one.trial.task: one for one in servings}
        variants |= ways
    used = [group for group in groups if any(one.source.pack.meta.target == group.target for one in chosen.values())]
    if used:
        meta = replace(meta, target={**used[0].target, "num-cores": meta.target["num-cores"]})
    return Gathered(
        meta=meta,
        servings=tuple(chosen[hash_] for hash_ in sorted(chosen)),
        variants=variants,
        tasks=tuple(tasks),
        space=space,
        trials=_trials({id(one.source): one.source for one in chosen.values()}.values(), tasks),
    )


def _groups(sources: Sequence[Source], hashes: set[str], space: str) -> list[_Group]:
    groups: list[_Group] = []
    for source in sources:
        target = source.pack.meta.target
        group = next((known for known in groups if known.target == target), None)
        if group is None:
            group = _Group(target)
            groups.append(group)
        group.take(source, hashes, space)
    return groups


def _places(tasks: Sequence[Task]) -> list[list[Task]]:
    places: dict[str, list[Task]] = {}
    for task in tasks:
        places.setdefault(task.site or task.hash, []).append(task)
    return list(places.values())


def _piecemeal(groups: Sequence[_Group], place: Sequence[Task]) -> list[Serving]:
    """For each direct kernel the first record there is."""
    found = []
    for task in place:
        one = next((group.best[task.hash] for group in groups if task.hash in group.best), None)
        if one is not None and task.variant == "direct":
            found.append(one)
    return found


def _trials(sources: Iterable[Source], tasks: Sequence[Task]) -> int:
    hashes = {task.hash for task in tasks}
    return sum(trial.task in hashes for source in sources for trial in source.pack.trials)
