"""ONNX Runtime's own profiler, read: one event for each node of the optimized graph in each inference."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..models.errors import StageError
from .base import Array, LoadRequest
from .onnxruntime import OnnxRuntimeSession
from .onnxruntime_graph import MODEL
from .onnxruntime_rows import Kernel, describe_rows
from .profile import Row
from .profile_graph import read_profiled_graph

__all__ = ["OnnxRuntimeProfile", "read_runs"]

_SUFFIX = "_kernel_time"

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


class OnnxRuntimeProfile(OnnxRuntimeSession):
    """A session like any other, but for the profiler; the log of all inferences is read once, at the end."""

    def __init__(self, request: LoadRequest, model: Path, *, spinning: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bakeoff-onnxruntime-")
        super().__init__(request, spinning=spinning, log=Path(self._folder.name) / "log")
        self._model = model
        self._artifact = request.artifact
        self._calls = 0
        self._kept: list[int] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        self._calls += 1
        return super().infer(feeds)

    def collect(self) -> None:
        """Remember that the last inference counts."""
        self._kept.append(self._calls - 1)

    def rows(self) -> tuple[Row, ...]:
        """The nodes of the optimized graph, in order of execution."""
        import onnx

        with Path(self._session.end_profiling()).open(encoding="utf-8") as log:
            runs = list(read_runs(log))
        if len(runs) != self._calls:
            raise _failed(f"its log tells of {len(runs)} inferences where {self._calls} were made")
        kept = [runs[call] for call in self._kept]
        kernels = [Kernel(event) for event in kept[0]]
        for run in kept:
            if [event["args"]["node_index"] for event in run] != [event["args"]["node_index"] for event in kept[0]]:
                raise _failed("its nodes do not run in the same order in every inference")
        executed = onnx.load(self._artifact / MODEL).graph
        for kernel in kernels:
            if kernel.place >= len(executed.node) or executed.node[kernel.place].op_type != kernel.op_type:
                raise _failed(f"node {kernel.place} ({kernel.op_type}) of its log is not that of the optimized graph")
        times = [tuple(run[place]["dur"] / 1e3 for run in kept) for place in range(len(kernels))]
        return describe_rows(executed, kernels, times, read_profiled_graph(self._model))

    def close(self) -> None:
        """Drop the session and its log."""
        super().close()
        self._folder.cleanup()


def read_runs(log: Iterator[str]) -> Iterator[list[dict[str, Any]]]:
    """The nodes' events of each inference in order of execution, from the lines of a log, each of which is an event.

    The bodies of control flow are part of the node that runs them.
    """
    events: list[dict[str, Any]] = []
    for line in log:
        text = line.strip().strip("[],")
        if not text:
            continue
        try:
            event = json.loads(text)
        except ValueError as error:
            raise _failed(f"its log cannot be read: {error}") from error
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            events.append(event)
        elif event.get("name") == "model_run":
            yield _outermost(events)
            events = []


def _outermost(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """*events*, which come in the order in which they ended, without those that ran within a node of control flow."""
    found: list[dict[str, Any]] = []
    for event in events:
        if event["args"]["op_name"] in _CONTROL_FLOW:
            while found and found[-1]["ts"] >= event["ts"]:
                found.pop()
        found.append(event)
    return found


def _failed(reason: str) -> StageError:
    return StageError(f"ONNX Runtime's profile cannot be read: {reason}", blame="runtime", stage="profile")
