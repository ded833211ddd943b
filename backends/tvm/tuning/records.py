"""A tuning database on disk, in plain Python: opened, appended to, merged. See `contract` for its files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ....models.errors import UserError
from .contract import Meta, Trial

__all__ = ["SCHEMA", "Records", "merge", "open_database", "rank", "read_meta"]

SCHEMA = 1
"""Version of the folder's layout and of `trials.jsonl`."""

_META = "meta.json"
_WORKLOADS = "database_workload.json"
_RECORDS = "database_tuning_record.json"
_TRIALS = "trials.jsonl"


@dataclass
class Records:
    """An open database. Everything is appended at once, so that a kill loses nothing that was finished."""

    folder: Path
    meta: Meta
    workloads: dict[str, int] = field(default_factory=dict)
    """Line of each workload by its hash."""
    trials: list[Trial] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    """For each trial the line of its record, None where it failed."""
    _count: int = 0

    def add_workloads(self, workloads: Sequence[Sequence[str]]) -> None:
        """Append those of *workloads* ([hash, base64 of the module]) that are missing."""
        for hash_, module in workloads:
            if hash_ not in self.workloads:
                _append(self.folder / _WORKLOADS, [hash_, module])
                self.workloads[hash_] = len(self.workloads)

    def add_trial(self, trial: Trial, record: Any) -> None:
        """Append *trial* with its MetaSchedule *record* ([trace, seconds, target, arguments]), None where it failed."""
        line = None
        if record is not None:
            line = self._count
            _append(self.folder / _RECORDS, [self.workloads[trial.task], record])
            self._count += 1
        _append(self.folder / _TRIALS, {**asdict(trial), "line": line})
        self.trials.append(trial)
        self.lines.append(line)

    @property
    def elapsed_s(self) -> float:
        """Seconds of tuning that this database has cost so far."""
        return max((trial.elapsed_s for trial in self.trials), default=0.0)

    def best(self) -> dict[str, Trial]:
        """The best trial of each workload by its hash: timed with cold weights where any was, else the fastest."""
        chosen: dict[str, Trial] = {}
        for trial, line in zip(self.trials, self.lines, strict=True):
            if trial.seconds is None or line is None:
                continue
            now = chosen.get(trial.task)
            if now is None or rank(trial) < rank(now):
                chosen[trial.task] = trial
        return chosen

    def record_texts(self, lines: Sequence[int]) -> dict[int, str]:
        """The records at *lines*, as JSON text of [workload, record]."""
        wanted = set(lines)
        if not wanted:
            return {}
        with (self.folder / _RECORDS).open(encoding="utf-8") as file:
            return {number: text for number, text in enumerate(file) if number in wanted}

    def workload_texts(self) -> list[str]:
        """All workloads, as JSON text of [hash, base64]."""
        path = self.folder / _WORKLOADS
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def rank(trial: Trial) -> tuple[bool, float]:
    """The smaller, the better: times taken with cold weights stand before hot ones."""
    return not trial.cold, trial.seconds if trial.seconds is not None else float("inf")


def read_meta(folder: Path) -> Meta:
    """What the records in *folder* hold for; raises `UserError` where it is no tuning database of this version."""
    path = folder / _META
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        meta = Meta(schema=data["schema"], tvm=data["tvm"], target=data["target"])
    except FileNotFoundError:
        raise UserError(f"{folder}: is no tuning database (it has no {_META}); give the folder of one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read ({type(error).__name__}); delete this database and tune anew"
        ) from error
    if meta.schema != SCHEMA:
        raise UserError(
            f"{folder}: has schema {meta.schema}, this bakeoff reads {SCHEMA}; tune anew into another folder"
        )
    return meta


def open_database(folder: Path, meta: Meta, *, create: bool) -> Records:
    """The database in *folder*; raises `UserError` for one of another target, TVM version or schema, and for none.

    *create* makes one where the folder is missing or empty. Last lines that a kill cut off are removed.
    """
    if create and not (folder / _META).exists():
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder}: holds other files and no tuning database; give an empty or a new folder")
        text = json.dumps({"schema": meta.schema, "tvm": meta.tvm, "target": dict(meta.target)}, indent=1)
        partial = folder / f"{_META}.partial"
        partial.write_text(text + "\n", encoding="utf-8")
        os.replace(partial, folder / _META)
    found = read_meta(folder)
    _refuse_other(folder, found, meta)
    return _read(folder, found)


def _refuse_other(folder: Path, found: Meta, wanted: Meta) -> None:
    """Raise `UserError` where a database holds for another target or TVM version than is *wanted*."""
    if found.tvm != wanted.tvm:
        raise UserError(
            f"{folder}: was tuned with TVM {found.tvm}, this is {wanted.tvm}; tune anew into another folder"
        )
    if dict(found.target) != dict(wanted.target):
        raise UserError(
            f"{folder}: was tuned for {_describe(found.target)}, not for {_describe(wanted.target)}; "
            "give another database, or name that target"
        )


def _describe(target: Mapping[str, Any]) -> str:
    features = " ".join(target.get("mattr", ()))
    threads = target["num-cores"]
    return f"{target['kind']} {target.get('mcpu', 'generic')} {features}".strip() + f" with {threads} thread(s)"


def _read(folder: Path, meta: Meta) -> Records:
    records = Records(folder=folder, meta=meta)
    for line in _whole_lines(folder / _WORKLOADS):
        records.workloads[line[2 : line.index('"', 2)]] = len(records.workloads)
    records._count = sum(1 for _ in _whole_lines(folder / _RECORDS))
    for line in _whole_lines(folder / _TRIALS):
        data = json.loads(line)
        number = data.pop("line")
        records.trials.append(Trial(**data))
        records.lines.append(number)
    return records


def _whole_lines(path: Path) -> Iterator[str]:
    """Lines of *path*; what follows the last line's end was cut off by a kill and is removed from the file."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        for raw in iter(file.readline, b""):
            if not raw.endswith(b"\n"):
                file.seek(-len(raw), os.SEEK_CUR)
                file.truncate()
                return
            yield raw.decode("utf-8").rstrip("\n")


def _append(path: Path, value: Any) -> None:
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(value, separators=(",", ":")) + "\n").encode("utf-8"))


def merge(sources: Sequence[Path], destination: Path) -> int:
    """Copy what *destination* (created if missing) lacks of *sources*; return how many trials that was.

    Raises `UserError` where they hold for different targets or TVM versions.
    """
    meta = read_meta(sources[0])
    target = open_database(destination, meta, create=True)
    known = {_key(trial) for trial in target.trials}
    added = 0
    for folder in sources:
        source = open_database(folder, meta, create=False)
        target.add_workloads([json.loads(text) for text in source.workload_texts()])
        pairs = [pair for pair in zip(source.trials, source.lines, strict=True) if _key(pair[0]) not in known]
        texts = source.record_texts([line for _, line in pairs if line is not None])
        for trial, line in pairs:
            target.add_trial(trial, None if line is None else json.loads(texts[line])[1])
            known.add(_key(trial))
            added += 1
    return added


def _key(trial: Trial) -> str:
    return json.dumps([trial.task, trial.candidate, trial.seconds, trial.cold, trial.elapsed_s], sort_keys=True)
