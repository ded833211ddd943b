"""Small ONNX files, and sessions loaded in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

_CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from bakeoff.backends import registry
from bakeoff.backends.base import LoadRequest

name, artifact, threads, options = sys.argv[1:]
with np.load(artifact + "/../feeds.npz", allow_pickle=False) as stored:
    feeds = [stored[key] for key in stored.files]
request = LoadRequest(artifact=Path(artifact), threads=int(threads), options=json.loads(options))
session = registry.get(name).load(request)
first = [np.array(y) for y in session.infer(feeds)]
again = session.infer(feeds)
executed = session.executed()
np.savez(artifact + "/../outputs.npz", *first)
facts = {
    "same": all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)),
    "modules": sorted(sys.modules), "precision": executed.precision, "threads": executed.threads,
    "fallbacks": executed.fallbacks, "marks": executed.marks, "details": dict(executed.details),
}
session.close()
print(json.dumps(facts))
"""


def _value(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _save(path: Path, nodes: Any, inputs: Any, outputs: Any, constants: Mapping[str, np.ndarray]) -> Path:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def convolution(tmp_path: Path) -> Path:
    """A convolution with Relu, global pooling and a classifier; input (1, 3, 16, 16)."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v", "u"], ["y"], name="fc", transB=1),
    ]
    shapes = {"w": (16, 3, 3, 3), "b": (16,), "v": (10, 16), "u": (10,)}
    constants = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return _save(tmp_path / "conv.onnx", nodes, [_value("x", (1, 3, 16, 16))], [_value("y", (1, 10))], constants)


@pytest.fixture
def residual(tmp_path: Path) -> Path:
    """Two convolutions, whose sum goes through Relu and pooling into a classifier; input (1, 3, 16, 16)."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "w2", "b"], ["d"], name="out", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d", "r"], ["s"], name="add"),
        helper.make_node("Relu", ["s"], ["t"], name="last"),
        helper.make_node("GlobalAveragePool", ["t"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v", "u"], ["y"], name="fc", transB=1),
    ]
    shapes = {"w": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "b": (16,), "v": (10, 16), "u": (10,)}
    constants = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return _save(tmp_path / "residual.onnx", nodes, [_value("x", (1, 3, 16, 16))], [_value("y", (1, 10))], constants)


@pytest.fixture
def pooled(tmp_path: Path) -> Path:
    """Convolutions with Relu, before pooling with pads, and without, before another one; input (1, 3, 16, 16)."""
    random = np.random.default_rng(0)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="above", **window),
        helper.make_node("Conv", ["p", "w2", "b"], ["d"], name="out", pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["d"], ["y"], name="either", **window),
    ]
    shapes = {"w": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "b": (16,)}
    constants = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    ends = [_value("x", (1, 3, 16, 16))], [_value("y", (1, 16, 4, 4))]
    return _save(tmp_path / "pooled.onnx", nodes, *ends, constants)


@pytest.fixture
def two_ways(tmp_path: Path) -> Path:
    """Two inputs of different shapes, three outputs of different dtypes, in an order that shows mistakes."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"], name="add"),
        helper.make_node("Relu", ["b"], ["second"], name="relu"),
        helper.make_node("ArgMax", ["sum"], ["third"], name="argmax", axis=1, keepdims=0),
        helper.make_node("Sub", ["a", "b"], ["first"], name="sub"),
    ]
    inputs = [_value("a", (1, 3, 4, 5)), _value("b", (1, 3, 1, 5))]
    outputs = [_value("first", (1, 3, 4, 5)), _value("second", (1, 3, 1, 5))]
    outputs.append(_value("third", (1, 4, 5), TensorProto.INT64))
    return _save(tmp_path / "two.onnx", nodes, inputs, outputs, {})


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """A QDQ convolution as quantizers write it; input (1, 16, 12, 12)."""
    random = np.random.default_rng(0)
    scales = random.uniform(0.01, 0.02, 16).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], name="xq"),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"], name="xd"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="wd", axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], name="bd", axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "rs", "rz"], ["rq"], name="rq"),
        helper.make_node("DequantizeLinear", ["rq", "rs", "rz"], ["y"], name="rd"),
    ]
    constants: dict[str, np.ndarray] = {
        "xs": np.array(0.02, np.float32),
        "xz": np.array(128, np.uint8),
        "w": random.integers(-60, 61, (16, 16, 3, 3), dtype=np.int8),
        "ws": scales,
        "wz": np.zeros(16, np.int8),
        "b": random.integers(-500, 500, 16, dtype=np.int32),
        "bs": scales * np.float32(0.02),
        "bz": np.zeros(16, np.int32),
        "rs": np.array(0.2, np.float32),
        "rz": np.array(0, np.uint8),
    }
    inputs, outputs = [_value("x", (1, 16, 12, 12))], [_value("y", (1, 16, 12, 12))]
    return _save(tmp_path / "int8.onnx", nodes, inputs, outputs, constants)


@pytest.fixture
def lacking(tmp_path: Path) -> Path:
    """A graph with an operator that the importer lacks."""
    nodes = [helper.make_node("Det", ["x"], ["y"], name="the_det")]
    return _save(tmp_path / "det.onnx", nodes, [_value("x", (2, 2))], [_value("y", ())], {})


@pytest.fixture
def feeds() -> Callable[[Path], list[np.ndarray]]:
    """Random inputs for an ONNX file."""

    def make(model: Path) -> list[np.ndarray]:
        random = np.random.default_rng(1)
        shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in onnx.load(model).graph.input]
        return [random.standard_normal(shape).astype(np.float32) for shape in shapes]

    return make


@pytest.fixture
def expected(feeds: Callable[[Path], list[np.ndarray]]) -> Callable[[Path], list[np.ndarray]]:
    """ONNX Runtime's outputs for the same inputs."""

    def run(model: Path) -> list[np.ndarray]:
        import onnxruntime

        session = onnxruntime.InferenceSession(model)
        names = [value.name for value in session.get_inputs()]
        return [np.asarray(y) for y in session.run(None, dict(zip(names, feeds(model), strict=True)))]

    return run


@pytest.fixture
def in_fresh_process(
    feeds: Callable[[Path], list[np.ndarray]],
) -> Callable[..., tuple[list[np.ndarray], dict[str, Any]]]:
    """Load an artifact and infer twice in a new process; returns the outputs and what the session says of itself."""

    def run(
        backend: str, model: Path, artifact: Path, threads: int = 1, options: Mapping[str, str] | None = None
    ) -> tuple[list[np.ndarray], dict[str, Any]]:
        np.savez(artifact.parent / "feeds.npz", *feeds(model))
        command = [sys.executable, "-c", _CHILD, backend, str(artifact), str(threads), json.dumps(dict(options or {}))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr
        with np.load(artifact.parent / "outputs.npz", allow_pickle=False) as stored:
            return [stored[key] for key in stored.files], json.loads(done.stdout)

    return run


@pytest.fixture
def same() -> Callable[..., None]:
    """Compare outputs: number, shapes, dtypes, values to *tolerance* of the largest."""

    def compare(expected: list[np.ndarray], got: list[np.ndarray], tolerance: float = 2e-6) -> None:
        assert [(y.shape, y.dtype) for y in expected] == [(y.shape, y.dtype) for y in got]
        for right, ours in zip(expected, got, strict=True):
            np.testing.assert_allclose(ours, right, rtol=0, atol=tolerance * max(1.0, float(np.abs(right).max())))

    return compare


@pytest.fixture
def reproduced(feeds: Callable[[Path], list[np.ndarray]]) -> Callable[[str, Path], list[np.ndarray]]:
    """Run a reproducer's source with one thread on the usual inputs."""

    def run(source: str, model: Path) -> list[np.ndarray]:
        scope: dict[str, Any] = {}
        exec(compile(source, "reproducer.py", "exec"), scope)
        return list(scope["build"](str(model), 1)(feeds(model)))

    return run
