"""The refactoring process: `python -m bakeoff.models.refactor_worker SCRATCH PARENT_PID` (see `child`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cache import hash_file
from .child import serve
from .errors import StageError
from .feeds import feeds_of
from .graph import MAX_BYTES, infer, name_nodes, stamp, strip, tensor_specs
from .spec import StepRecord
from .steps.base import Feeds, StepContext, StepResult, apply_step
from .steps.count import count
from .variants import Step
from .wire import encode

__all__ = ["work"]


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out the request's steps on its model and write the result into its folder `out`; return the manifest."""
    import onnx

    out = Path(request["out"])
    path = out / "model.onnx"
    model = onnx.load(request["model"])
    provenance, sha256 = dict(request["provenance"]), str(request["sha256"])
    context = StepContext(calibration=_calibration(request, model), seed=request["seed"])
    records, notes = [], []
    for number, step in enumerate((Step(**item) for item in request["steps"]), start=request["done"] + 1):
        result = apply_step(model, step, context)
        provenance[f"step.{number}"] = _stamp(step, result, request)
        model, odd = _finished(result.model, model, provenance, step)
        path.write_bytes(model.SerializeToString(deterministic=True))
        made = hash_file(path)
        records.append(_record(step, result, request, sha256, made))
        notes += [f"{step.text}: {note}" for note in (*result.notes, *odd)]
        sha256 = made
    counted = count(model)
    manifest = {
        "sha256": sha256,
        "inputs": [encode(tensor) for tensor in tensor_specs(model.graph.input)],
        "outputs": [encode(tensor) for tensor in tensor_specs(model.graph.output)],
        "provenance": provenance,
        "notes": notes,
        "records": [encode(record) for record in records],
        "parameters": counted.parameters,
        "zeros": counted.zeros,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    return manifest


def _calibration(request: Mapping[str, Any], model: Any) -> Feeds | None:
    """The calibration data cut into calls of the graph's own batch."""
    if request["calibration"] is None:
        return None
    batch = tensor_specs(model.graph.input)[0].shape[:1]
    return tuple(feeds for _, feeds in feeds_of(Path(request["calibration"]), batch[0] if batch else 1))


def _finished(made: Any, before: Any, provenance: Mapping[str, str], step: Step) -> tuple[Any, tuple[str, ...]]:
    """*made* named, checked, inferred and stamped, and notes; its signature must be that of *before*."""
    import onnx

    strip(made)
    name_nodes(made.graph)
    used = {node.domain.replace("ai.onnx", "") for node in made.graph.node}
    kept = [entry for entry in made.opset_import if entry.domain.replace("ai.onnx", "") in used | {""}]
    del made.opset_import[:]
    made.opset_import.extend(sorted(kept, key=lambda entry: entry.domain))
    notes: tuple[str, ...] = ()
    try:
        done = infer(made, strict=True)
    except onnx.shape_inference.InferenceError as error:
        notes = (f"strict shape inference failed: {' '.join(str(error).split())[:200]}",)
        done = infer(made, strict=False)
    for what in ("input", "output"):
        old, new = (tensor_specs(getattr(model.graph, what)) for model in (before, done))
        if old != new:
            text = f"{step.text} changed the graph's {what}s from {old} to {new}"
            raise StageError(text, blame="converter", stage="refactor")
    if done.ByteSize() > MAX_BYTES:
        raise StageError(f"{step.text}: {done.ByteSize()} bytes do not fit into one ONNX file", stage="refactor")
    done.producer_name, done.producer_version = "bakeoff", provenance.get("bakeoff", "")
    stamp(done, provenance)
    return done, notes


def _stamp(step: Step, result: StepResult, request: Mapping[str, Any]) -> str:
    by = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    data = f"; calibrated on {request['calibration_sha256']}" if "calibration" in result.parameters else ""
    return f"{step.text} (seed {request['seed']}; {by}{data})"


def _record(step: Step, result: StepResult, request: Mapping[str, Any], before: str, after: str) -> StepRecord:
    parameters = {name: value for name, value in result.parameters.items() if value}
    if "calibration" in result.parameters:
        parameters |= {"data": request["calibration_name"], "data sha256": request["calibration_sha256"]}
    return StepRecord(
        step=step.text,
        parameters=parameters,
        seed=request["seed"],
        versions=result.versions,
        input_sha256=before,
        output_sha256=after,
        facts=result.facts,
        notes=result.notes,
    )


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
