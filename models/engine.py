"""Runs an ONNX graph as it stands, for reference: slow, plain, and with nothing optimised. Child processes only."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["engine_name", "run_graph"]

_ORT_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")


def engine_name() -> str:
    """Name and version of the engine that `run_graph` takes here; nothing heavy is imported to find out."""
    if importlib.util.find_spec("onnxruntime") is None:
        return f"onnx.reference {version('onnx')}"
    for distribution in _ORT_DISTRIBUTIONS:
        try:
            return f"onnxruntime {version(distribution)} (graph optimizations off)"
        except PackageNotFoundError:
            continue
    return "onnxruntime (graph optimizations off)"


def run_graph(
    model: Path, inputs: Iterable[Sequence[NDArray[np.generic]]]
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    """Yield the outputs of the graph in *model* for each of *inputs* (one array a graph input, in the graph's order).

    ONNX Runtime's CPU kernels with one thread and all graph optimisations off where it is installed, else the reference
    evaluator of the onnx package. Raises whatever the engine raises.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        yield from _by_reference(model, inputs)
    else:
        yield from _by_onnxruntime(model, inputs)


def _by_onnxruntime(
    model: Path, inputs: Iterable[Sequence[NDArray[np.generic]]]
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for feeds in inputs:
        yield tuple(np.asarray(out) for out in session.run(None, dict(zip(names, feeds, strict=True))))


def _by_reference(
    model: Path, inputs: Iterable[Sequence[NDArray[np.generic]]]
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))
    for feeds in inputs:
        yield tuple(
            np.asarray(out) for out in evaluator.run(None, dict(zip(evaluator.input_names, feeds, strict=True)))
        )
