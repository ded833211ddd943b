"""torch eager as a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bakeoff.backends.base import CompileRequest, LoadRequest
from bakeoff.backends.eager import EagerBackend
from bakeoff.models.errors import UnsupportedError


def _compile(model: Path, out: Path, **settings: Any) -> Path:
    out.mkdir()
    assert () == EagerBackend().compile(CompileRequest(model=model, out=out, **settings))
    return out


def test_is_the_baseline() -> None:
    """Speed-ups refer to it; it is here, on the CPU at least."""
    probe = EagerBackend().probe()

    assert "baseline" == EagerBackend().role
    assert probe.available
    assert "cpu" == probe.devices[0].name
    assert probe.version.startswith(probe.packages["torch"])


@pytest.mark.slow
@pytest.mark.parametrize("net", ["convolution", "two_ways"])
def test_infers(
    net: str, tmp_path: Path, request: pytest.FixtureRequest, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """A fresh process loads the artifact and gives ONNX Runtime's values, twice the same."""
    model: Path = request.getfixturevalue(net)
    artifact = _compile(model, tmp_path / "artifact")
    model_again = tmp_path / "moved.onnx"
    model.rename(model_again)

    outputs, facts = in_fresh_process("eager", model_again, artifact, threads=2)

    same(expected(model_again), outputs)
    assert facts["same"]
    assert 2 == facts["threads"]
    assert "highest, oneDNN ieee" == facts["details"]["fp32 matmul"]


def test_says_that_int8_is_simulated(tmp_path: Path, quantized: Path) -> None:
    """Quantized models are multiplied in float here, and the session says so."""
    artifact = _compile(quantized, tmp_path / "artifact")
    session = EagerBackend().load(LoadRequest(artifact=artifact))

    assert "fp32" == session.executed().precision
    assert ("int8 simulated in float",) == session.executed().marks
    session.close()


def test_an_operator_that_is_lacking_is_named(tmp_path: Path, lacking: Path) -> None:
    """What cannot be imported is unsupported, by name, when it is loaded."""
    artifact = _compile(lacking, tmp_path / "artifact")

    with pytest.raises(UnsupportedError, match=r"Det .*the_det") as caught:
        EagerBackend().load(LoadRequest(artifact=artifact))

    assert ("importer", "load") == (caught.value.blame, caught.value.stage)


@pytest.mark.parametrize("settings", [{"options": {"fast": "1"}}, {"device": "npu"}], ids=str)
def test_unknown_settings_are_refused(settings: dict[str, Any], tmp_path: Path, convolution: Path) -> None:
    """There are no options, and no devices but torch's."""
    with pytest.raises(UnsupportedError, match=r"fast|npu"):
        _compile(convolution, tmp_path / "artifact", **settings)


def test_reproducer(convolution: Path, expected: Any, reproduced: Any, same: Any) -> None:
    """The reproducer runs by itself and gives the same values."""
    source = EagerBackend().reproducer(CompileRequest(model=convolution, out=convolution.parent))

    same(expected(convolution), reproduced(source, convolution))
