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

import pytest
from bakeoff.backends import registry
from bakeoff.backends.base import CompileRequest
from bakeoff.harness.plan import CellSpec
from bakeoff.harness.reproduce import write_reproducer
from bakeoff.harness.subjects import Subject
from bakeoff.models.errors import CellError, MismatchError
from bakeoff.models.spec import ExportedModel, ModelRequest
from bakeoff.models.variant_build import VariantBuild, VariantRequest
from bakeoff.models.variants import parse_variant
from bakeoff.models.zoo import resolve
from hypothesis import given
from hypothesis import strategies as st

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
    import numpy as np

    arrays = {f"input_0_{place}": np.full(1, place, np.float32) for place in range(12)}
    arrays["output_0_0"] = np.full(1, 11.0, np.float32)
    np.savez(tmp_path / "io.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for flags
    source = "def build(model, threads):\n    return lambda feeds: [feeds[11]]\n"
    made = dataclasses.replace(subject(net), io=tmp_path / "io.npz")
    script = write_reproducer(cell(), CellError("x"), made, source, tmp_path / "made")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True)
    assert "output 0: largest difference 0, largest value 11\n" == done.stdout
