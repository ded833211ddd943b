"""The work of an ONNX file, counted in a process of its own (see `work_worker`), so the parent never imports onnx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .child import call
from .work import ModelWork, NodeWork
from .work_flow import Traffic

__all__ = ["decode_work", "encode_work", "read_work"]

_LIMIT_S = 300.0


def read_work(model: Path) -> ModelWork:
    """The work of one inference of the ONNX file *model*, with the batch that it has.

    Raises `UserError` where shapes are not static, `StageError` where the file cannot be read, or takes too long.
    """
    request = {"model": str(model), "cache": str(model.parent)}
    return decode_work(call("bakeoff.models.work_worker", request, timeout_s=_LIMIT_S, stage="profile"))


def encode_work(work: ModelWork) -> dict[str, Any]:
    """*work* as JSON values."""
    return {
        "nodes": [asdict(node) for node in work.nodes],
        "uncounted": work.uncounted,
        "traffic": {name: asdict(traffic) for name, traffic in work.traffic.items()},
        "readers": {value: sorted(names) for value, names in work.readers.items()},
        "outputs": sorted(work.outputs),
        "widths": dict(work.widths),
    }


def decode_work(data: Mapping[str, Any]) -> ModelWork:
    """The work that `encode_work` wrote."""
    return ModelWork(
        nodes=tuple(NodeWork(**node) for node in data["nodes"]),
        uncounted=tuple(data["uncounted"]),
        traffic={name: Traffic(**traffic) for name, traffic in data["traffic"].items()},
        readers={value: frozenset(names) for value, names in data["readers"].items()},
        outputs=frozenset(data["outputs"]),
        widths=data["widths"],
    )
