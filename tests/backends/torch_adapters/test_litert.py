"""LiteRT as a backend."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bakeoff.backends.base import CompileRequest, LoadRequest, Quantization
from bakeoff.backends.litert import LiteRtBackend
from bakeoff.backends.litert_quantize import float_modules
from bakeoff.backends.torch_import import import_onnx
from bakeoff.models.errors import StageError, UnsupportedError

_REFUSED = """
import sys
from pathlib import Path
from bakeoff.backends.base import CompileRequest
from bakeoff.backends.litert import LiteRtBackend
from bakeoff.models.errors import UnsupportedError

try:
    LiteRtBackend().compile(CompileRequest(model=Path(sys.argv[1]), out=Path(sys.argv[2])))
except UnsupportedError as error:
    print(error.blame, error.stage, error.reason)
"""

_QUANTIZE = """
import json, sys
from pathlib import Path
from bakeoff.backends.base import CompileRequest, Quantization
from bakeoff.backends.litert import LiteRtBackend

model, images, root = map(Path, sys.argv[1:4])
for name, kind, keep in json.loads(sys.argv[4]):
    out = root / name
    out.mkdir()
    given = Quantization(kind=kind, float_model=model, calibration=images, keep=tuple(keep))
    print(json.dumps(LiteRtBackend().compile(CompileRequest(model=model, out=out, quantization=given))))
"""

_POOL = """
import json, sys
from collections import Counter
from pathlib import Path
import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from bakeoff.backends.litert_quantize import quantize
from bakeoff.backends.torch_import import import_onnx

model, images, folder = map(Path, sys.argv[1:])
feed = np.load(images)["images"][:1]
found = []
for zero_pads in (False, True):
    imported = import_onnx(model, zero_pads=zero_pads)
    path = folder / f"{zero_pads}.tflite"
    litert_torch.convert(imported.module, (torch.from_numpy(feed),)).export(str(path))
    rounded, _ = quantize(path, "int8", calibration=images, keep={}, module=imported.module)
    for content in (path.read_bytes(), rounded):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], feed)
        interpreter.invoke()
        result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        operators = Counter(operator["op_name"] for operator in interpreter._get_ops_details())
        found.append((result.tobytes().hex(), operators["PADV2"], float(np.ptp(result)) > 0))
print(json.dumps(found))
"""

_COMPILE = """
import sys
from pathlib import Path
from bakeoff.backends.base import CompileRequest
from bakeoff.backends.litert import LiteRtBackend

for model, out in zip(sys.argv[1::2], sys.argv[2::2]):
    Path(out).mkdir()
    LiteRtBackend().compile(CompileRequest(model=Path(model), out=Path(out)))
"""


@pytest.mark.slow
def test_infers(
    tmp_path: Path, convolution: Path, two_ways: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """Converted without a word on stdout; a fresh process loads the artifact without torch, in the ONNX layout."""
    nets = {"one": convolution, "two": two_ways}
    arguments = [str(part) for name, model in nets.items() for part in (model, tmp_path / name)]
    done = subprocess.run([sys.executable, "-c", _COMPILE, *arguments], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stdout), done.stderr

    for name, model in nets.items():
        outputs, facts = in_fresh_process("litert", model, tmp_path / name, threads=2)
        same(expected(model), outputs)
        assert facts["same"]
        assert not {"torch", "onnx", "litert_torch", "tensorflow", "jax"} & set(facts["modules"])
        assert 2 == facts["threads"]
        assert (["1 x ARG_MAX in LiteRT's own kernel"] if name == "two" else []) == [
            fallback for fallback in facts["fallbacks"] if "CAST" not in fallback
        ]


@pytest.mark.slow
def test_a_quantized_graph_is_unsupported(tmp_path: Path, quantized: Path) -> None:
    """The converter refuses weights stored in int8; that makes the cell unsupported, with the converter's words."""
    command = [sys.executable, "-c", _REFUSED, str(quantized), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("converter compile litert-torch cannot convert this quantized graph: "), done.stderr


@pytest.mark.slow
def test_quantizes_by_its_own_tool(
    tmp_path: Path, convolution: Path, images: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """Each kind of quantization is the tool's own and told as executed; nodes that are named stay in float."""
    kinds = [
        ("static", "int8", []),
        ("kept", "int8", ["fc", "nowhere"]),
        ("dynamic", "int8-dynamic", []),
        ("weights", "int8-weights", []),
    ]
    command = [sys.executable, "-c", _QUANTIZE, str(convolution), str(images), str(tmp_path), json.dumps(kinds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    notes = [json.loads(line) for line in done.stdout.splitlines()]

    precisions = {"static": "int8", "kept": "mixed(fp32: 1, int8: 1)", "dynamic": "int8", "weights": "fp32"}
    for name, precision in precisions.items():
        outputs, facts = in_fresh_process("litert", convolution, tmp_path / name)
        same(expected(convolution), outputs, tolerance=0.05)
        assert precision == facts["precision"], (name, facts)
        assert ("quantized weights" in facts["details"]) == (name == "weights")
    assert all("static_wi8_ai8" in lines[0] for lines in notes[:2])
    assert ["nowhere is not kept in float: the float model has no such node"] == notes[1][1:]


@pytest.mark.slow
def test_zeros_in_front_of_a_pool_change_no_bit(
    tmp_path: Path, pooled: Path, images: Path, in_fresh_process: Any, expected: Any, same: Any
) -> None:
    """In float and in int8: XNNPACK pads with zeros only; what may be negative, LiteRT pads itself."""
    command = [sys.executable, "-c", _POOL, str(pooled), str(images), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    before, rounded_before, after, rounded_after = json.loads(done.stdout.splitlines()[-1])

    assert before[0] == after[0]
    assert rounded_before[0] == rounded_after[0]
    assert [2, 2, 1, 1] == [padded for _, padded, _ in (before, rounded_before, after, rounded_after)]
    assert all(varied for *_, varied in (before, rounded_before))

    command = [sys.executable, "-c", _COMPILE, str(pooled), str(tmp_path / "artifact")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    outputs, facts = in_fresh_process("litert", pooled, tmp_path / "artifact")
    same(expected(pooled), outputs)
    assert ["1 x PADV2 in LiteRT's own kernel"] == facts["fallbacks"]


def test_all_that_the_quantizer_is_given_is_in_the_key(convolution: Path, images: Path, two_ways: Path) -> None:
    """Kind, nodes to keep, the float model and the calibration data make an artifact of their own each."""
    given = Quantization(kind="int8", float_model=convolution, calibration=images)
    others = [
        replace(given, kind="int8-dynamic"),
        replace(given, keep=("fc",)),
        replace(given, float_model=two_ways),
        replace(given, calibration=None),
    ]
    requests = [CompileRequest(model=convolution, out=convolution.parent, quantization=q) for q in (given, *others)]
    keys = [tuple(sorted(LiteRtBackend().cache_key(request).items())) for request in requests]

    assert len(requests) == len(set(keys))


def test_static_quantization_needs_images(tmp_path: Path, convolution: Path) -> None:
    """Without calibration data the cell is unsupported, and says why."""
    given = Quantization(kind="int8", float_model=convolution, calibration=None)
    with pytest.raises(UnsupportedError, match="needs calibration images"):
        LiteRtBackend().compile(CompileRequest(model=convolution, out=tmp_path, quantization=given))


@pytest.mark.slow
def test_reproducer_quantizes(tmp_path: Path, convolution: Path, images: Path, expected: Any, feeds: Any) -> None:
    """The reproducer of a quantized model quantizes by itself, from files beside the model if they are there."""
    moved = tmp_path / "bundle"
    moved.mkdir()
    given = Quantization(kind="int8", float_model=convolution, calibration=images)
    request = CompileRequest(model=convolution, out=tmp_path, quantization=given)
    source = LiteRtBackend().reproducer(request)
    for path in (convolution, images):
        path.rename(moved / path.name)
    script = source + (
        "\nimport sys\nstored = np.load(sys.argv[2])\n"
        "outputs = build(sys.argv[1], 1)([stored['feed']])\n"
        "error = np.abs(outputs[0] - stored['expected']).max() / np.abs(stored['expected']).max()\n"
        "assert 0 < error < 0.05, error\n"
    )
    model = moved / convolution.name
    np.savez(tmp_path / "io.npz", feed=feeds(model)[0], expected=expected(model)[0])
    command = [sys.executable, "-c", script, str(model), str(tmp_path / "io.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr


@pytest.mark.slow
def test_reproducer(tmp_path: Path, convolution: Path, expected: Any, feeds: Any) -> None:
    """The reproducer runs by itself and gives the same values."""
    source = LiteRtBackend().reproducer(CompileRequest(model=convolution, out=tmp_path))
    script = source + (
        "\nimport sys\nstored = np.load(sys.argv[2])\n"
        "outputs = build(sys.argv[1], 1)([stored['feed']])\n"
        "assert np.abs(outputs[0] - stored['expected']).max() < 1e-4, outputs\n"
    )
    np.savez(tmp_path / "io.npz", feed=feeds(convolution)[0], expected=expected(convolution)[0])
    command = [sys.executable, "-c", script, str(convolution), str(tmp_path / "io.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Calibration data for the net of `convolution`."""
    path = tmp_path / "images.npz"
    np.savez(path, images=np.random.default_rng(2).standard_normal((8, 3, 16, 16)).astype(np.float32))
    return path


def test_probe_names_what_matters() -> None:
    """It is available, with the versions of the runtime and of the converter."""
    probe = LiteRtBackend().probe()

    assert probe.available
    assert {"ai-edge-litert", "litert-torch"} <= set(probe.packages)
    assert ["cpu"] == [device.name for device in probe.devices]


def test_threads_share_an_artifact(convolution: Path) -> None:
    """Threads are set at load: they do not enter the key."""
    backend = LiteRtBackend()
    requests = [CompileRequest(model=convolution, out=convolution.parent, threads=n) for n in (1, 2)]

    assert backend.cache_key(requests[0]) == backend.cache_key(requests[1])


def test_a_damaged_artifact(tmp_path: Path) -> None:
    """A file that is no model fails to load, and is said to."""
    (tmp_path / "model.tflite").write_bytes(b"nothing")
    (tmp_path / "signature.json").write_text('{"inputs": [], "outputs": []}')

    with pytest.raises(StageError) as caught:
        LiteRtBackend().load(LoadRequest(artifact=tmp_path))

    assert "load" == caught.value.stage


@pytest.mark.parametrize("settings", [{"options": {"x": "1"}}, {"device": "gpu"}], ids=str)
def test_unknown_settings_are_refused(settings: dict[str, Any], tmp_path: Path, convolution: Path) -> None:
    """There are no options, and one device."""
    with pytest.raises(UnsupportedError, match=r"known options: none|present: cpu"):
        LiteRtBackend().compile(CompileRequest(model=convolution, out=tmp_path, **settings))


def test_an_operator_that_is_lacking_is_named(tmp_path: Path, lacking: Path) -> None:
    """What cannot be imported is unsupported, by name, before the converter is even imported."""
    with pytest.raises(UnsupportedError, match=r"Det .*the_det"):
        LiteRtBackend().compile(CompileRequest(model=lacking, out=tmp_path))


def test_what_adds_up_beside_a_layer_in_float_stays_in_float(residual: Path) -> None:
    """And before nothing but such; an activation goes with its layer, as the range of its rounding does."""
    imported = import_onnx(residual)
    modules = {node: module for module, node in imported.onnx_names.items()}
    names = {module: node for node, module in modules.items()}

    def stays(*keep: str) -> set[str]:
        return {names[module] for module in float_modules(imported.module, [modules[name] for name in keep])}

    assert set() == stays()
    assert {"out", "add", "last", "pool", "flatten"} == stays("out")
    assert {"stem", "relu", "add", "last", "pool", "flatten"} == stays("stem")
    assert {"fc", "flatten", "pool", "last", "add"} == stays("fc")
