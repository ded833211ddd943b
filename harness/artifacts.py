"""Compiles each cell's model once, in a process of its own, into the content-addressed artifact cache."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.cache import hash_mapping, lookup, publish
from ..models.errors import CellError, UserError
from ..models.variant_build import VariantBuild
from .advisers import Advisers, interpreter_of
from .plan import CellSpec
from .pool import run_jobs
from .process import Worker, WorkerSettings
from .progress import Listener
from .protocol import Message
from .subjects import Subject
from .suite import Suite

__all__ = ["Artifact", "CompileRoom", "compile_cells", "quantization_message"]

_KIND = "compiled"
_FACTS = "compile.json"

COMPILE_BYTES = 4 * 2**30
"""Memory that one compilation is expected to take at most: no more go on at once than that many fit."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A compiled artifact in the cache."""

    folder: Path
    id: str
    size_bytes: int
    compile_s: float
    cached: bool
    """True if it was there before this run; `compile_s` is what it cost when it was made."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CompileRoom:
    """Where and with what compilation may go on."""

    cache: Path
    scratch: Path
    cores: Sequence[int]
    memory_limit_bytes: int
    listener: Listener


@dataclass(frozen=True, kw_only=True)
class _Job:
    id: str
    cell: CellSpec
    subject: Subject


def compile_cells(
    cells: Mapping[CellSpec, Subject], advisers: Advisers, suite: Suite, room: CompileRoom
) -> dict[str, Artifact | CellError]:
    """Artifact of each cell by the cell's key, or why there is none. Cells that share an artifact compile it once."""
    outcome: dict[str, Artifact | CellError] = {}
    wanted: dict[str, str] = {}
    jobs: dict[str, _Job] = {}
    for cell, subject in cells.items():
        try:
            key = dict(advisers.cache_key(cell, subject.exported.path))
        except CellError as error:
            outcome[cell.key] = error
            continue
        facts = {"model": subject.exported.sha256, "backend": cell.backend, "key": key}
        if subject.build.quantizing is not None:
            facts["quantization"] = _quantization_facts(subject.build)
        identity = hash_mapping(facts)
        wanted[cell.key] = identity
        jobs.setdefault(identity, _Job(id=identity, cell=cell, subject=subject))
    ready = {identity: found for identity in jobs if (found := _find(room.cache, identity, cached=True)) is not None}
    missing = [job for identity, job in jobs.items() if identity not in ready]
    room.listener.plan(len(missing))
    room.listener.tick(f"compile {len(missing)} artifacts ({len(ready)} are in the cache)")
    made = run_jobs(
        missing,
        lambda job, cores: _compile(job, suite, room, cores),
        cores=room.cores,
        at_once=max(1, room.memory_limit_bytes // COMPILE_BYTES),
        done=lambda job: room.listener.step(f"compiled {job.cell.full_variant} {job.cell.backend}"),
    )
    results: dict[str, Artifact | CellError] = dict(ready)
    results.update({job.id: result for job, result in zip(missing, made, strict=True)})
    outcome.update({key: results[identity] for key, identity in wanted.items()})
    return outcome


def quantization_message(build: VariantBuild) -> Message | None:
    """What a backend with a quantizer of its own is told, as the protocol has it; None for other variants."""
    step = build.quantizing
    if step is None or build.float_model is None:
        return None
    return {
        "kind": step.kind,
        "float_model": str(build.float_model.path),
        "calibration": str(build.calibration.path) if build.calibration else None,
        "keep": list(step.keep),
    }


def _quantization_facts(build: VariantBuild) -> dict[str, Any]:
    """What such a backend's artifact depends on, besides the quantized ONNX file."""
    return {
        "step": build.quantizing.text if build.quantizing else "",
        "float_model": build.float_model.sha256 if build.float_model else "",
        "calibration": build.calibration.sha256 if build.calibration else "",
    }


def _compile(job: _Job, suite: Suite, room: CompileRoom, cores: tuple[int, ...]) -> Artifact | CellError:
    """Compile in a fresh worker; a failure is data."""
    settings = WorkerSettings(
        cores=cores,
        threads=job.cell.threads,
        python=interpreter_of(job.cell.backend, suite.backends),
        memory_limit_bytes=room.memory_limit_bytes,
    )

    def build(folder: Path) -> None:
        out = folder / "artifact"
        out.mkdir()
        with Worker(settings, room.scratch / f"compile-{job.id[:16]}.log") as worker:
            worker.greet()
            answer = worker.ask(
                {
                    "op": "compile",
                    "backend": job.cell.backend,
                    "model": str(job.subject.exported.path),
                    "out": str(out),
                    "device": job.cell.device,
                    "threads": job.cell.threads,
                    "options": dict(job.cell.options),
                    "quantization": quantization_message(job.subject.build),
                },
                limit_s=suite.measure.compile_limit_s,
            )
        facts = {"compile_s": answer["compile_s"], "notes": answer["notes"], "backend": job.cell.backend}
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    try:
        publish(room.cache, _KIND, job.id, build)
    except CellError as error:
        return error
    found = _find(room.cache, job.id, cached=False)
    if found is None:
        raise UserError(f"{room.cache}: artifact {job.id[:16]} vanished from the cache while it was in use; run again")
    return found


def _find(cache: Path, identity: str, *, cached: bool) -> Artifact | None:
    folder = lookup(cache, _KIND, identity)
    if folder is None:
        return None
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    content = folder / "artifact"
    return Artifact(
        folder=content,
        id=identity,
        size_bytes=sum(path.stat().st_size for path in content.rglob("*") if path.is_file()),
        compile_s=facts["compile_s"],
        cached=cached,
        notes=tuple(facts["notes"]),
    )
