"""What is particular to one runtime; the rest is in the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bakeoff.backends.contract import Workbench
from bakeoff.backends.host import host_features

pytestmark = pytest.mark.slow


def _python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def _executed(bench: Workbench, **settings: object) -> dict[str, object]:
    step = {**bench.request("plain"), **settings}
    (compiled,) = bench.steps({"do": "compile", **step})
    assert "error" not in compiled, compiled
    feeds = bench.save_feeds("plain")
    (facts,) = bench.steps({"do": "run", "feeds": feeds, "out": bench.folder / "out.npz", **step})
    return dict(facts["after"])


def test_openvino_imports_no_telemetry() -> None:
    """Importing OpenVINO through the adapter leaves its telemetry package unimported."""
    code = """
import sys
from bakeoff.backends.openvino import OpenVinoBackend
assert OpenVinoBackend().probe().available
print(sorted(name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name]))
"""
    assert "[]" == _python(code)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_tells_the_executed_precision(tmp_path: Path, precision: str) -> None:
    """The precision told is the executed one: bf16 only where the CPU has it."""
    executed = _executed(Workbench("openvino", tmp_path), options={"precision": precision})

    can = {"avx512_bf16", "amx_bf16", "bf16"} & host_features()
    assert ("bf16" if precision == "bf16" and can else "fp32") == executed["precision"]


def test_onnxruntime_takes_spinning(tmp_path: Path) -> None:
    """Spinning of the thread pool is an option."""
    executed = _executed(Workbench("onnxruntime", tmp_path), options={"intra_op_spinning": "0"})

    assert "cpu" == executed["device"]
    assert not executed["fallbacks"]


def test_tvm_smoke() -> None:
    """TVM's smoke test passes in a process of its own, without importing torch."""
    code = "import sys; from bakeoff.backends.tvm import smoke; print(smoke(), 'torch' in sys.modules)"
    version, torch = _python(code).split()

    assert version
    assert "False" == torch


def test_tvm_without_a_compiler_says_so(tmp_path: Path) -> None:
    """Without a C compiler TVM is not available, and the reason says what to install."""
    code = """
import json
from bakeoff.backends.tvm import TvmBackend
probe = TvmBackend().probe()
print(json.dumps([probe.available, probe.reason]))
"""
    available, reason = json.loads(_python(code, PATH=str(tmp_path), CXX="", CC=""))

    assert available is False
    assert "install g++" in reason


def test_tvm_is_marked_untuned(tmp_path: Path) -> None:
    """Every session of TVM bears the mark "untuned", and all kernels of a plain CNN have a schedule."""
    executed = _executed(Workbench("tvm", tmp_path), options={"records": "none"})

    assert ["untuned"] == executed["marks"]
    assert not executed["fallbacks"]
