"""A quick look at what tuning brought: the same net untuned and tuned, timed one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.errors import CellError
from ..models.inputs import make_inputs
from ..models.spec import ExportedModel
from .plan import CellSpec
from .process import Worker, WorkerSettings

__all__ = ["Look", "look"]

_COMPILE_S = 900.0
_CALLS_S = 120.0
_WARM_UP = {"window": 5, "tolerance": 0.02, "cap_s": 2.0}


@dataclass(frozen=True, kw_only=True)
class Look:
    """Median latency in milliseconds when warm-up became steady; not interleaved, so good for a summary only."""

    untuned_ms: float | None
    tuned_ms: float | None
    problem: str = ""
    """Why one of them is missing."""


def look(
    model: ExportedModel, cell: CellSpec, options: Mapping[str, str], settings: WorkerSettings, *, scratch: Path
) -> Look:
    """Compile *model* without records and with those of *options*, and time both, in workers with *settings*."""
    found: dict[str, float] = {}
    problem = ""
    for name, chosen in (("untuned", {"records": "none"}), ("tuned", dict(options))):
        try:
            found[name] = _latency_ms(model, cell, chosen, settings, scratch)
        except CellError as error:
            problem = f"{name}: {error.reason}"
    return Look(untuned_ms=found.get("untuned"), tuned_ms=found.get("tuned"), problem=problem)


def _latency_ms(
    model: ExportedModel, cell: CellSpec, options: Mapping[str, str], settings: WorkerSettings, scratch: Path
) -> float:
    place = Path(tempfile.mkdtemp(prefix="look-", dir=scratch))
    out = place / "artifact"
    out.mkdir()
    asked = {"backend": cell.backend, "device": cell.device, "threads": cell.threads, "options": dict(options)}
    with Worker(settings, place / "compile.log") as worker:
        worker.greet()
        worker.ask({"op": "compile", "model": str(model.path), "out": str(out), **asked}, limit_s=_COMPILE_S)
    inputs = place / "inputs.npz"
    (feeds,) = make_inputs(model.inputs, model.input, count=1, seed=0, images=None)
    np.savez(inputs, allow_pickle=False, **{f"input_0_{number}": array for number, array in enumerate(feeds)})
    with Worker(settings, place / "time.log") as worker:
        worker.greet()
        worker.ask({"op": "load", "artifact": str(out), **asked}, limit_s=_CALLS_S)
        worker.ask({"op": "inputs", "path": str(inputs), "count": 1, "tolerance": 1.0}, limit_s=_CALLS_S)
        answer = worker.ask({"op": "warm", **_WARM_UP}, limit_s=_CALLS_S)
    return float(answer["median_ns"]) / 1e6
