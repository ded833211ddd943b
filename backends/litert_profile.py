"""LiteRT's profiler, read through its C interface: one event for each kernel of XNNPACK's and each operator beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..models.errors import StageError
from .base import Array, LoadRequest
from .litert import LiteRtSession, read_nodes
from .litert_convert import MODEL
from .litert_events import Event, take_events
from .litert_native import NativeError, NativeModel
from .litert_operators import read_operators
from .litert_rows import describe_rows
from .profile import Row
from .profile_graph import read_profiled_graph

__all__ = ["LiteRtProfile"]


class LiteRtProfile(LiteRtSession):
    """The artifact in the C interface's own runtime, which brings the same kernels as the interpreter of Python's.

    The interpreter stays idle beside it, and tells which operators the file has.
    """

    def __init__(self, request: LoadRequest, model: Path) -> None:
        super().__init__(request)
        self._artifact = request.artifact
        self._model = model
        runner = self._interpreter.get_signature_runner()
        sides = {"Input": runner.get_input_details(), "Output": runner.get_output_details()}
        try:
            self.native = NativeModel(request.artifact / MODEL, request.threads)
            named = {side: self.native.names(side) for side in sides}
            kinds = {
                side: [(tuple(sides[side][name]["shape"]), np.dtype(sides[side][name]["dtype"]).name) for name in names]
                for side, names in named.items()
            }
            self.native.bind(kinds["Input"], kinds["Output"])
        except NativeError as error:
            raise _failed(str(error)) from error
        # Names end with the place in the graph.
        self._feed_order = [int(name.rpartition("_")[2]) for name in named["Input"]]
        self._result_order = [int(name.rpartition("_")[2]) for name in named["Output"]]
        self._events: list[list[Event]] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once, in the C interface's runtime."""
        dtypes = [dtype for _, dtype in self._inputs]
        given = [feed.astype(dtype, copy=False) for feed, dtype in zip(feeds, dtypes, strict=True)]
        results = self.native.run([given[place] for place in self._feed_order])
        ordered = dict(zip(self._result_order, results, strict=True))
        return [ordered[place].astype(spec.dtype, copy=False) for place, spec in enumerate(self.outputs)]

    def infer_by_interpreter(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once, as a session that is timed does."""
        return super().infer(feeds)

    def collect(self) -> None:
        """Keep the events of the last inference."""
        self._events.append(take_events(self.native))

    def rows(self) -> tuple[Row, ...]:
        """Kernels and operators, in order of execution."""
        first = self._events[0]
        for events in self._events:
            if [(event.tag, event.index) for event in events] != [(event.tag, event.index) for event in first]:
                raise _failed("not every inference runs the same kernels in the same order")
        times = [tuple(events[place].elapsed_us / 1e3 for events in self._events) for place in range(len(first))]
        modules = read_nodes(self._artifact)
        return describe_rows(first, times, read_operators(self._interpreter, modules), read_profiled_graph(self._model))


def _failed(reason: str) -> StageError:
    return StageError(f"LiteRT's profile cannot be read: {reason}", blame="runtime", stage="profile")
