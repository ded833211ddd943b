"""What the values inside a float graph are on the calibration data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..engine import run_graph
from .base import Array, Feeds

__all__ = ["beside_channels", "observe"]


def observe(model: Any, names: Sequence[str], feeds: Feeds) -> Iterator[dict[str, Array]]:
    """For each call of *feeds*, the values *names* of the graph *model*, inputs included, by name."""
    import onnx

    inputs = [value.name for value in model.graph.input]
    inner = [name for name in dict.fromkeys(names) if name not in inputs]
    probe = type(model)()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend([onnx.ValueInfoProto(name=name) for name in inner])
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        path = Path(folder) / "probe.onnx"
        onnx.save(probe, path)
        runs = run_graph(path, feeds) if inner else iter([()] * len(feeds))
        for call, found in zip(feeds, runs, strict=True):
            values = {**dict(zip(inputs, call, strict=True)), **dict(zip(inner, found, strict=True))}
            yield {name: values[name] for name in names}


def beside_channels(array: Array) -> tuple[int, ...]:
    """All axes but that of channels: the second one of arrays of more than two dimensions, else the last."""
    axis = 1 if array.ndim > 2 else array.ndim - 1
    return tuple(place for place in range(array.ndim) if place != axis)
