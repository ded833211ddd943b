"""A failed cell leaves a script that runs with its backend alone, whatever text the failure came with."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest, Quantization
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.reproduce import quantization_beside, write_reproducer
from bakeoff.harness.subjects import Subject
from bakeoff.models.data import PreparedData
from bakeoff.models.errors import CellError, MismatchError
from bakeoff.models.spec import ExportedModel, ModelRequest
from bakeoff.models.variant_build import VariantBuild, VariantRequest
from bakeoff.models.variants import parse_variant
from bakeoff.models.zoo import resolve
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SOURCE = "def build(model, threads):\n    return lambda feeds: feeds\n"
anything = st.text(st.characters(exclude_categories=[])) | st.text('"\\{}\n\r\0 #x', max_size=12)
"""Lone surrogates too, and much of what ends a string or fills a template."""


def cell(model: str = "tiny") -> CellSpec:
    return CellSpec(
        model=model, variant="fp32", backend="b", scenario="single-stream", threads=1, batch=1, device="cpu"
    )


def subject(net: Any) -> Subject:
    """The tiny net as a model to be measured."""
    exported = ExportedModel(path=net.model, sha256="0" * 64, inputs=(), outputs=(), provenance={}, probe=None)
    model = ModelRequest(spec=resolve(str(net.model)), weights="random")
    request = VariantRequest(model=model, recipe=parse_variant("fp32"))
    return Subject(
        name="tiny",
        request=request,
        build=VariantBuild(exported=exported, fp32=exported, plain=exported),
        io=net.io,
        input_count=net.inputs,
        reference="numpy",
        tolerance=1e-3,
        evaluation=None,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("thirdparty")
def test_it_runs_alone(net: Any, tmp_path: Path) -> None:
    """The script needs nothing but its own folder and the runtime, and prints how far the outputs are off."""
    source = registry.get("numpy_reference").reproducer(CompileRequest(model=net.model, out=tmp_path))
    error = MismatchError("the outputs differ", stage="first")
    script = write_reproducer(cell(), error, subject(net), source, tmp_path / "made")
    assert {"reproduce.py", "model.onnx", "io.npz"} == {path.name for path in script.parent.iterdir()}
    done = subprocess.run(
        [sys.executable, "-I", str(script)], capture_output=True, text=True, timeout=120, check=True, cwd="/"
    )
    assert re.fullmatch(r"output 0: largest difference \d[\d.e-]*, largest value \d[\d.]*\n", done.stdout)
    assert "bakeoff" not in script.read_text()


@pytest.fixture
def quantized(net: Any, tmp_path: Path) -> Subject:
    """A quantized variant of a convolution, its files called as in the cache; the reference is that of the float model.

    Its own ONNX file gives zeros, so that it shows if a runtime with a quantizer of its own takes that one.
    """
    images = np.random.default_rng(1).standard_normal((8, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "images.npz", images=images)
    for name, scale in (("float", 1.0), ("quantized", 0.0)):
        (tmp_path / name).mkdir()
        save_convolution(tmp_path / name / "model.onnx", scale)
    evaluator = ReferenceEvaluator(str(tmp_path / "float" / "model.onnx"))
    (expected,) = evaluator.run(None, {"x": images[:1]})
    np.savez(tmp_path / "io.npz", input_0_0=images[:1], output_0_0=expected)
    made = subject(net)
    float_model = dataclasses.replace(made.exported, path=tmp_path / "float" / "model.onnx")
    data = PreparedData(
        name="mine", split="calibration", path=tmp_path / "images.npz", count=8, labelled=False, sha256="ab",
        task="unknown", annotations=None, notes=(),
    )  # fmt: skip
    build = VariantBuild(
        exported=dataclasses.replace(made.exported, path=tmp_path / "quantized" / "model.onnx"),
        fp32=float_model,
        plain=float_model,
        quantizing=parse_variant("int8").steps[0],
        float_model=float_model,
        calibration=data,
    )
    return dataclasses.replace(made, build=build, io=tmp_path / "io.npz")


def save_convolution(path: Path, scale: float) -> None:
    weight = scale * np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.mark.slow
def test_a_runtime_that_quantizes_by_itself_finds_its_files(quantized: Subject, tmp_path: Path) -> None:
    """LiteRT's script takes the float model and the images from its own folder, wherever that has been moved."""
    told = dict(quantization_beside(quantized.build) or {})
    given = Quantization(
        kind=told["kind"], float_model=Path(told["float_model"]), calibration=Path(told["calibration"]), keep=()
    )
    source = registry.get("litert").reproducer(
        CompileRequest(model=quantized.exported.path, out=tmp_path, quantization=given)
    )
    script = write_reproducer(cell(), CellError("x"), quantized, source, tmp_path / "made")
    moved = script.parent.rename(tmp_path / "moved")
    for name in ("float", "quantized", "images.npz", "io.npz"):
        (tmp_path / name).rename(tmp_path / f"gone-{name}")

    done = subprocess.run(
        [sys.executable, "-I", str(moved / "reproduce.py")], capture_output=True, text=True, check=False, cwd="/"
    )

    assert 0 == done.returncode, done.stderr
    difference, largest = map(float, re.findall(r"(?:difference|value) ([\d.e-]+)", done.stdout))
    assert 0 < difference < 0.05 * largest


def test_files_of_a_quantized_model(quantized: Subject, tmp_path: Path) -> None:
    """The float model stands beside the quantized one, each under a name of its own; others have neither."""
    home = write_reproducer(cell(), CellError("x"), quantized, SOURCE, tmp_path / "made").parent
    names = {path.name: path for path in home.iterdir()}

    assert {"reproduce.py", "model.onnx", "io.npz", "float_model.onnx", "calibration.npz"} == set(names)
    assert quantized.exported.path.read_bytes() == names["model.onnx"].read_bytes()
    assert quantized.build.plain.path.read_bytes() == names["float_model.onnx"].read_bytes()
    assert quantization_beside(dataclasses.replace(quantized.build, quantizing=None)) is None


def test_it_says_what_went_wrong(net: Any, tmp_path: Path) -> None:
    """Cell, status, reason and blame stand at its top."""
    error = MismatchError("off by 3", blame="compiler", stage="first")
    words = ast.get_docstring(ast.parse(write_reproducer(cell(), error, subject(net), SOURCE, tmp_path).read_text()))
    assert words is not None
    for expected in ("tiny@fp32/b/single-stream/t1/b1/cpu", "mismatch: off by 3", "the fault of: compiler."):
        assert expected in words


@given(model=anything, reason=anything)
def test_hostile_text_stays_text(net: Any, model: str, reason: str) -> None:
    """Neither the model's name nor the reason can become code or break the file: the program is the same for all."""
    with tempfile.TemporaryDirectory() as folder:
        made = subject(net)
        plain = ast.parse(write_reproducer(cell(), CellError("plain"), made, SOURCE, Path(folder)).read_text())
        script = write_reproducer(cell(model), CellError(reason), made, SOURCE, Path(folder))
        assert Path(folder) == script.parent.parent
        hostile = ast.parse(script.read_text())
    assert ast.get_docstring(hostile) is not None
    assert [ast.dump(node) for node in plain.body[1:]] == [ast.dump(node) for node in hostile.body[1:]]


def test_long_names(net: Any, tmp_path: Path) -> None:
    """Models given by a long path get a folder that the file system takes, each its own."""
    scripts = {
        write_reproducer(cell(f"{start}{'d/' * 2000}net.onnx"), CellError("x"), subject(net), SOURCE, tmp_path)
        for start in "ab"
    }
    assert 2 == len(scripts)


def test_written_again(net: Any, tmp_path: Path) -> None:
    """A cell that fails again in a resumed run replaces its script."""
    first = write_reproducer(cell(), CellError("one"), subject(net), SOURCE, tmp_path)
    again = write_reproducer(cell(), CellError("two"), subject(net), SOURCE, tmp_path)
    assert first == again
    assert "two" in again.read_text()


def test_many_inputs_keep_their_order(net: Any, tmp_path: Path) -> None:
    """The eleventh input is not taken for the second."""
    arrays = {f"input_0_{place}": np.full(1, place, np.float32) for place in range(12)}
    arrays["output_0_0"] = np.full(1, 11.0, np.float32)
    np.savez(tmp_path / "io.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for flags
    source = "def build(model, threads):\n    return lambda feeds: [feeds[11]]\n"
    made = dataclasses.replace(subject(net), io=tmp_path / "io.npz")
    script = write_reproducer(cell(), CellError("x"), made, source, tmp_path / "made")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert "output 0: largest difference 0, largest value 11\n" == done.stdout
