"""OpenVINO's own counters, read after each inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..models.errors import StageError
from .base import Array, LoadRequest
from .openvino import OpenVinoSession, import_blob
from .openvino_counters import MOST_INFERENCES, Counters
from .openvino_names import own_names
from .openvino_rows import describe_rows, read_layers
from .profile import Row
from .profile_graph import read_profiled_graph
from .signature import load_signature

__all__ = ["OpenVinoProfile"]

_COUNTING = {"PERF_COUNT": True}

_WARM_UP = 3
"""Inferences of a fresh compiled model before one that counts."""


class OpenVinoProfile(OpenVinoSession):
    """A session that counts. Every few profiled inferences, outside of them, the blob is imported afresh.

    The counters of a compiled model never start again, and become too coarse for a single inference (see
    `openvino_counters`).
    """

    def __init__(self, request: LoadRequest, model: Path) -> None:
        super().__init__(import_blob(request, _COUNTING), load_signature(request.artifact))
        self._load = request
        self._model = model
        self._counters = Counters()
        self._executed: set[str] = set()
        self._times_us: list[dict[str, float]] = []
        self._feeds: Sequence[Array] = ()

    def infer(self, feeds: Sequence[Array]) -> Sequence[Array]:
        """Run once. Counters are read before it if that was not done after the last inference."""
        if not self._counters.current:
            self._read()
        self._feeds = feeds
        outputs = super().infer(feeds)
        self._counters.inferences += 1
        return outputs

    def collect(self) -> None:
        """Keep what the counters rose by in the last inference."""
        self._times_us.append(self._read())
        if self._counters.inferences >= MOST_INFERENCES:
            self._renew()

    def rows(self) -> tuple[Row, ...]:
        """The layers that ran, in order of execution."""
        import onnx

        layers = read_layers(self._compiled)
        names = {layer.name for layer in layers}
        if unknown := self._executed - names:
            raise _failed(f"the runtime graph has no layer {sorted(unknown)[0]!r}, which counts")
        times = {name: tuple(us.get(name, 0.0) / 1e3 for us in self._times_us) for name in self._executed}
        return describe_rows(layers, times, read_profiled_graph(self._model), own_names(onnx.load(self._model)))

    def _read(self) -> dict[str, float]:
        """Microseconds of each layer since the counters were read."""
        found = self._request.profiling_info
        self._executed |= {item.node_name for item in found if item.status == item.Status.EXECUTED}
        try:
            return self._counters.take({item.node_name: round(item.real_time.total_seconds() * 1e6) for item in found})
        except ValueError as error:
            raise _failed(f"counters of this version are no means over all inferences: {error}") from error

    def _renew(self) -> None:
        self._request = self._compiled = None
        self._compiled = import_blob(self._load, _COUNTING)
        self._request = self._compiled.create_infer_request()
        self._counters = Counters()
        for _ in range(_WARM_UP):
            self.infer(self._feeds)
        self._read()


def _failed(reason: str) -> StageError:
    return StageError(f"OpenVINO's profile cannot be read: {reason}", blame="runtime", stage="profile")
