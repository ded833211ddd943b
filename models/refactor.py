"""Refactoring from ONNX to ONNX, as the rest of bakeoff calls it: from the cache, or in a process of its own.

Entries lie in `<cache>/refactor/<key>/` as `model.onnx` and `manifest.json`. The key is the hash of all that goes in:
the model's bytes, the steps as they are spelled, the calibration data, the seed, the versions of the packages, and our
own code.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .cache import commit, hash_file, hash_mapping, lookup, staging
from .child import call
from .data import PreparedData
from .errors import UserError
from .spec import ExportedModel
from .variants import Step
from .wire import decode_records, decode_tensors, encode

__all__ = ["refactor"]

_PACKAGES = (
    "bakeoff", "ml_dtypes", "numpy", "onnx", "onnxruntime", "onnxruntime-directml", "onnxruntime-gpu",
    "onnxruntime-openvino", "onnxslim",
)  # fmt: skip
_QUANTIZED_BY_ONNXRUNTIME = ("int8", "int8-dynamic")
_CODE = ("compare", "engine", "feeds", "graph", "inputs", "refactor_worker", "walk_graph")


def refactor(
    model: ExportedModel,
    steps: Sequence[Step],
    *,
    calibration: PreparedData | None,
    seed: int,
    cache: Path,
    timeout_s: float = 900.0,
) -> ExportedModel:
    """*model* after *steps*, in their order, as a checked ONNX file in *cache* with one more record for each.

    Inputs and outputs keep their names, shapes and types. The result has no probe: the source framework computed that
    of the float model. Raises `UserError` for settings and *calibration* data that do not fit, `UnsupportedError`
    (stage "refactor") for a step that does not apply to this graph, and `StageError` where a step fails, crashes, or
    all take longer than *timeout_s* seconds.
    """
    if not steps:
        return model
    needing = next((step for step in steps if step.kind in _QUANTIZED_BY_ONNXRUNTIME), None)
    if needing is not None and importlib.util.find_spec("onnxruntime") is None:
        what = f"{needing.text} is done by onnxruntime, which is not installed"
        raise UserError(f"{what}; install it with: python -m pip install 'bakeoff[onnxruntime]'")
    key = _key(model, steps, calibration, seed)
    entry = lookup(cache, "refactor", key)
    if entry is None:
        request = {
            "model": str(model.path),
            "sha256": model.sha256,
            "steps": [encode(step) for step in steps],
            "done": len(model.records),
            "provenance": model.provenance,
            "calibration": str(calibration.path) if calibration else None,
            "calibration_sha256": calibration.sha256 if calibration else "",
            "calibration_name": calibration.name if calibration else "",
            "seed": seed,
        }
        entry = _make(request, cache, key, timeout_s)
    return _read(entry, model)


def _key(model: ExportedModel, steps: Sequence[Step], calibration: PreparedData | None, seed: int) -> str:
    folder = Path(__file__).parent
    code = [*sorted((folder / "steps").glob("*.py")), *(folder / f"{name}.py" for name in _CODE)]
    facts = {
        "onnx": model.sha256,
        "steps": [step.text for step in steps],
        "calibration": calibration.sha256 if calibration else "",
        "seed": seed,
        "packages": {name: _version(name) for name in _PACKAGES},
        "code": {path.name: hash_file(path) for path in code},
    }
    return hash_mapping(facts)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _make(request: Mapping[str, Any], cache: Path, key: str, timeout_s: float) -> Path:
    with staging(cache) as work:
        made = work / "entry"
        made.mkdir()
        asked = {**request, "out": str(made), "cache": str(cache)}
        call("bakeoff.models.refactor_worker", asked, timeout_s=timeout_s, stage="refactor")
        return commit(made, cache, "refactor", key)


def _read(entry: Path, model: ExportedModel) -> ExportedModel:
    manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
    return replace(
        model,
        path=entry / "model.onnx",
        sha256=manifest["sha256"],
        inputs=decode_tensors(manifest["inputs"]),
        outputs=decode_tensors(manifest["outputs"]),
        provenance=dict(manifest["provenance"]),
        probe=None,
        notes=(*model.notes, *manifest["notes"]),
        records=(*model.records, *decode_records(manifest["records"])),
        parameters=manifest["parameters"],
        zeros=manifest["zeros"],
    )
