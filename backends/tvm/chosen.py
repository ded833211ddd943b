"""Which records a compilation takes, and what is told of them afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.cache import default_cache, publish
from ...models.errors import UnsupportedError, UserError
from ..base import Tuning
from ..host import host_features
from . import pipeline
from .tuning.contract import Meta, Task
from .tuning.history import history
from .tuning.records import SCHEMA
from .tuning.serving import Gathered, gather, variants_in
from .tuning.shelf import find_sources
from .tuning.use import Tuned

__all__ = ["Chosen", "FindKernels", "choose_records", "read_tuning", "tuning_of"]

FindKernels = Callable[[Path, Collection[str], Path], tuple[Task, ...]]
"""`kernels.find_kernels`, or `kernels.ask_kernels`, which does the same in a process of its own."""

_KIND = "tvm-records"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The records for one model on one target and thread count, as a database that stays in the artifact cache."""

    folder: Path
    """Line n of its records is the nth of `gathered.servings`."""
    gathered: Gathered

    @property
    def target(self) -> dict[str, Any]:
        """What they are compiled for."""
        return dict(self.gathered.meta.target)


def choose_records(options: Mapping[str, str], threads: int, model: Path, find: FindKernels) -> Chosen | None:
    """The records for *model* that the options `records` and `space` ask for; None where there are none. Imports tvm.

    Raises `UnsupportedError` for records that were named and do not fit (of another target, thread count or version),
    and what *find* raises.
    """
    tvm = pipeline.import_tvm(threads)
    features = host_features()
    host = {**pipeline.host_target(features), "num-cores": threads}
    meta = Meta(schema=SCHEMA, tvm=str(tvm.__version__), target=host)
    cache = default_cache()
    try:
        sources = find_sources(options["records"], meta, cache, features)
    except UserError as error:
        raise UnsupportedError(str(error), blame="compiler", stage="compile") from error
    if not sources:
        return None
    space = options["space"]
    gathered = gather(sources, find(model, variants_in(sources, space), cache), meta, space)
    if not gathered.servings:
        return None
    folder = publish(cache, _KIND, gathered.digest, lambda made: gathered.write(made / "records"))
    return Chosen(folder=folder / "records", gathered=gathered)


def tuning_of(chosen: Chosen, tuned: Tuned) -> Tuning:
    """What is told of a compilation that took *chosen*: the share that is tuned, what it cost and how it went."""
    gathered = chosen.gathered
    servings = [gathered.servings[line] for line in tuned.lines]
    served = Counter(id(one.source) for one in servings)
    packs = {id(one.source): one.source.pack for one in servings}
    histories = {name: history(gathered.tasks, pack.trials, gathered.space) for name, pack in packs.items()}
    main = max(served, key=lambda name: served[name], default=None)
    applied = tuned.applied
    return Tuning(
        tasks=applied.tasks,
        tuned=applied.tuned,
        flops_share=applied.flops_share,
        untuned=applied.untuned,
        spaces=dict(applied.spaces),
        variants=dict(applied.variants),
        sources=dict(Counter(one.source.title for one in servings)),
        digest=applied.digest,
        trials=sum(one.trials for one in histories.values()),
        failed=sum(one.failed for one in histories.values()),
        seconds=sum(one.seconds for one in histories.values()),
        curve=()
        if main is None
        else tuple((point.trials, point.elapsed_s, point.estimated_ms) for point in histories[main].curve),
    )


def read_tuning(data: Mapping[str, Any] | None) -> Tuning | None:
    """The `Tuning` that was written as a dict into an artifact."""
    if data is None:
        return None
    curve = tuple((int(trials), float(seconds), float(ms)) for trials, seconds, ms in data["curve"])
    return Tuning(**{**data, "untuned": tuple(data["untuned"]), "curve": curve})
