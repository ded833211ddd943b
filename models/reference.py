"""Reference outputs of an exported model, and the check of the exporter itself.

They come from the plainest way there is to run the graph (see `engine`), in a process of its own, and are cached by
the sha256 of the model, of the inputs' bytes, and the engine's version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .cache import commit, hash_mapping, lookup, staging
from .child import call
from .compare import Comparison, compare, tolerance_for
from .engine import engine_name
from .spec import ExportedModel

__all__ = ["ProbeCheck", "Reference", "check_probe", "compute_reference", "load_arrays", "save_arrays"]

_CONSTANT = 1e-6
"""Outputs of different inputs that lie closer than this, relatively, count as the same."""

Array = NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a model should compute for given inputs."""

    outputs: tuple[tuple[Array, ...], ...]
    """For each input, one array for each graph output, in the graph's order."""
    engine: str
    """What computed them, with its version."""
    notes: tuple[str, ...] = ()
    """What makes them a weak reference: NaN, infinities, outputs that do not depend on the input."""


@dataclass(frozen=True, kw_only=True)
class ProbeCheck:
    """How far the exported graph lies from the framework that it was exported from, on the probe's input."""

    comparison: Comparison
    tolerance: float
    engine: str

    @property
    def passed(self) -> bool:
        """False where the exporter is to blame: the graph computes something else than the module."""
        return self.comparison.within(self.tolerance)


def compute_reference(
    model: ExportedModel, inputs: Sequence[tuple[Array, ...]], cache: Path, *, timeout_s: float = 900.0
) -> Reference:
    """Reference outputs of *model* for each of *inputs* (arrays in the order of `model.inputs`), cached in *cache*.

    Raises `StageError` (stage "reference") where the engine fails, crashes, or takes longer than *timeout_s* seconds.
    """
    engine = engine_name()
    key = hash_mapping({"onnx": model.sha256, "inputs": _hash_inputs(inputs), "engine": engine})
    entry = lookup(cache, "reference", key)
    if entry is None:
        entry = _compute(model, inputs, cache, key, timeout_s)
    outputs = load_arrays(entry / "reference.npz", len(model.outputs))
    return Reference(outputs=outputs, engine=engine, notes=_weaknesses(model, outputs))


def check_probe(model: ExportedModel, cache: Path, *, timeout_s: float = 900.0) -> ProbeCheck | None:
    """Compare the exported graph with the source framework's own output; None where the model has no probe.

    Raises what `compute_reference` raises.
    """
    if model.probe is None:
        return None
    with np.load(model.probe, allow_pickle=False) as probe:
        feeds = tuple(probe[f"input_{index}"] for index in range(len(model.inputs)))
        expected = [probe[f"output_{index}"] for index in range(len(model.outputs))]
    reference = compute_reference(model, [feeds], cache, timeout_s=timeout_s)
    comparison = compare(reference.outputs[0], expected)
    return ProbeCheck(comparison=comparison, tolerance=tolerance_for("fp32"), engine=reference.engine)


def save_arrays(path: Path, sets: Sequence[Sequence[Array]]) -> None:
    """Write *sets* of arrays to the .npz file *path*; `load_arrays` reads them back."""
    named = {f"{row}_{column}": array for row, arrays in enumerate(sets) for column, array in enumerate(arrays)}
    np.savez(path, allow_pickle=False, **named)


def load_arrays(path: Path, width: int) -> tuple[tuple[Array, ...], ...]:
    """The sets of *width* arrays each that `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        rows = len(stored.files) // width
        return tuple(tuple(stored[f"{row}_{column}"] for column in range(width)) for row in range(rows))


def _compute(
    model: ExportedModel, inputs: Sequence[tuple[Array, ...]], cache: Path, key: str, timeout_s: float
) -> Path:
    with staging(cache) as work:
        made, feeds = work / "entry", work / "inputs.npz"
        made.mkdir()
        save_arrays(feeds, inputs)
        request = {
            "model": str(model.path),
            "inputs": str(feeds),
            "width": len(model.inputs),
            "out": str(made / "reference.npz"),
            "cache": str(cache),
        }
        call("bakeoff.models.reference_worker", request, timeout_s=timeout_s, stage="reference")
        return commit(made, cache, "reference", key)


def _hash_inputs(inputs: Sequence[Sequence[Array]]) -> str:
    digest = hashlib.sha256()
    for feeds in inputs:
        for array in feeds:
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _weaknesses(model: ExportedModel, outputs: Sequence[Sequence[Array]]) -> tuple[str, ...]:
    notes = []
    for index, tensor in enumerate(model.outputs):
        values = [row[index] for row in outputs]
        if any(not np.isfinite(value.astype(np.float64)).all() for value in values):
            notes.append(f"output {tensor.name!r} of the reference holds NaN or infinite values")
        elif len(values) > 1 and all(
            compare([right], [left]).max_rel_error < _CONSTANT for left, right in combinations(values, 2)
        ):
            notes.append(f"output {tensor.name!r} is the same for all {len(values)} inputs: comparing it shows little")
    return tuple(notes)
