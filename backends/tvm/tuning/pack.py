"""A tuning database in memory and as one file: what is exported, imported, shipped, and read without touching it.

A pack's file is JSON, gzipped where its name ends in `.gz`. It keeps every trial, so that the cost and the curve of
tuning can be told anywhere, but the schedules of the best candidates only.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....models.errors import UserError
from .contract import Meta, Trial
from .records import SCHEMA, open_database, rank, read_meta

__all__ = ["Pack", "read_folder", "read_pack", "read_pack_meta", "reduced", "write_folder", "write_pack"]

_FORMAT = "bakeoff tuning records"
_BEFORE_META = f'{{"format":"{_FORMAT}","meta":'
_HEAD_BYTES = 2**14
_LARGEST_BYTES = 512 * 2**20
"""Of a pack's JSON: a file that unpacks to more is no export of ours."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """All that a tuning database holds."""

    meta: Meta
    workloads: Mapping[str, str]
    """base64 of each workload's module by its hash."""
    trials: tuple[Trial, ...]
    """In the order in which they were done."""
    records: tuple[str | None, ...]
    """For each trial the JSON of its MetaSchedule record ([trace, seconds, target, arguments]), None where it is not
    kept. As text, because few of them are ever looked at, and they are most of what a database weighs."""


def read_folder(folder: Path) -> Pack:
    """The database in *folder*, which is only read: somebody may be tuning into it.

    Raises `UserError` where it is no tuning database of this version.
    """
    meta = read_meta(folder)
    workloads = dict(json.loads(line) for line in _lines(folder / "database_workload.json"))
    records = [_record(line) for line in _lines(folder / "database_tuning_record.json")]
    trials, kept = [], []
    for text in _lines(folder / "trials.jsonl"):
        data = json.loads(text)
        line = data.pop("line")
        trials.append(Trial(**data))
        # The trial is written after its record: a record that is missing was removed by hand.
        kept.append(records[line] if line is not None and line < len(records) else None)
    return Pack(meta=meta, workloads=workloads, trials=tuple(trials), records=tuple(kept))


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):  # else it is being written, or a kill cut it off
                yield raw.decode("utf-8")


def _record(line: str) -> str:
    """The record in a line "[workload, record]"."""
    return line[line.index(",") + 1 : line.rindex("]")].strip()


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def reduced(pack: Pack, best: int = 1) -> Pack:
    """*pack* with the records of the *best* candidates of each workload and space only; every trial stays."""
    ranked: dict[tuple[str, str], list[int]] = {}
    for number, (trial, record) in enumerate(zip(pack.trials, pack.records, strict=True)):
        if record is not None and trial.seconds is not None:
            ranked.setdefault((trial.task, trial.space), []).append(number)
    kept = set()
    for numbers in ranked.values():
        kept |= set(sorted(numbers, key=lambda number: rank(pack.trials[number]))[:best])
    used = {pack.trials[number].task for number in kept}
    return Pack(
        meta=pack.meta,
        workloads={hash_: module for hash_, module in pack.workloads.items() if hash_ in used},
        trials=pack.trials,
        records=tuple(record if number in kept else None for number, record in enumerate(pack.records)),
    )


def write_pack(pack: Pack, file: Path) -> None:
    """Write *pack* to *file*; the same pack gives the same bytes. Raises OSError."""
    pairs = zip(pack.trials, pack.records, strict=True)
    lines = [{**asdict(trial), "record": None if text is None else json.loads(text)} for trial, text in pairs]
    content = {
        "format": _FORMAT,
        "meta": {"schema": pack.meta.schema, "tvm": pack.meta.tvm, "target": dict(pack.meta.target)},
        "workloads": dict(pack.workloads),
        "trials": lines,
    }
    data = _dump(content).encode("utf-8")
    file.write_bytes(gzip.compress(data, mtime=0) if file.suffix == ".gz" else data)


def read_pack(file: Path) -> Pack:
    """The pack in *file*; raises `UserError` in one line where it cannot be read or is none."""
    try:
        raw = file.read_bytes()
        content = json.loads(_unzipped(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); give a file from `bakeoff tune export`") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: holds no tuning records; give a file from `bakeoff tune export`") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise UserError(f"{file}: holds no tuning records; give a file from `bakeoff tune export`")
    try:
        meta = Meta(**content["meta"])
        if meta.schema != SCHEMA:
            raise UserError(f"{file}: has schema {meta.schema}, this bakeoff reads {SCHEMA}; export it anew")
        workloads = {str(hash_): str(module) for hash_, module in content["workloads"].items()}
        kept = [data.pop("record") for data in content["trials"]]
        records = tuple(None if record is None else _dump(record) for record in kept)
        trials = tuple(Trial(**data) for data in content["trials"])
        named = {trial.task for trial, record in zip(trials, records, strict=True) if record is not None}
        target_id = meta.target_id
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: is damaged ({type(error).__name__}); export it anew") from error
    if not target_id or not named <= workloads.keys():
        raise UserError(f"{file}: is damaged (records without their workload); export it anew")
    return Pack(meta=meta, workloads=workloads, trials=trials, records=records)


def read_pack_meta(file: Path) -> Meta:
    """What the records in *file* hold for, by its first bytes where `write_pack` wrote it; raises as `read_pack`."""
    try:
        with file.open("rb") as opened:
            zipped = opened.read(2) == b"\x1f\x8b"
        with gzip.open(file, "rb") if zipped else file.open("rb") as content:
            head = content.read(_HEAD_BYTES).decode("utf-8", errors="replace")
        data, _ = json.JSONDecoder().raw_decode(head, len(_BEFORE_META)) if head.startswith(_BEFORE_META) else ({}, 0)
        meta = Meta(**data)
    except (OSError, EOFError, ValueError, TypeError, zlib.error):
        return read_pack(file).meta  # which says what is wrong with it
    return meta if meta.schema == SCHEMA else read_pack(file).meta


def _unzipped(raw: bytes) -> bytes:
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
    data = unzip.decompress(raw, _LARGEST_BYTES)
    if unzip.unconsumed_tail:
        raise ValueError("too large")
    return data


def write_folder(pack: Pack, folder: Path) -> None:
    """Write *pack* as a database into the new or empty *folder*. Raises `UserError` where it holds something."""
    made = open_database(folder, pack.meta, create=True)
    made.add_workloads([[hash_, module] for hash_, module in pack.workloads.items()])
    for trial, record in zip(pack.trials, pack.records, strict=True):
        made.add_trial(trial, None if record is None else json.loads(record))
