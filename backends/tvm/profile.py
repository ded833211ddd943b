"""TVM's instrument, which its virtual machine calls before and after each kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...models.errors import StageError
from ..base import Array, LoadRequest
from ..profile import Row
from ..profile_graph import read_profiled_graph
from .adapter import TvmSession
from .channels import padded_values
from .kernels import load_kernels
from .rows import describe_rows

__all__ = ["TvmProfile", "read_log"]

Log = list[Any]
"""Of each call that is not of the machine's own: its name, and nanoseconds before it and after it."""

_BUILTIN = "vm.builtin."
"""Beginning of the names of what the virtual machine does itself: it allocates memory, looks at shapes, ..."""


class TvmProfile(TvmSession):
    """A session with a clock around each kernel."""

    def __init__(self, request: LoadRequest, model: Path) -> None:
        self._log: Log = []
        super().__init__(request, _instrument(self._log))
        self._artifact = request.artifact
        self._model = model
        self._called: list[str] = []
        self._times_ms: list[list[float]] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        self._log.clear()
        return super().infer(feeds)

    def collect(self) -> None:
        """Keep the times of the last inference."""
        called, times_ms = read_log(self._log)
        if self._times_ms and called != self._called:
            raise _failed("not every inference calls the same kernels in the same order")
        self._called = called
        self._times_ms.append(times_ms)

    def rows(self) -> tuple[Row, ...]:
        """The kernels, in order of execution."""
        import onnx

        times = list(zip(*self._times_ms, strict=True))
        graph, padding = read_profiled_graph(self._model), padded_values(onnx.load(self._model))
        try:
            return describe_rows(load_kernels(self._artifact), self._called, times, graph, padding)
        except ValueError as error:
            raise _failed(str(error)) from error


def _instrument(log: Log) -> Callable[..., int]:
    """What the virtual machine calls: as little as can be, for all that is done here is part of the profile."""
    clock, append = time.perf_counter_ns, log.append

    def note(_function: Any, name: str, before: bool, _result: Any, *_arguments: Any) -> int:
        if before:
            if not name.startswith(_BUILTIN):
                append(name)
                append(clock())
        elif not name.startswith(_BUILTIN):
            append(clock())
        return 0  # go on

    return note


def read_log(log: Sequence[Any]) -> tuple[list[str], list[float]]:
    """Names and milliseconds of the calls in *log*. Raises `StageError` where calls are within others."""
    called, starts, ends = log[::3], log[1::3], log[2::3]
    if not all(isinstance(name, str) for name in called) or not len(called) == len(starts) == len(ends):
        raise _failed("kernels call each other")
    return list(called), [(end - start) / 1e6 for start, end in zip(starts, ends, strict=True)]


def _failed(reason: str) -> StageError:
    return StageError(f"TVM's profile cannot be read: {reason}", blame="runtime", stage="profile")
