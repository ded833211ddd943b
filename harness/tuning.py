"""Tunes models for a backend that searches for its schedules: exports them, divides the budget, keeps the databases."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..backends import registry
from ..backends.tvm.tuning import contract
from ..backends.tvm.tuning.pack import read_pack, read_pack_meta, write_folder
from ..backends.tvm.tuning.process import Worker as TuningWorker
from ..backends.tvm.tuning.records import SCHEMA, open_database, read_meta
from ..backends.tvm.tuning.shelf import database_folder, databases, shipped
from ..backends.tvm.tuning.tuner import tune
from ..models.errors import CellError, UserError
from ..models.spec import ExportedModel
from ..models.variant_build import build_variant
from .advisers import Advisers, interpreter_of
from .cgroup import own_cgroup
from .cores import all_cores, choose_cores, usable_cores
from .hostlock import hold_host
from .plan import CellSpec, expand
from .process import WorkerSettings
from .subjects import resolve_models, variant_request
from .suite import Suite
from .tuning_check import look
from .tuning_outcome import Outcome
from .tuning_progress import TuneListener
from .tuning_session import Session

__all__ = ["TuneOrder", "tune_suite"]

TUNABLE = ("tvm",)
"""Backends whose schedules a search finds."""

# Candidates built at the same time: each takes half a gigabyte, and they are timed one by one, which bounds the gain.
_MOST_LANES = 4


@dataclass(frozen=True, kw_only=True)
class TuneOrder:
    """What to tune, for how long, and where the records go."""

    suite: Suite
    backend: str
    seconds: float | None
    """Wall-clock budget of the whole command; it and *trials* may both be given, and the first one ends it."""
    trials: int | None
    space: contract.Space
    seed: int
    resume: bool
    """Take up the same command where it stopped: spend only what is left of its budget."""
    target: Mapping[str, Any] | None
    """TVM's target; None: this CPU's."""
    database: Path | None
    """None: the one of the target in *cache*, shared by all models."""
    check: bool
    """Time the net untuned and tuned at the end."""
    cache: Path
    listener: TuneListener


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """What every job of one command shares."""

    tvm: str
    target: Mapping[str, Any]
    python: str
    """The interpreter of the backend: the suite may name another than ours."""
    cores: tuple[int, ...]
    scratch: Path


def tune_suite(order: TuneOrder) -> Iterator[Outcome]:
    """Tune every variant of the suite in turn, at each of its thread counts; yield what came of each.

    An interrupted one is the last. Raises UserError where nothing can be tuned (unknown model, backend not installed,
    no budget, a database of another target), before anything is exported if possible.
    """
    _check(order)
    resolve_models(order.suite)
    with ExitStack() as stack:
        stack.enter_context(hold_host(order.listener.say))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bakeoff-tune-")))
        ground = _ground(order, scratch)
        jobs = _jobs(order, ground)
        folders = [_database(order, ground, job) for job in jobs]
        session = Session.begin(order.cache, _fingerprint(order), folders)
        if order.resume:
            session = session.earlier() or session
        if len(session.told) == len(jobs) and _spent(*session.left(order.seconds, order.trials)):
            yield from map(Outcome.retold, jobs, folders, session.told)
            order.listener.say("nothing is left of the budget; the same command with a larger one goes on")
            return
        told = list(session.told[: session.job])
        for place in range(session.job, len(jobs)):
            session = session.at(place, told)
            seconds, trials = session.left(order.seconds, order.trials)
            if _spent(seconds, trials):
                order.listener.say("the budget is spent; give more to go on")
                return
            share = len(jobs) - place
            outcome = _tune(
                order,
                ground,
                jobs[place],
                seconds=None if seconds is None else seconds / share,
                trials=None if trials is None else max(1, trials // share),
            )
            yield outcome
            if outcome.result is not None and outcome.result.interrupted:
                return
            told.append(outcome.told())
        session.end(told, order.seconds, order.trials)


def _spent(seconds: float | None, trials: int | None) -> bool:
    """Whether that is nothing to go on with."""
    return (seconds is not None and seconds <= 0) or (trials is not None and trials <= 0)


def _check(order: TuneOrder) -> None:
    registry.get(order.backend)
    if order.backend not in TUNABLE:
        raise UserError(f"--backend: {order.backend} has no schedules to tune; {' and '.join(TUNABLE)} has")
    if order.seconds is None and order.trials is None:
        raise UserError("no tuning budget: give --budget 30m or --trials 500")
    if (order.seconds is not None and order.seconds <= 0) or (order.trials is not None and order.trials <= 0):
        raise UserError("no tuning budget: --budget and --trials must be more than 0")


def _ground(order: TuneOrder, scratch: Path) -> _Ground:
    cores = usable_cores()
    order.listener.say(f"look whether {order.backend} runs here")
    python = interpreter_of(order.backend, order.suite.backends)
    with Advisers((order.backend,), order.suite.backends, cores=cores, scratch=scratch) as advisers:
        advisers.require([order.backend])
        facts = advisers.facts[order.backend]
    ground = _Ground(
        tvm=facts.version, target=json.loads(facts.details["target"]), python=python, cores=cores, scratch=scratch
    )
    if order.target is None:
        return ground
    # A worker opens for no target that this CPU cannot run: better now than after minutes of export.
    with TuningWorker({"threads": 1, "target": dict(order.target), "database": str(scratch)}, python) as worker:
        worker.open()
    return replace(ground, target=dict(order.target))


def _jobs(order: TuneOrder, ground: _Ground) -> list[CellSpec]:
    """Each variant, batch and thread count of the suite once."""
    everywhere = all_cores(ground.cores, own_cgroup().limits().cpu_quota_cores)
    cells = expand(order.suite, installed=[order.backend], known=registry.names(), all_cores=everywhere)
    unique = {
        (cell.model, cell.variant, cell.batch, cell.threads): cell for cell in cells if cell.backend == order.backend
    }
    if not unique:
        raise UserError(f"suite {order.suite.name}: has no cell of {order.backend}; name it among its backends")
    return list(unique.values())


def _database(order: TuneOrder, ground: _Ground, job: CellSpec) -> Path:
    """Where the records of *job* go; raises UserError for a database of another target or version."""
    meta = contract.Meta(schema=SCHEMA, tvm=ground.tvm, target={**ground.target, "num-cores": job.threads})
    folder = order.database or database_folder(order.cache, meta)
    open_database(folder, meta, create=True)
    return folder


def _fingerprint(order: TuneOrder) -> dict[str, Any]:
    """What two commands have in common if one may go on where the other stopped: all but the budget."""
    return {
        "matrix": order.suite.matrix.model_dump(mode="json"),
        "models": {name: model.model_dump(mode="json") for name, model in order.suite.models.items()},
        "space": order.space,
        "seed": order.seed,
        "target": None if order.target is None else dict(order.target),
        "database": None if order.database is None else str(order.database.resolve()),
    }


def _tune(order: TuneOrder, ground: _Ground, job: CellSpec, *, seconds: float | None, trials: int | None) -> Outcome:
    folder = _database(order, ground, job)
    name = f"{job.full_variant}, {job.threads} thread{'s' if job.threads > 1 else ''}"
    start = time.monotonic()
    try:
        order.listener.say(f"export {job.full_variant}")
        model = _export(order, job)
        if seconds is not None:
            seconds = max(1.0, seconds - (time.monotonic() - start))
        request = contract.TuneRequest(
            model=model.path,
            database=folder,
            threads=job.threads,
            space=order.space,
            seconds=seconds,
            trials=trials,
            seed=order.seed,
            target=ground.target,
            python=ground.python,
            warm=tuple(_warm(order, ground, folder)),
            lanes=min(_MOST_LANES, all_cores(ground.cores, own_cgroup().limits().cpu_quota_cores)),
            building_cores=tuple(ground.cores),
            timing_cores=choose_cores(job.threads, ground.cores),
        )
        result = tune(request, order.listener.follow(name, seconds, trials))
    except CellError as error:
        return Outcome(cell=job, database=folder, error=error)
    seen = None
    if order.check and not result.interrupted:
        order.listener.say(f"time {job.full_variant} untuned and tuned")
        options = {"records": str(folder), "space": order.space}
        settings = WorkerSettings(
            cores=choose_cores(job.threads, ground.cores), threads=job.threads, python=ground.python
        )
        seen = look(model, job, options, settings, scratch=ground.scratch)
    return Outcome(cell=job, database=folder, result=result, look=seen)


def _export(order: TuneOrder, job: CellSpec) -> ExportedModel:
    spec = resolve_models(order.suite)[job.model]
    request = variant_request(spec, order.suite, job.model, job.variant, job.batch)
    return build_variant(request, order.cache, settle=False).exported


def _warm(order: TuneOrder, ground: _Ground, own: Path) -> Iterator[Path]:
    """Databases of near targets and other thread counts, and the shipped packs unpacked."""
    if order.space == "stock":
        return
    for folder in databases(order.cache):
        if folder.resolve() != own.resolve() and read_meta(folder).tvm == ground.tvm:
            yield folder
    for number, file in enumerate(shipped()):
        folder = ground.scratch / f"shipped-{number}"
        if read_pack_meta(file).tvm == ground.tvm:
            if not folder.exists():
                write_folder(read_pack(file), folder)
            yield folder
