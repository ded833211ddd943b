"""Refactoring through the cache and the child process: records, provenance, hashes, errors."""

import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
from bakeoff.models.cache import hash_file
from bakeoff.models.data import PreparedData
from bakeoff.models.errors import UnsupportedError, UserError
from bakeoff.models.export import export
from bakeoff.models.refactor import refactor
from bakeoff.models.variants import parse_variant

pytestmark = pytest.mark.slow


@pytest.fixture
def exported(small_net, request_for, tmp_path):
    """The small net as bakeoff exports it."""
    return export(request_for(small_net()), tmp_path / "cache")


@pytest.fixture
def calibration(tmp_path):
    """A factory: prepared images for the small net."""

    def make(images=None, name="noise"):
        rng = np.random.default_rng(3)
        images = rng.standard_normal((6, 3, 16, 16)).astype(np.float32) if images is None else images
        path = tmp_path / f"{name}.npz"
        np.savez(path, allow_pickle=False, images=images)
        return PreparedData(
            name=name,
            split="calibration",
            path=path,
            count=len(images),
            labelled=False,
            sha256=hashlib.sha256(images.tobytes()).hexdigest(),
            task="unknown",
            annotations=None,
            notes=(),
        )

    return make


def _refactor(model, text, cache, calibration=None, seed=0):
    return refactor(model, parse_variant(text).steps, calibration=calibration, seed=seed, cache=cache)


def test_no_step_changes_nothing(exported, tmp_path):
    """fp32 is the exported file itself."""
    assert exported is _refactor(exported, "fp32", tmp_path)


def test_two_builds_are_the_same_file_with_its_history_in_it(exported, calibration, tmp_path):
    """Fresh caches, the same bytes; records chain the hashes; the stamp names step, seed, libraries and data."""
    data = calibration()
    first, second = (_refactor(exported, "sparse50+int8", tmp_path / name, data, seed=4) for name in ("a", "b"))

    assert first.sha256 == second.sha256 == hash_file(first.path)
    masked, quantized = first.records
    assert ("sparse50", "int8") == (masked.step, quantized.step)
    assert exported.sha256 == masked.input_sha256
    assert masked.output_sha256 == quantized.input_sha256
    assert first.sha256 == quantized.output_sha256
    assert data.sha256 == quantized.parameters["data sha256"]
    assert 4 == quantized.seed
    assert onnx.__version__ == quantized.versions["onnx"]
    stamps = {entry.key: entry.value for entry in onnx.load(first.path).metadata_props}
    assert first.provenance == {key.removeprefix("bakeoff."): value for key, value in stamps.items()}
    assert first.provenance["step.1"].startswith("sparse50 (seed 4; ")
    assert first.provenance["step.2"].endswith(f"; calibrated on {data.sha256})")
    assert (exported.inputs, exported.outputs, None) == (first.inputs, first.outputs, first.probe)
    assert exported.parameters == first.parameters
    assert first.zeros >= 0.5 * first.parameters


def test_what_is_cached_is_not_made_again(exported, tmp_path, monkeypatch):
    """The second time no process is started."""
    made = _refactor(exported, "fp16", tmp_path)
    monkeypatch.setattr("bakeoff.models.refactor.call", None)

    assert made == _refactor(exported, "fp16", tmp_path)


def test_other_data_is_another_file(exported, calibration, tmp_path):
    """The calibration data is part of the key, and of the outcome."""
    small = calibration(np.full((2, 3, 16, 16), 0.1, np.float32), name="small")
    left, right = (_refactor(exported, "int8", tmp_path, data) for data in (calibration(), small))

    assert left.sha256 != right.sha256


def test_records_go_on_where_those_of_the_model_end(exported, tmp_path):
    """A variant made in two goes has one history."""
    once = _refactor(exported, "sparse2:4", tmp_path)
    twice = _refactor(once, "bf16", tmp_path)

    assert ["sparse2:4", "bf16"] == [record.step for record in twice.records]
    assert {"step.1", "step.2"} <= set(twice.provenance)


def test_errors_of_the_child_come_through(exported, calibration, tmp_path):
    """A node that is not there, data that does not fit, a step for modules: each by its own class."""
    with pytest.raises(UserError, match="the graph has no node 'nothing'"):
        _refactor(exported, "int8-weights:keep=nothing", tmp_path)
    with pytest.raises(UserError, match="calibration data for 'x' is 1x3x8x8"):
        _refactor(exported, "int8", tmp_path, calibration(np.zeros((2, 3, 8, 8), np.float32)))
    with pytest.raises(UserError, match="needs calibration data"):
        _refactor(exported, "int8", tmp_path)
    with pytest.raises(UnsupportedError, match="works on a torch module"):
        _refactor(exported, "channel50", tmp_path)


def test_a_missing_runtime_is_told_with_the_command(exported, tmp_path, monkeypatch):
    """onnxruntime quantizes; without it the extra to install is named."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"pip install 'bakeoff\[onnxruntime\]'"):
        _refactor(replace(exported), "int8-dynamic", tmp_path)
