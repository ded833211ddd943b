"""The parts that adapters share: options, precisions, signatures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.backends.host import isa, package_versions
from bakeoff.backends.options import check_device, read_options
from bakeoff.backends.precision import count_weight_precisions, precision_name
from bakeoff.backends.signature import load_signature, read_signature, save_signature
from bakeoff.models.errors import StageError, UnsupportedError
from onnx import TensorProto, helper, numpy_helper


def _model(path: Path, shape: list[int | str]) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    # Old exporters list initializers among the inputs.
    inputs = [values[0], helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4])]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", inputs, values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_options_have_defaults() -> None:
    """An option that is not given has the first of its allowed values."""
    allowed = {"precision": ("f32", "bf16"), "spin": ("1", "0")}

    assert {"precision": "f32", "spin": "0"} == read_options("some", {"spin": "0"}, allowed)


@pytest.mark.parametrize(("options", "words"), [({"spim": "0"}, "'spim'.*spin"), ({"spin": "2"}, "'2'.*'1', '0'")])
def test_bad_options_are_refused(options: dict[str, str], words: str) -> None:
    """A misspelt name or a value that is not allowed is refused, and the allowed ones are named."""
    with pytest.raises(UnsupportedError, match=words):
        read_options("some", options, {"spin": ("1", "0")})


def test_absent_device_is_refused() -> None:
    """A device that is not present is refused, and those that are present are named."""
    check_device("some", "cpu", ["cpu", "gpu"])
    with pytest.raises(UnsupportedError, match=r"'npu'.*cpu, gpu"):
        check_device("some", "npu", ["gpu", "cpu"])


def test_signature_is_kept(tmp_path: Path) -> None:
    """What is read from the ONNX file, without initializers, comes back from the artifact's folder."""
    signature = read_signature(_model(tmp_path / "m.onnx", [1, 4]))
    save_signature(tmp_path, signature)

    assert signature == load_signature(tmp_path)
    assert [("x", (1, 4), "float32")] == [(spec.name, spec.shape, spec.dtype) for spec in signature.inputs]
    assert ["y"] == [spec.name for spec in signature.outputs]


def test_dynamic_shape_is_refused(tmp_path: Path) -> None:
    """A graph with a dynamic dimension has no signature."""
    with pytest.raises(StageError, match="'x' has no static shape"):
        read_signature(_model(tmp_path / "m.onnx", ["batch", 4]))


def test_damaged_signature_is_an_error(tmp_path: Path) -> None:
    """A signature that is missing or damaged is a `StageError`."""
    with pytest.raises(StageError):
        load_signature(tmp_path)
    (tmp_path / "signature.json").write_text('{"inputs": [{}]}')
    with pytest.raises(StageError):
        load_signature(tmp_path)


@pytest.mark.parametrize(
    ("counts", "name"),
    [({"fp32": 3}, "fp32"), ({"fp32": 1, "int8": 50}, "mixed(fp32: 1, int8: 50)"), ({"fp32": 0}, "none")],
)
def test_precision_has_one_name(counts: dict[str, int], name: str) -> None:
    """One precision is named alone, several with their counts."""
    assert name == precision_name(counts)


def test_precision_is_that_of_the_weights(tmp_path: Path) -> None:
    """Heavy operators are counted by the type of their weights."""
    graph = onnx.load(_model(tmp_path / "m.onnx", [1, 4])).graph
    graph.node.append(helper.make_node("QLinearConv", ["a"] * 8, ["b"]))
    graph.node.append(helper.make_node("Relu", ["y"], ["z"]))

    assert {"fp32": 1, "int8": 1} == count_weight_precisions(graph)


def test_host_facts_are_text() -> None:
    """The ISA is one line; packages that are missing are left out."""
    assert "\n" not in isa()
    assert ["numpy"] == list(package_versions("numpy", "no-such-distribution"))
