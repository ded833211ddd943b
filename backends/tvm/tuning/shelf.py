"""Which tuning records serve a compilation here: the user's own, imported ones, and those that ship with bakeoff.

Databases lie in the artifact cache, one for each target (whose num-cores are the threads) and version of TVM, shared
by all models: a kernel that two models have in common is tuned once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from ....models.errors import UserError
from .contract import Meta, Trial
from .pack import Pack, rank, read_folder, read_pack, write_folder

__all__ = ["Gathered", "Serving", "Source", "database_folder", "databases", "find_sources", "gather", "shipped"]

_FOLDER = "tvm-tuning"
_META = "meta.json"


def database_folder(cache: Path, meta: Meta) -> Path:
    """Where the user's own records for *meta* lie below *cache*; the folder may not exist yet."""
    return cache / _FOLDER / f"{meta.target_id}-tvm{meta.tvm}"


def databases(cache: Path) -> list[Path]:
    """All databases below *cache*, by name."""
    place = cache / _FOLDER
    return sorted(path.parent for path in place.glob(f"*/{_META}")) if place.is_dir() else []


def shipped() -> list[Path]:
    """The packs that come with bakeoff."""
    place = Path(str(files("bakeoff.backends.tvm"))) / "records"
    return sorted([*place.glob("*.json"), *place.glob("*.json.gz")])


@dataclass(frozen=True, kw_only=True)
class Source:
    """Records from one place."""

    name: str
    """ "own", "imported", "shipped", or the path that a user named."""
    pack: Pack

    @property
    def title(self) -> str:
        """The name with the target: "shipped (llvm-x86-64-v3-1)"."""
        return f"{self.name} ({self.pack.meta.target_id})"


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The record that serves one kernel."""

    source: Source
    trial: Trial
    record: Any


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """For each workload the record that serves it on this machine."""

    meta: Meta
    """What they are compiled for."""
    servings: tuple[Serving, ...]

    @property
    def digest(self) -> str:
        """sha256 of all these records and of the times by which variants are chosen, "" for none."""
        rows = [[one.trial.task, one.record, one.trial.seconds, one.trial.cold] for one in self.servings]
        texts = sorted(json.dumps(row, sort_keys=True) for row in rows)
        return hashlib.sha256("\n".join(texts).encode()).hexdigest() if texts else ""

    def write(self, folder: Path) -> None:
        """Write them as a database into the new *folder*; line n of its records is the nth of `servings`."""
        workloads = {one.trial.task: one.source.pack.workloads[one.trial.task] for one in self.servings}
        trials = tuple(one.trial for one in self.servings)
        records = tuple(one.record for one in self.servings)
        write_folder(Pack(meta=self.meta, workloads=workloads, trials=trials, records=records), folder)


def find_sources(named: str, meta: Meta, cache: Path, features: frozenset[str]) -> list[Source]:
    """Records for *meta* on a CPU with *features*, the user's own first, then imported, then shipped ones.

    *named*: "" for all that fit, "none", or the path of a database or of an exported file. Imports tvm. Raises
    `UserError` for a path whose records do not fit here; elsewhere what does not fit is left out.
    """
    if named == "none":
        return []
    if named:
        path = Path(named).expanduser()
        pack = read_folder(path) if path.is_dir() else read_pack(path)
        _refuse_unfit(path, pack.meta, meta, features)
        return [Source(name=named, pack=pack)]
    own = database_folder(cache, meta)
    found = [Source(name="own", pack=read_folder(own))] if (own / _META).is_file() else []
    for folder in databases(cache):
        if folder != own:
            found += _fitting("imported", read_folder(folder), meta, features)
    for file in shipped():
        found += _fitting("shipped", read_pack(file), meta, features)
    return found


def _fitting(name: str, pack: Pack, meta: Meta, features: frozenset[str]) -> list[Source]:
    from .targets import fits

    same = pack.meta.tvm == meta.tvm and pack.meta.target["num-cores"] == meta.target["num-cores"]
    return [Source(name=name, pack=pack)] if same and fits(pack.meta.target, features) else []


def _refuse_unfit(path: Path, found: Meta, wanted: Meta, features: frozenset[str]) -> None:
    from .targets import fits

    if found.tvm != wanted.tvm:
        raise UserError(
            f"{path}: was tuned with TVM {found.tvm}, this is {wanted.tvm}; tune anew or give other records"
        )
    if found.target["num-cores"] != wanted.target["num-cores"]:
        raise UserError(
            f"{path}: was tuned for {found.target['num-cores']} threads, not for {wanted.target['num-cores']}; "
            "give other records"
        )
    if not fits(found.target, features):
        raise UserError(
            f"{path}: was tuned for {found.target_id}, whose instructions this CPU lacks; give other records"
        )


def gather(sources: Sequence[Source], meta: Meta, space: str = "") -> Gathered:
    """The best record of each workload, of *space* only unless it is "".

    They are compiled for the target that they were tuned for; where they come from several, for *meta*'s.

    Times of one machine tell nothing of another: of several sources for one workload the first wins, unless a later
    one was tuned for the very same target and is faster.
    """
    chosen: dict[str, Serving] = {}
    for source in sources:
        best: dict[str, Serving] = {}
        for trial, record in zip(source.pack.trials, source.pack.records, strict=True):
            if record is None or trial.seconds is None or (space and trial.space != space):
                continue
            now = best.get(trial.task)
            if now is None or rank(trial) < rank(now.trial):
                best[trial.task] = Serving(source=source, trial=trial, record=record)
        for hash_, one in best.items():
            if hash_ not in chosen or _beats(one, chosen[hash_]):
                chosen[hash_] = one
    targets = {json.dumps(dict(one.source.pack.meta.target), sort_keys=True) for one in chosen.values()}
    if len(targets) == 1:
        meta = replace(meta, target=json.loads(targets.pop()))
    return Gathered(meta=meta, servings=tuple(chosen[hash_] for hash_ in sorted(chosen)))


def _beats(one: Serving, other: Serving) -> bool:
    same = dict(one.source.pack.meta.target) == dict(other.source.pack.meta.target)
    return same and one.trial.cold == other.trial.cold and rank(one.trial) < rank(other.trial)
