"""A tiny model with inputs and reference outputs, and workers that never outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest
from bakeoff.harness.process import Worker, WorkerSettings
from bakeoff.harness.protocol import Message
from onnx import TensorProto, helper, numpy_helper

INPUTS = 4
LIMIT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Net:
    """max(x W + b, 0) for a 1x8 tensor: its ONNX file, and an .npz with inputs and reference outputs."""

    model: Path
    io: Path
    inputs: int = INPUTS


@dataclass(kw_only=True)
class Lab:
    """Makes artifacts and workers of `net` with the backend `numpy_reference`."""

    net: Net
    folder: Path
    workers: list[Worker] = field(default_factory=list)

    def worker(self, settings: WorkerSettings | None = None) -> Worker:
        """A fresh worker."""
        worker = Worker(settings or WorkerSettings(), self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def artifact(self, backend: str = "numpy_reference") -> Path:
        """Folder of the compiled model; faults are no part of it."""
        out = self.folder / f"artifact-{backend}"
        if not out.exists():
            out.mkdir()
            registry.get(backend).compile(CompileRequest(model=self.net.model, out=out))
        return out

    def compile(self, worker: Worker, options: Mapping[str, str], *, limit_s: float = LIMIT_S) -> Message:
        """Compile in *worker*."""
        out = self.folder / f"compiled-{len(self.workers)}"
        out.mkdir()
        places = {"model": str(self.net.model), "out": str(out)}
        return self._ask(worker, "compile", options, places, limit_s)

    def load(self, worker: Worker, options: Mapping[str, str], *, limit_s: float = LIMIT_S) -> Message:
        """Load in *worker* what `artifact` made."""
        return self._ask(worker, "load", options, {"artifact": str(self.artifact())}, limit_s)

    def ready(self, options: Mapping[str, str], settings: WorkerSettings | None = None) -> Worker:
        """A worker that has loaded the model and its inputs."""
        worker = self.worker(settings)
        self.load(worker, options)
        worker.ask(
            {"op": "inputs", "path": str(self.net.io), "count": self.net.inputs, "tolerance": 1e-3}, limit_s=LIMIT_S
        )
        return worker

    def _ask(
        self, worker: Worker, operation: str, options: Mapping[str, str], places: Mapping[str, str], limit_s: float
    ) -> Message:
        request = {"op": operation, "backend": "numpy_reference", "device": "cpu", "threads": 1}
        return worker.ask({**request, **places, "options": dict(options)}, limit_s=limit_s)


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    """See `Net`."""
    folder = tmp_path_factory.mktemp("net")
    random = np.random.default_rng(0)
    weights = random.standard_normal((8, 4)).astype(np.float32)
    bias = random.standard_normal(4).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), model)
    arrays = {}
    for index in range(INPUTS):
        arrays[f"input_{index}_0"] = random.standard_normal((1, 8)).astype(np.float32)
        arrays[f"output_{index}_0"] = np.maximum(arrays[f"input_{index}_0"] @ weights + bias, 0.0)
    np.savez(folder / "io.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for flags
    return Net(model=model, io=folder / "io.npz")


@pytest.fixture
def lab(net: Net, tmp_path: Path, thirdparty: Path) -> Iterator[Lab]:
    """See `Lab`; at the end every worker is killed, and nothing of it may be left."""
    found = Lab(net=net, folder=tmp_path)
    yield found
    for worker in found.workers:
        worker.kill()
    assert [] == [worker.pid for worker in found.workers if psutil.pid_exists(worker.pid)]


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], bool]:
    """Whether a condition comes true within a bound so wide that only a hang can miss it."""
    import time

    def wait(condition: Callable[[], object]) -> bool:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    return wait
