"""Tunes a model: stages of trials in worker processes, every one of which is on disk when it is told of."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack

from ....models.errors import StageError, UserError
from . import stages
from .budget import Budget
from .contract import Meta, ProgressCallback, TuneRequest, TuneResult
from .lanes import Lanes
from .ledger import Ledger
from .process import CandidateError, Worker
from .records import SCHEMA, open_database
from .tasks_wire import Found
from .tiles import Vector

__all__ = ["tune"]

_EXTRACT_S = 600.0


def tune(request: TuneRequest, progress: ProgressCallback | None = None) -> TuneResult:
    """Tune the model of *request* into its database, telling *progress* after each trial. See `contract`.

    Raises `UserError` (no budget; a database of another target, TVM version or schema), `UnsupportedError` and
    `StageError` (a model that TVM cannot import). Ctrl-C ends it with what was found.
    """
    _check(request)
    budget = Budget(request.seconds, request.trials)
    folder = request.database.absolute()
    with ExitStack() as stack:
        opening = {
            "threads": request.threads,
            "target": request.target,
            "database": str(folder),
            "expected": stack.enter_context(tempfile.TemporaryDirectory(prefix="bakeoff-tvm-")),
            "building_cores": request.building_cores,
            "timing_cores": request.timing_cores,
        }
        lanes = 1 if request.space == "stock" else request.lanes
        workers = [stack.enter_context(Worker(opening, request.python)) for _ in range(lanes)]
        worker = workers[0]
        facts = worker.open()
        records = open_database(folder, Meta(schema=SCHEMA, tvm=facts["tvm"], target=facts["target"]), create=True)
        for other in workers[1:]:
            other.launch()  # it starts up while the first takes the model apart
        found = _extract(worker, request)
        records.add_workloads(found.workloads)
        ledger = Ledger(
            request,
            records=records,
            found=found,
            vector=Vector(lanes=facts["lanes"], registers=facts["registers"]),
            budget=budget,
            progress=progress,
        )
        interrupted = False
        try:
            _spend(ledger, Lanes(workers, ledger))
        except KeyboardInterrupt:
            interrupted = True
        return ledger.result(interrupted=interrupted)


def _check(request: TuneRequest) -> None:
    for value, unit in ((request.seconds, "seconds"), (request.trials, "trials")):
        if value is not None and value <= 0:
            raise UserError(f"a tuning budget of {value} {unit} tunes nothing; give more than 0")
    if request.space == "stock" and request.seconds is None and request.trials is None:
        raise UserError("tuning the stock space has no end: give a budget of seconds or of trials")


def _extract(worker: Worker, request: TuneRequest) -> Found:
    variants = [] if request.space == "stock" else ["wino2", "wino4"]
    asked = {"do": "extract", "model": str(request.model.absolute()), "variants": variants}
    try:
        return Found.read(worker.ask(asked, _EXTRACT_S))
    except CandidateError as error:
        raise StageError(f"TVM cannot take this model apart: {error}", blame="compiler", stage="tune") from error


def _spend(ledger: Ledger, lanes: Lanes) -> None:
    ledger.tell("extract", None)
    if ledger.request.space == "stock":
        lanes.run(stages.stock(ledger))
    else:
        for stage in (stages.cover, stages.refine, stages.rest, stages.cold):
            lanes.run(stage(ledger))
    ledger.tell("done", None)
