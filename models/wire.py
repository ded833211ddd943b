"""What parent and child processes say to each other, as JSON: requests, tensor specs, errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import errors
from .spec import InputSpec, ModelRequest, ModelSpec, ResizeRule, StepRecord, TensorSpec

__all__ = [
    "decode_error",
    "decode_input",
    "decode_records",
    "decode_request",
    "decode_tensors",
    "encode",
    "encode_error",
]


def encode(value: Any) -> Any:
    """A dataclass of `spec` as JSON values."""
    return asdict(value, dict_factory=lambda pairs: {k: str(v) if isinstance(v, Path) else v for k, v in pairs})


def decode_request(data: Mapping[str, Any]) -> ModelRequest:
    """The `ModelRequest` that `encode` wrote."""
    spec = dict(data["spec"])
    spec["input"] = decode_input(spec["input"])
    shapes = tuple((name, tuple(shape)) for name, shape in data["shapes"])
    files = {name: Path(data[name]) if data[name] else None for name in ("training", "settling")}
    changed = {"shapes": shapes, "pruning": tuple(data["pruning"]), **files}
    return ModelRequest(**{**data, "spec": ModelSpec(**spec), **changed})


def decode_input(data: Mapping[str, Any] | None) -> InputSpec | None:
    """The `InputSpec` that `encode` wrote, or None."""
    if data is None:
        return None
    return InputSpec(
        **{
            **data,
            "mean": tuple(data["mean"]),
            "std": tuple(data["std"]),
            "resize": ResizeRule(**data["resize"]),
        }
    )


def decode_tensors(data: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """The `TensorSpec`s that `encode` wrote one by one."""
    return tuple(TensorSpec(**{**item, "shape": tuple(item["shape"])}) for item in data)


def decode_records(data: list[Mapping[str, Any]]) -> tuple[StepRecord, ...]:
    """The `StepRecord`s that `encode` wrote one by one."""
    return tuple(StepRecord(**{**item, "notes": tuple(item["notes"])}) for item in data)


def encode_error(error: errors.BakeoffError) -> dict[str, Any]:
    """Class, text and attributes of one of our errors."""
    return {"class": type(error).__name__, "text": str(error), "attributes": vars(error)}


def decode_error(data: Mapping[str, Any]) -> errors.BakeoffError:
    """The error that `encode_error` wrote: same class, text and attributes."""
    kind = getattr(errors, data["class"])
    # Its constructor took other arguments than the finished text, so it is not called again.
    error = kind.__new__(kind)
    error.args = (data["text"],)
    vars(error).update(data["attributes"])
    assert isinstance(error, errors.BakeoffError)
    return error
