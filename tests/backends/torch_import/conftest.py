"""Runs small ONNX graphs through the importer and through a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes with their inputs (`feeds`), constants, and the names of their outputs."""

    nodes: Sequence[onnx.NodeProto]
    feeds: Mapping[str, np.ndarray]
    outputs: Sequence[str] = ("y",)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    opset: int = 20

    def model(self) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in self.feeds.items()
        ]
        initializers = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(list(self.nodes), "graph", inputs, outputs, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


Run = Callable[[Graph], list[np.ndarray]]


def _by_reference(graph: Graph) -> list[np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    return [np.asarray(y) for y in ReferenceEvaluator(graph.model()).run(None, dict(graph.feeds))]


def _by_onnxruntime(graph: Graph) -> list[np.ndarray]:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    # What its optimizer fuses is no reference.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), settings)
    return [np.asarray(y) for y in session.run(None, dict(graph.feeds))]


@pytest.fixture(scope="session")
def graph_type() -> type[Graph]:
    """What the other fixtures take."""
    return Graph


@pytest.fixture(scope="session")
def reference() -> Callable[[Graph, str], list[np.ndarray]]:
    """Run a graph by "onnxruntime" or by "onnx", its reference evaluator."""
    return lambda graph, by: {"onnxruntime": _by_onnxruntime, "onnx": _by_reference}[by](graph)


@pytest.fixture(scope="session")
def imported_module(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Graph], Any]:
    """Import a graph; returns what `import_onnx` does."""
    from bakeoff.backends.torch_import import import_onnx

    path: Path = tmp_path_factory.mktemp("import") / "model.onnx"

    def run(graph: Graph) -> Any:
        onnx.save(graph.model(), path)
        return import_onnx(path)

    return run


@pytest.fixture(scope="session")
def imported(imported_module: Callable[[Graph], Any]) -> Run:
    """Import a graph and run it once in torch."""
    import torch

    def run(graph: Graph) -> list[np.ndarray]:
        module = imported_module(graph).module
        with torch.inference_mode():
            return [y.numpy() for y in module(*(torch.from_numpy(x) for x in graph.feeds.values()))]

    return run
