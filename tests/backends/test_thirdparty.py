"""A backend from outside the repository registers through an entry point, and fails on demand."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest, LoadRequest
from bakeoff.models.errors import UnsupportedError
from onnx import TensorProto, helper

_FEED = np.array([[-1.0, 0.0, 2.0]], np.float32)

_CHILD = """
import sys
import numpy as np
from pathlib import Path
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest, LoadRequest

model, out, *options = sys.argv[1:]
options = dict(option.split("=") for option in options)
backend = registry.get("numpy_reference")
backend.compile(CompileRequest(model=Path(model), out=Path(out), options=options))
print("compiled", flush=True)
session = backend.load(LoadRequest(artifact=Path(out), options=options))
print("loaded", flush=True)
session.infer([np.zeros((1, 3), np.float32)])
print("inferred", flush=True)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX file: Relu of a 1x3 tensor."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", value[:1], value[1:])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def _outputs(model: Path, options: dict[str, str], calls: int = 1) -> list[np.ndarray]:
    out = model.parent / "artifact"
    out.mkdir()
    backend = registry.get("numpy_reference")
    backend.compile(CompileRequest(model=model, out=out, options=options))
    session = backend.load(LoadRequest(artifact=out, options=options))
    outputs = [np.array(session.infer([_FEED + i])[0]) for i in range(calls)]
    session.close()
    return outputs


def _command(model: Path, *options: str) -> list[str]:
    out = model.parent / "artifact"
    out.mkdir()
    return [sys.executable, "-c", _CHILD, str(model), str(out), *options]


def _ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (number - 1) & 1)


def test_registers_through_its_entry_point(thirdparty: Path) -> None:
    """An installed package's backend is listed after bakeoff's own and can be had by name."""
    assert "numpy_reference" == registry.names()[-1]
    assert "numpy_reference" == registry.get("numpy_reference").name


@pytest.mark.usefixtures("thirdparty")
def test_infers(model: Path) -> None:
    """Without a fault its outputs are right."""
    assert [[0.0, 0.0, 2.0]] == _outputs(model, {})[0].tolist()


@pytest.mark.usefixtures("thirdparty")
@pytest.mark.parametrize("kind", ["wrong", "nan", "cached"])
def test_wrong_outputs_begin_when_asked(model: Path, kind: str) -> None:
    """A fault of the outputs begins after as many good inferences as `after` says."""
    first, second, third = _outputs(model, {"fault": kind, "after": "2"}, calls=3)

    assert [[0.0, 0.0, 2.0]] == first.tolist()
    assert [[0.0, 1.0, 3.0]] == second.tolist()
    assert [[1.0, 2.0, 4.0]] != third.tolist()


@pytest.mark.usefixtures("thirdparty")
@pytest.mark.parametrize(
    ("kind", "code"),
    [("segfault", -signal.SIGSEGV), ("abort", -signal.SIGABRT), ("kill", -signal.SIGKILL), ("exit", 3)],
)
def test_dies(model: Path, kind: str, code: int) -> None:
    """A deadly fault ends the process in its own way, at the stage asked for."""
    done = subprocess.run(
        _command(model, f"fault={kind}", "stage=load"), stdout=subprocess.PIPE, text=True, check=False
    )

    assert code == done.returncode
    assert "compiled\n" == done.stdout


@pytest.mark.usefixtures("thirdparty")
def test_hangs(model: Path) -> None:
    """The most stubborn hang survives SIGTERM and ends by SIGKILL only."""
    with subprocess.Popen(_command(model, "fault=stubborn", "stage=load"), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "compiled\n" == child.stdout.readline()
        while not _ignores(child.pid, signal.SIGTERM):
            assert child.poll() is None
            time.sleep(0.01)
        child.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.1)
        child.kill()
        assert -signal.SIGKILL == child.wait()


@pytest.mark.usefixtures("thirdparty")
@pytest.mark.parametrize(
    ("options", "word"),
    [({"flaut": "wrong"}, "flaut"), ({"fault": "odd"}, "odd"), ({"stage": "odd"}, "odd"), ({"after": "x"}, "after")],
)
def test_bad_options_are_refused(model: Path, options: dict[str, str], word: str) -> None:
    """An option that does not exist, or a bad value, is an `OptionError` that names it."""
    with pytest.raises(UnsupportedError, match=word):
        _outputs(model, options)
