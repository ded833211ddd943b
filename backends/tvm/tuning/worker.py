"""The worker's side: `python -m bakeoff.backends.tvm.tuning.worker FD PARENT`, the only part of the tuner with tvm.

It answers one JSON request after the other on its own channel, so that what libraries print corrupts nothing. A
candidate that crashes or hangs takes this process with it and nothing else.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ....models.child import die_with
from ....models.errors import BakeoffError
from ....models.wire import encode_error
from .. import pipeline
from ..records_apply import keeps_constants, scheduled, whole
from .contract import Task
from .measure import Meter, build, constants_of, shapes_of
from .record_json import RecordWriter
from .stock import sample, search
from .verify import Judge

__all__ = ["main"]

_WORKLOADS = "database_workload.json"


class _Worker:
    """What a worker keeps between requests: the target, workloads that it has read, random data."""

    def __init__(self, channel: Connection) -> None:
        self._channel = channel
        self._meter = Meter()
        self._modules: dict[str, Any] = {}

    def open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """First of all: import tvm and take the target."""
        from ...host import host_features
        from . import targets

        self._building_cores = request.get("building_cores", ())
        self._timing_cores = request.get("timing_cores", ())
        _move(self._building_cores)
        logging.getLogger("tvm").setLevel(logging.ERROR)
        tvm = pipeline.import_tvm(request["threads"])
        self._folder = Path(request["database"])
        self._writer = RecordWriter(Path(request["scratch"]))
        if request["target"] is not None:
            targets.refuse_foreign(request["target"], host_features())
        self._facts = targets.resolve(request["target"], request["threads"])
        self._target = tvm.target.Target(self._facts)
        self._judge = Judge(self._facts, Path(request.get("expected", request["scratch"])))
        vector = targets.vector_of(self._facts)
        return {
            "target": self._facts,
            "tvm": str(tvm.__version__),
            "lanes": vector.lanes,
            "registers": vector.registers,
        }

    def extract(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Tasks of a model in all variants, with the workloads as MetaSchedule writes them."""
        from .tasks import extract

        found = extract(Path(request["model"]), self._facts, variants=request["variants"])
        return {
            "tasks": [{**asdict(item.task), "shape": dict(item.task.shape)} for item in found.items],
            "workloads": [item.workload for item in found.items],
        }

    def trial(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Build and time one candidate of one task; its record as MetaSchedule writes it.

        Before it times, it says that it is ready and waits for its turn; when it has, that it is timed (see `lanes`).

        Whatever may become the task's record must compute what the task does: TVM's own steps are not beyond doubt.
        """
        module, loops = self._module(request["task"]), self._schedule(request)
        if not keeps_constants(loops.mod):
            loops = scheduled(whole(loops.trace, module), module)
        kernel = build(loops.mod, self._target)
        answer = self._timed(request, loops, kernel)
        best = request.get("best")
        if request.get("cold") or best is None or answer["seconds"] < best:
            self._judge.refuse_wrong(request["task"], module, loops.mod, kernel)
        return answer

    def _schedule(self, request: Mapping[str, Any]) -> Any:
        from .templates import apply_template

        module = self._module(request["task"])
        if "trace" in request:
            from tvm.s_tir import meta_schedule as ms

            workload = ms.database.Workload(module)
            record = ms.database.TuningRecord.from_json(request["trace"], workload)
            return scheduled(record.trace, module)
        if request["kind"] == "other":
            return sample(module, self._target, int(request["candidate"]["trace"]))
        return apply_template(module, request["kind"], request["candidate"])

    def _timed(self, request: Mapping[str, Any], loops: Any, kernel: Any) -> dict[str, Any]:
        from tvm.s_tir import meta_schedule as ms
        from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

        module = self._module(request["task"])
        stripped = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(loops.mod)["main"]
        shapes, call = shapes_of(stripped), kernel["main"]  # that makes machine code of it
        time: Callable[[], float]
        if request.get("cold"):
            time = partial(
                self._meter.cold, call, self._meter.cold_sets(shapes, constants_of(module["main"]), request["cold"])
            )
        else:
            time = partial(self._meter.hot, call, self._meter.arguments(shapes), request.get("best"))
        seconds = self._in_turn(time)
        workload = ms.database.Workload(module)
        arguments = ms.arg_info.ArgInfo.from_entry_func(module, remove_preproc=True)
        record = ms.database.TuningRecord(loops.trace, workload, [seconds], self._target, arguments)
        return {"seconds": seconds, "record": self._writer.write(record)}

    def _in_turn(self, time: Callable[[], float]) -> float:
        """What *time* says, called while no other worker runs."""
        self._consult({"ready": True})
        _move(self._timing_cores)
        seconds = time()
        _move(self._building_cores)
        self._send({"timed": True})
        return seconds

    def stock(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Tune all tasks by MetaSchedule's own search; each candidate is sent to be tried elsewhere."""
        tasks = [(Task(**task), self._module(task["hash"])) for task in request["tasks"]]
        search(tasks, self._target, self._consult, self._writer.write, trials=request["trials"], seed=request["seed"])
        return {"last": True}

    def _send(self, message: Mapping[str, Any]) -> None:
        self._channel.send_bytes(json.dumps(message).encode())

    def _consult(self, message: Mapping[str, Any]) -> dict[str, Any]:
        self._send(message)
        answer = json.loads(self._channel.recv_bytes())
        assert isinstance(answer, dict)
        return answer

    def _module(self, hash_: str) -> Any:
        from tvm.s_tir import meta_schedule as ms

        if hash_ not in self._modules:
            with (self._folder / _WORKLOADS).open() as file:
                for line in file:
                    # The hash stands first in its line: the others need not be parsed.
                    if line.startswith(f'["{hash_}"'):
                        self._modules[hash_] = ms.database.Workload.from_json(json.loads(line)).mod
        return self._modules[hash_]

    def serve(self) -> None:
        """Answer until the channel closes."""
        acts: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "open": self.open,
            "extract": self.extract,
            "trial": self.trial,
            "stock": self.stock,
        }
        while True:
            try:
                request = json.loads(self._channel.recv_bytes())
            except EOFError:
                return
            try:
                answer = acts[request["do"]](request)
            except BakeoffError as error:
                answer = {"raised": encode_error(error)}
            except Exception as error:  # noqa: BLE001 - TVM's errors share no base class; the trial has failed
                answer = {"failed": _one_line(error)}
            self._send(answer)
            gc.collect(0)


def _move(cores: Sequence[int]) -> None:
    """Run on *cores* from now on, if there are any and the system can do that."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[-400:]}"


def main(argv: list[str]) -> int:
    """Serve on the channel whose descriptor is the first argument, as long as the second, the parent, lives."""
    die_with(int(argv[2]))
    _Worker(Connection(int(argv[1]))).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
