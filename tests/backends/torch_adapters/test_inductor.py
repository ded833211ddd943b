"""TorchInductor as a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bakeoff.backends.base import CompileRequest
from bakeoff.backends.inductor import InductorBackend
from bakeoff.models.errors import StageError, UnsupportedError


def _compile(model: Path, out: Path, **settings: Any) -> Path:
    out.mkdir()
    assert () == InductorBackend().compile(CompileRequest(model=model, out=out, **settings))
    return out


def _request(model: Path, **settings: Any) -> CompileRequest:
    return CompileRequest(model=model, out=model.parent, **settings)


@pytest.mark.slow
def test_one_artifact_after_the_other(
    tmp_path: Path, convolution: Path, two_ways: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """Two compilations in one process: each leaves its artifact only, which a fresh process loads without Inductor."""
    nets = {"one": convolution, "two": two_ways}
    home = tmp_path / "home"
    home.mkdir()
    artifacts = {name: _compile(model, home / name) for name, model in nets.items()}
    assert ["one", "two"] == sorted(path.name for path in home.iterdir())

    for name, artifact in artifacts.items():
        outputs, facts = in_fresh_process("inductor", nets[name], artifact)
        same(expected(nets[name]), outputs)
        assert facts["same"]
        assert not {"torch._inductor", "torch._dynamo", "onnx"} & set(facts["modules"])
        assert ("1", 1) == (facts["details"]["threads compiled for"], facts["threads"])


@pytest.mark.slow
def test_int8_runs_in_int8_kernels(
    tmp_path: Path, quantized: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """A quantized convolution is fused into an int8 kernel, and the session's precision says so."""
    artifact = _compile(quantized, tmp_path / "artifact")
    outputs, facts = in_fresh_process("inductor", quantized, artifact)

    assert "int8" == facts["precision"], facts
    # One step of the output's scale, where a value lies between two steps.
    same(expected(quantized), outputs, tolerance=0.21 / abs(expected(quantized)[0]).max())


@pytest.mark.slow
def test_autocast_is_told(tmp_path: Path, convolution: Path, in_fresh_process: Any, expected: Any, same: Any) -> None:
    """Under autocast the kernels take bfloat16 weights, the session says so, and outputs stay in fp32."""
    artifact = _compile(convolution, tmp_path / "artifact", options={"autocast": "bfloat16"})
    outputs, facts = in_fresh_process("inductor", convolution, artifact, options={"autocast": "bfloat16"})

    assert "bf16" == facts["precision"], facts
    same(expected(convolution), outputs, tolerance=0.02)


@pytest.mark.slow
def test_max_autotune_and_threads(
    tmp_path: Path, convolution: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """Compiled for two threads with autotuning it gives the same values."""
    settings: dict[str, Any] = {"threads": 2, "options": {"max_autotune": "true"}}
    artifact = _compile(convolution, tmp_path / "artifact", **settings)
    outputs, facts = in_fresh_process("inductor", convolution, artifact, **settings)

    same(expected(convolution), outputs)
    assert "2" == facts["details"]["threads compiled for"]
    assert "fp32" == facts["precision"]


@pytest.mark.slow
def test_reproducer(
    convolution: Path, expected: Any, reproduced: Any, same: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reproducer runs by itself and gives the same values."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    source = InductorBackend().reproducer(_request(convolution))

    same(expected(convolution), reproduced(source, convolution))


def test_what_goes_into_the_key(convolution: Path) -> None:
    """Threads and options are built into the code, so each has an artifact of its own; the device too."""
    backend = InductorBackend()
    plain = dict(backend.cache_key(_request(convolution)))

    assert plain == backend.cache_key(_request(convolution, options={"max_autotune": "false"}))
    assert plain != backend.cache_key(_request(convolution, threads=2))
    assert plain != backend.cache_key(_request(convolution, options={"max_autotune": "true"}))
    assert plain != backend.cache_key(_request(convolution, options={"autocast": "bfloat16"}))
    assert {"torch", "C++ compiler", "isa", "threads"} <= set(plain)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, convolution: Path) -> None:
    """Without a C++ compiler it is not available, and compiling says what to install."""
    monkeypatch.setenv("CXX", "no-such-compiler")

    assert not InductorBackend().probe().available
    assert "apt-get install g++" in InductorBackend().probe().reason
    with pytest.raises(StageError, match=r"apt-get install g\+\+"):
        _compile(convolution, tmp_path / "artifact")


@pytest.mark.parametrize(
    "settings", [{"options": {"tune": "1"}}, {"options": {"max_autotune": "yes"}}, {"device": "npu"}], ids=str
)
def test_unknown_settings_are_refused(settings: dict[str, Any], tmp_path: Path, convolution: Path) -> None:
    """An unknown option, value or device is named, and so are the known ones."""
    with pytest.raises(UnsupportedError, match=r"known options: autocast, max_autotune|'false', 'true'|present: cpu"):
        _compile(convolution, tmp_path / "artifact", **settings)


def test_an_operator_that_is_lacking_is_named(tmp_path: Path, lacking: Path) -> None:
    """What cannot be imported is unsupported, by name."""
    with pytest.raises(UnsupportedError, match=r"Det .*the_det"):
        _compile(lacking, tmp_path / "artifact")
