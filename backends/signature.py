"""The inputs and outputs of an ONNX graph, kept beside an artifact.

`compile` writes them into the artifact's folder, so that `load` need not import onnx (its time and memory would
count against the backend).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..models.errors import StageError
from ..models.spec import TensorSpec

__all__ = ["Signature", "load_signature", "read_signature", "save_signature"]

_FILE = "signature.json"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Inputs (without initializers) and outputs of a graph, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_signature(model: Path) -> Signature:
    """Read the signature of the ONNX file *model*; raises `StageError` if a shape in it is not static."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return Signature(
        inputs=tuple(_spec(value) for value in graph.input if value.name not in constants),
        outputs=tuple(_spec(value) for value in graph.output),
    )


def save_signature(folder: Path, signature: Signature) -> None:
    """Write *signature* into the artifact's *folder*."""
    (folder / _FILE).write_text(json.dumps(asdict(signature), indent=1) + "\n", encoding="utf-8")


def load_signature(folder: Path) -> Signature:
    """Read what `save_signature` wrote into *folder*; raises `StageError` if it is not there or damaged."""
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return Signature(inputs=_specs(content["inputs"]), outputs=_specs(content["outputs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"{folder / _FILE} cannot be read: {error}", blame="harness", stage="load") from error


def _specs(items: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=i["name"], shape=tuple(i["shape"]), dtype=i["dtype"]) for i in items)


def _spec(value: Any) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    dims = tensor.shape.dim
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
        raise StageError(f"{value.name!r} has no static shape", blame="exporter", stage="compile")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return TensorSpec(name=value.name, shape=tuple(dim.dim_value for dim in dims), dtype=dtype.name)
