"""The parts that adapters share: options, precisions, signatures."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.backends.host import isa, package_versions
from bakeoff.backends.inductor_kernels import executed_precisions, read_kernels
from bakeoff.backends.options import SHARE, check_device, read_options
from bakeoff.backends.precision import (
    count_stored_weights,
    count_weight_precisions,
    has_float_bias,
    has_float_weights,
    precision_name,
    simulated_mark,
    stored_details,
)
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


@pytest.mark.parametrize("value", ["0", "1", "0.35", "default"])
def test_shares_are_allowed(value: str) -> None:
    """An option may take any share from 0 to 1, beside words of its own."""
    assert {"rate": value} == read_options("some", {"rate": value}, {"rate": ("default", SHARE)})


@pytest.mark.parametrize("value", ["1.01", "-0.1", "nan", "half", ""])
def test_other_shares_are_refused(value: str) -> None:
    """What is no number from 0 to 1 is refused."""
    with pytest.raises(UnsupportedError, match="'default', a share from 0 to 1"):
        read_options("some", {"rate": value}, {"rate": ("default", SHARE)})


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


def _layers() -> onnx.GraphProto:
    """Four layers: quantized with its bias in float, in blocks at two accuracy levels, in float."""
    weights = {"w8": np.ones((4, 4), np.int8), "w": np.ones((4, 4), np.float32), "b": np.ones(4, np.float32)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "s"], ["d"]),
        helper.make_node("Gemm", ["x", "d", "b"], ["y1"]),
        helper.make_node("MatMulNBits", ["x", "q", "s"], ["y2"], domain="com.microsoft", accuracy_level=4),
        helper.make_node("MatMulNBits", ["x", "q", "s"], ["y3"], domain="com.microsoft", accuracy_level=1),
        helper.make_node("MatMul", ["x", "w"], ["y4"]),
        helper.make_node("MatMulInteger", ["x", "w8"], ["y5"]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return helper.make_graph(nodes, "layers", [], [], initializers)


def test_stored_weights_multiply_in_float() -> None:
    """Weights stored in few bits count as what they are multiplied in; how they are stored is told apart."""
    assert {"fp32": 3, "int8": 2} == count_weight_precisions(_layers())
    assert {"fp32": 4, "int8": 1} == count_weight_precisions(_layers(), integer="fp32")
    assert {"int8": 1} == count_stored_weights(_layers())
    assert {"quantized weights": "int8: 1, unpacked"} == stored_details({"int8": 1}, "unpacked")
    assert {} == stored_details({}, "unpacked")


def test_layers_in_float_are_seen() -> None:
    """A layer that was kept in float, and a bias in float beside a quantized weight, are found."""
    graph = _layers()
    assert has_float_weights(graph)
    assert has_float_bias(graph)

    del graph.initializer[1:]
    assert not has_float_weights(graph)
    assert not has_float_bias(graph)


def test_simulation_is_marked() -> None:
    """Where activations are quantized and nothing multiplies in int8, the figure bears a mark."""
    graph = _layers()
    assert () == simulated_mark(graph, {"fp32": 3})

    graph.node.append(helper.make_node("QuantizeLinear", ["y4", "s"], ["q4"]))
    assert ("int8 simulated in float",) == simulated_mark(graph, {"fp32": 3})
    assert () == simulated_mark(graph, {"fp32": 3, "int8": 1})


_GENERATED = """
    constants_info_[0].name = "_frozen_param0";
    constants_info_[0].dtype = static_cast<int32_t>(cached_torch_dtype_bfloat16);
    constants_info_[1].name = "_frozen_param1";
    constants_info_[1].dtype = cached_torch_dtype_float32;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mkldnn__convolution_pointwise(buf0, _frozen_param0, 1L, &buf1_handle));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_addmm_out(buf3, _frozen_param1, buf2, 1L));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu__qlinear_pointwise_tensor(buf3, _frozen_param1, &buf4_handle));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_bmm_out(buf4, buf2, buf3));
"""


def test_kernels_tell_their_precision(tmp_path: Path) -> None:
    """Generated code tells which kernels it calls, and by the types of its constants in which precision."""
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/wrapper.cpp", _GENERATED)
    kernels = read_kernels(tmp_path / "model.pt2")

    assert {"bf16": 1, "fp32": 1, "int8": 1, "": 1} == kernels["precisions"]
    assert 4 == sum(kernels["counts"].values())


@pytest.mark.parametrize(
    ("told", "asked", "executed"),
    [
        ({"int8": 4, "fp32": 1}, {"fp32": 5}, {"int8": 4, "fp32": 1}),
        ({"int8": 4}, {"fp32": 5}, {"int8": 4, "fp32": 1}),
        ({"bf16": 5}, {"fp32": 5}, {"bf16": 5}),
        ({}, {"fp16": 2}, {"fp16": 2}),
        ({"fp32": 3, "": 2}, {"fp32": 3}, {"fp32": 3}),
        ({"fp32": 1}, {"fp32": 1, "bf16": 2}, {"fp32": 1, "bf16": 2}),
    ],
)
def test_kernels_come_before_the_graph(told: dict[str, int], asked: dict[str, int], executed: dict[str, int]) -> None:
    """What the kernels tell goes before what the graph asked for, which counts for operators without a kernel."""
    assert executed == executed_precisions({"counts": {}, "precisions": told}, asked)


def test_host_facts_are_text() -> None:
    """The ISA is one line; packages that are missing are left out."""
    assert "\n" not in isa()
    assert ["numpy"] == list(package_versions("numpy", "no-such-distribution"))
