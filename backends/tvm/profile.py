"""TVM's instrument: its virtual machine tells of each call, before and after."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...models.errors import StageError
from ..base import Array, LoadRequest
from ..profile import Row
from ..profile_graph import read_profiled_graph
from .adapter import TvmSession
from .channels import padded_values
from .clock import Clock
from .kernels import load_kernels
from .rows import describe_rows

__all__ = ["TvmProfile", "kernels_called", "times_called"]

_BUILTIN = "vm.builtin."
"""Beginning of the names of what the virtual machine does itself: it allocates memory, looks at shapes, ..."""


class TvmProfile(TvmSession):
    """A session with a clock around each call. The names of the calls are taken from an inference of its own."""

    def __init__(self, request: LoadRequest, model: Path) -> None:
        super().__init__(request, self._keep)
        self._artifact = request.artifact
        self._model = model
        self._folder = tempfile.TemporaryDirectory(prefix="bakeoff-tvm-")
        self._clock = Clock(Path(self._folder.name))
        events: list[tuple[str, bool]] = []
        self._machine.set_instrument(_noting(events))
        super().infer([np.zeros(spec.shape, spec.dtype) for spec in self.inputs])
        self._machine.set_instrument(self._clock.look)
        try:
            self._called = kernels_called(events)
        except ValueError as error:
            raise _failed(str(error)) from error
        self._looks = len(events)
        self._times_ms: list[list[float]] = []

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once."""
        self._clock.start()
        return super().infer(feeds)

    def collect(self) -> None:
        """Keep the times of the last inference."""
        times_ns = self._clock.read()
        if len(times_ns) != self._looks:
            raise _failed(f"{len(times_ns) // 2} calls in one inference, {self._looks // 2} in another")
        self._times_ms.append(times_called(times_ns, [place for place, _ in self._called]))

    def rows(self) -> tuple[Row, ...]:
        """The kernels, in order of execution."""
        import onnx

        times = list(zip(*self._times_ms, strict=True))
        names = [name for _, name in self._called]
        graph, padding = read_profiled_graph(self._model), padded_values(onnx.load(self._model))
        try:
            return describe_rows(load_kernels(self._artifact), names, times, graph, padding)
        except ValueError as error:
            raise _failed(str(error)) from error

    def close(self) -> None:
        """Drop the virtual machine and its clock."""
        del self._machine
        super().close()
        self._folder.cleanup()

    def _keep(self, machine: Any) -> None:
        self._machine = machine


def _noting(events: list[tuple[str, bool]]) -> Callable[..., int]:
    """An instrument that adds to *events* the name of each call, and whether it is about to begin."""

    def note(_function: Any, name: str, before: bool, _result: Any, *_arguments: Any) -> int:
        events.append((name, before))
        return 0  # go on

    return note


def kernels_called(events: Sequence[tuple[str, bool]]) -> list[tuple[int, str]]:
    """Place and name of each call in *events* (its name, and whether it begins) that is not of the machine's own.

    Raises ValueError where calls are within others.
    """
    begun, ended = events[::2], events[1::2]
    if [(name, not before) for name, before in begun] != list(ended) or not all(before for _, before in begun):
        raise ValueError("some calls are within others")
    return [(place, name) for place, (name, _) in enumerate(begun) if not name.startswith(_BUILTIN)]


def times_called(times_ns: Sequence[int], places: Sequence[int]) -> list[float]:
    """Milliseconds of the calls at *places*, of a time before and one after each call."""
    return [(times_ns[2 * place + 1] - times_ns[2 * place]) / 1e6 for place in places]


def _failed(reason: str) -> StageError:
    return StageError(f"TVM's profile cannot be read: {reason}", blame="runtime", stage="profile")
