"""A machine of one's own for each test: home, store, lock and working directory in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Runs the installed `bakeoff` command with nothing shared with the user's own folders."""

    home: Path
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("bakeoff")), *words]

    def run(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            cwd=self.home,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if expect is not None:
            assert expect == done.returncode, done.stdout + done.stderr
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*words),
            cwd=self.home,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def show(self, run: str = "latest") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("show", run, "--json").stdout)
        return found

    def write(self, name: str, text: str) -> str:
        (self.home / name).write_text(text)
        return name


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What may be kept from test to test: artifacts by their content, and the measured peaks of this machine."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For temporary files, one for all processes that run tests.

    torch keeps its precompiled headers there; making them takes as long as compiling a small model does.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def sandbox(tmp_path: Path, shared: Path, scratch: Path, thirdparty: Path) -> Sandbox:
    """The `bakeoff` command with the third-party backend `numpy_reference` installed beside the built-in ones."""
    lock = tmp_path / "lock"
    lock.mkdir()
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(shared / "cache"),
        "XDG_DATA_HOME": str(shared / "data"),
        "TMPDIR": str(scratch),
        "BAKEOFF_LOCK_FOLDER": str(lock),
        "BAKEOFF_CACHE": str(shared / "artifacts"),
        "BAKEOFF_STORE": str(tmp_path / "store.sqlite3"),
    }
    return Sandbox(home=tmp_path, environment=environment)


@pytest.fixture
def tiny_onnx(tmp_path: Path) -> str:
    """A small convolutional classifier, 1x3x16x16 -> 1x5, by its path relative to the sandbox."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((8, 3, 3, 3), dtype=np.float32),
        "f": rng.standard_normal((5, 8), dtype=np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], name="conv"),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
            helper.make_node("Flatten", ["c"], ["d"], name="flatten"),
            helper.make_node("Gemm", ["d", "f"], ["y"], transB=1, name="head"),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "tiny.onnx")
    return "tiny.onnx"
