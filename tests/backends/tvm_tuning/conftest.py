"""A small net to tune, and what runs code with tvm, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

CHANNELS = 16


def _net() -> onnx.ModelProto:
    """Convolutions of three kinds, squeeze-and-excite with swish and sigmoid, pooling, a mean, a dense layer."""
    rng = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []

    def constant(name: str, *shape: int) -> str:
        fan = max(1, int(np.prod(shape[1:])))
        array = (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(array, name))
        return name

    def conv(data: str, out: str, name: str, shape: tuple[int, ...], **attributes: object) -> onnx.NodeProto:
        parts = [data, constant(f"{name}_w", *shape), constant(f"{name}_b", shape[0])]
        return helper.make_node("Conv", parts, [out], name=name, **attributes)

    c = CHANNELS
    nodes = [
        conv("x", "a", "stem", (c, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("b", "c", "same", (c, c, 3, 3), pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        conv("e", "f", "depth", (c, 1, 3, 3), pads=[1, 1, 1, 1], group=c),
        helper.make_node("Sigmoid", ["f"], ["g"]),
        helper.make_node("Mul", ["f", "g"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["i"]),
        conv("i", "j", "squeeze", (4, c, 1, 1)),
        helper.make_node("Relu", ["j"], ["k"]),
        conv("k", "l", "excite", (c, 4, 1, 1)),
        helper.make_node("Sigmoid", ["l"], ["m"]),
        helper.make_node("Mul", ["h", "m"], ["n"]),
        helper.make_node("MaxPool", ["n"], ["o"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["o"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", constant("fc_w", 10, c), constant("fc_b", 10)], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "tiny.onnx"
    onnx.save(_net(), path)
    return path


_COMPILE_AND_RUN = """
import json, sys
from pathlib import Path
import numpy as np
from bakeoff.backends.base import CompileRequest, LoadRequest
from bakeoff.backends.tvm import TvmBackend
model, out, records = sys.argv[1:4]
Path(out).mkdir()
options = {"records": records}
notes = TvmBackend().compile(CompileRequest(model=Path(model), out=Path(out), options=options))
session = TvmBackend().load(LoadRequest(artifact=Path(out), options=options))
feed = np.random.default_rng(1).random((1, 3, 28, 28), dtype=np.float32)
(output,) = session.infer([feed])
facts = session.executed()
print(json.dumps([np.asarray(output).tolist(), list(facts.marks), dict(facts.details), list(notes)]))
"""


class Computed(NamedTuple):
    """What a compiled net gives, and what is told of it."""

    output: np.ndarray
    marks: list[str]
    details: dict[str, Any]
    notes: list[str]


class Lab:
    """Runs code in fresh processes: tvm comes into none of pytest's."""

    channels = CHANNELS
    """Of the net's convolutions."""

    def run(self, code: str, *arguments: object) -> str:
        """What it prints."""
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr[-3000:]
        return done.stdout

    def compute(self, net: Path, out: Path, records: Path | str) -> Computed:
        """Compile *net* into *out* with these records, and run it on a random image."""
        output, *told = json.loads(self.run(_COMPILE_AND_RUN, net, out, records))
        return Computed(np.asarray(output), *told)

    def reference(self, net: Path) -> np.ndarray:
        """What ONNX Runtime computes of the same image."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(net), providers=["CPUExecutionProvider"])
        feed = np.random.default_rng(1).random((1, 3, 28, 28), dtype=np.float32)
        return np.asarray(session.run(None, {"x": feed})[0])


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Runs code with tvm."""
    return Lab()
