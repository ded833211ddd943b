"""Profiles of small ONNX files, taken in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.backends.contract.nets import write_nets
from bakeoff.backends.profile_graph import ProfiledGraph
from onnx import TensorProto, helper, numpy_helper

_CHILD = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import numpy as np
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest, LoadRequest

name, model, folder = sys.argv[1:]
backend, out = registry.get(name), Path(folder)
options = dict(backend.profiling_options(CompileRequest(model=Path(model), out=out)))
backend.compile(CompileRequest(model=Path(model), out=out, options=options))
session = backend.load_profiled(LoadRequest(artifact=out, options=options), Path(model))
feeds = [np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype) for spec in session.inputs]
for call in range(5):
    session.infer(feeds)
    if call != 2:
        session.collect()
rows = [asdict(row) for row in session.rows()]
session.close()
print(json.dumps(rows))
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a row tells."""

    name: str
    nodes: tuple[str, ...]
    role: str
    times_ms: tuple[float, ...]
    reads: tuple[int, ...]
    weight_shape: tuple[int, ...] | None
    precision: str


Taken = Callable[[str, Path], tuple[ProfiledGraph, list[Found]]]


@pytest.fixture
def profiled(tmp_path: Path) -> Taken:
    """Compiles a model for a backend and returns its graph, and its rows after five inferences, four of which count."""

    def take(backend: str, model: Path) -> tuple[ProfiledGraph, list[Found]]:
        artifact = tmp_path / "artifact"
        artifact.mkdir()
        command = [sys.executable, "-c", _CHILD, backend, str(model), str(artifact)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert 0 == done.returncode, done.stderr
        rows = [
            Found(
                name=row["name"],
                nodes=tuple(claim["node"] for claim in row["claims"]),
                role=row["role"],
                times_ms=tuple(row["times_ms"]),
                reads=tuple(row["reads"]),
                weight_shape=None if row["weight_shape"] is None else tuple(row["weight_shape"]),
                precision=row["precision"],
            )
            for row in json.loads(done.stdout.splitlines()[-1])
        ]
        return ProfiledGraph(onnx.load(model)), rows

    return take


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """A folder with the nets of the contract."""
    write_nets(tmp_path)
    return tmp_path


@pytest.fixture
def equal_convolutions(tmp_path: Path) -> Path:
    """Convolutions "once" and "again" of the same input, by weights of the same content under two names."""
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="once"),
        helper.make_node("Conv", ["x", "v"], ["b"], name="again"),
        helper.make_node("Max", ["a", "b"], ["y"], name="larger"),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6, 6])
    tensors = [numpy_helper.from_array(weights, name) for name in "wv"]
    graph = helper.make_graph(nodes, "g", [source], [sink], initializer=tensors)
    path = tmp_path / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path
