"""What a step from ONNX to ONNX is given and gives back, and how it is found by its kind.

A step is a pure function `apply(model, step, context) -> StepResult` in a module of its own; it leaves the model that
it is given alone. Child processes only: the modules import onnx and onnxruntime.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from ..variants import Step

__all__ = ["STEPS", "Apply", "Array", "Feeds", "StepContext", "StepResult", "apply_step", "versions_of"]

Array = NDArray[np.generic]
Feeds = tuple[tuple[Array, ...], ...]
"""For each call, one array for each input of the graph, in its order."""

STEPS: Mapping[str, str] = {
    "slim": "slim:apply",
    "sparse": "sparse:apply",
    "fp16": "half:apply_fp16",
    "bf16": "half:apply_bf16",
    "int8": "static_int8:apply",
    "settled": "settled:apply",
    "scaled": "static_int8:apply_float",
    "int8-dynamic": "dynamic_int8:apply",
    "int8-weights": "weight_only:apply_int8",
    "int4-weights": "weight_only:apply_int4",
}
"""Kind of a step -> "module:function" in this package."""


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """What a step may use beside the model."""

    calibration: Feeds | None = None
    """Calls to observe activations on; None where there are none."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step made, and how."""

    model: Any
    """The new `onnx.ModelProto`; its inputs and outputs are those of the old one."""
    parameters: Mapping[str, str]
    """All settings, defaults included."""
    versions: Mapping[str, str]
    """Of the libraries that did it."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it changed, counted."""
    notes: tuple[str, ...] = ()


Apply = Callable[[Any, Step, StepContext], StepResult]


def apply_step(model: Any, step: Step, context: StepContext) -> StepResult:
    """Carry out *step* on the ModelProto *model*, and count what it changed.

    Raises `UnsupportedError` (stage "refactor") for a step that does not apply to this graph, `UserError` for settings
    and calibration data that do not fit it.
    """
    from .count import compare_counts, count

    entry = STEPS.get(step.kind)
    if entry is None:
        raise UnsupportedError(f"{step.text} works on a torch module, and this is an ONNX file", stage="refactor")
    name, _, function = entry.partition(":")
    apply: Apply = getattr(importlib.import_module(f".{name}", __package__), function)
    result = apply(model, step, context)
    return replace(result, facts={**compare_counts(count(model), count(result.model)), **result.facts})


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of those *packages* that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # onnxruntime has several distributions, of which one is there
    return found
