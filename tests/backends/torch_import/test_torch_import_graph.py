"""What the importer makes of whole graphs: names, folding, errors, quantized models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from bakeoff.models.errors import StageError, UnsupportedError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

_X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)


def _relus(*names: str) -> list[onnx.NodeProto]:
    values = ["x", *(f"v{i}" for i in range(1, len(names))), "y"]
    return [helper.make_node("Relu", [values[i]], [values[i + 1]], name=name) for i, name in enumerate(names)]


def _node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def test_names_are_kept(graph_type: Any, imported_module: Any) -> None:
    """fx nodes and modules bear the names of the ONNX nodes, and the map leads back to them."""
    names = ["node_Conv_3", "/layer1/0/relu", "relu_1", "relu_1_1", "relu_2"]
    imported = imported_module(graph_type(nodes=_relus(*names), feeds={"x": _X}))

    calls = [node.name for node in imported.module.graph.nodes if node.op == "call_module"]

    assert ["node_Conv_3", "layer1_0_relu", "relu_1", "relu_1_1", "relu_2"] == calls
    assert calls == [name for name, _ in imported.module.named_children()]
    assert dict(zip(calls, names, strict=True)) == imported.onnx_names


def test_awkward_names_are_made_unique(graph_type: Any, imported_module: Any) -> None:
    """Equal names, names that differ by case or sign, Python's own and torch's own words: each gets one of its own."""
    names = ["a.b", "a/b", "A_b", "class", "forward", "max", "1st", "...", "x", "training"]
    imported = imported_module(graph_type(nodes=_relus(*names), feeds={"x": _X}))

    calls = [node.name for node in imported.module.graph.nodes if node.op == "call_module"]

    assert names == [imported.onnx_names[call] for call in calls]
    assert len(names) == len({call.lower() for call in calls})
    assert all(call.isidentifier() for call in calls)


@given(st.lists(st.text(max_size=6), max_size=8))
def test_any_text_becomes_an_identifier(wanted: list[str]) -> None:
    """Whatever text comes, names are identifiers and no two are alike, even by case."""
    from bakeoff.backends.torch_import.names import Names

    names = Names()
    taken = [names.take(text) for text in wanted]

    assert all(name.isidentifier() for name in taken)
    assert len(taken) == len({name.lower() for name in taken})


def test_a_nameless_node_is_found_by_its_output(graph_type: Any, imported_module: Any) -> None:
    """A node without a name is known by its first output."""
    imported = imported_module(graph_type(nodes=_relus(""), feeds={"x": _X}))

    assert {"Relu_y": "y"} == imported.onnx_names


def test_shape_arithmetic_is_folded(graph_type: Any, imported_module: Any, imported: Any) -> None:
    """Only what depends on the data stays in the graph; a division of sizes does not keep it from folding."""
    nodes = [
        _node("Relu", ["x"], ["r"]),
        _node("Shape", ["r"], ["shape"]),
        _node("Gather", ["shape", "last"], ["width"]),
        _node("Div", ["width", "two"], ["half"]),
        _node("Concat", ["batch", "half"], ["wanted"], axis=0),
        _node("Reshape", ["r", "wanted"], ["z"]),
        _node("Shape", ["z"], ["z_shape"]),
        _node("Slice", ["z_shape", "one", "two"], ["columns"]),
        _node("Expand", ["z", "columns"], ["y"]),
    ]
    constants = {
        name: np.array([value], np.int64) for name, value in {"last": 3, "two": 2, "batch": -1, "one": 1}.items()
    }
    graph = graph_type(nodes=nodes, feeds={"x": _X}, constants=constants)

    assert ["Relu_r", "Reshape_z", "Expand_y"] == list(imported_module(graph).onnx_names)
    np.testing.assert_array_equal(np.maximum(_X, 0).reshape(-1, 2), imported(graph)[0])


def test_constant_and_passed_on_outputs(graph_type: Any, imported: Any) -> None:
    """An output may be a constant, an input, or the same value twice."""
    nodes = [_node("Identity", ["c"], ["d"]), _node("Identity", ["x"], ["z"])]
    graph = graph_type(nodes=nodes, feeds={"x": _X}, constants={"c": _X + 1}, outputs=("d", "x", "z", "z"))

    for expected, got in zip([_X + 1, _X, _X, _X], imported(graph), strict=True):
        np.testing.assert_array_equal(expected, got)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    """A model's own functions are imported as the nodes that they stand for."""
    import torch
    from bakeoff.backends.torch_import import import_onnx

    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    function = helper.make_function("own", "NegRelu", ["a"], ["c"], body, opsets[:1])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, _X.shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("NegRelu", ["x"], ["y"], domain="own")], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")

    module = import_onnx(tmp_path / "model.onnx").module

    np.testing.assert_array_equal(-np.maximum(_X, 0), module(torch.from_numpy(_X))[0].numpy())


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (_node("Det", ["x"], ["y"]), ["Det", "Det_y", "ai.onnx", "20"]),
        (helper.make_node("Gelu", ["x"], ["y"], name="g", domain="com.microsoft"), ["Gelu", "'g'", "com.microsoft"]),
        (_node("Pad", ["x", "p"], ["y"]), ["Pad", "Pad_y", "pads"]),
        (_node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="tf_crop_and_resize"), ["tf_crop"]),
        (_node("MaxPool", ["x"], ["y", "z"], kernel_shape=[2, 2]), ["MaxPool", "Indices"]),
        (_node("Cast", ["x"], ["y"], to=TensorProto.STRING), ["Cast", "STRING"]),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_what_is_lacking_is_named(
    node: onnx.NodeProto, words: list[str], graph_type: Any, imported_module: Any
) -> None:
    """An operator, domain or attribute that cannot be imported is an `UnsupportedError` that names it and its node."""
    feeds = {"x": _X, "p": np.zeros(8, np.int64)} if node.op_type == "Pad" else {"x": _X}
    constants = {"s": np.array([1, 1, 2, 2], np.float32)} if node.op_type == "Resize" else {}

    with pytest.raises(UnsupportedError) as caught:
        imported_module(graph_type(nodes=[node], feeds=feeds, constants=constants))

    assert "importer" == caught.value.blame
    assert "compile" == caught.value.stage
    assert all(word in caught.value.reason for word in words), caught.value.reason


def test_a_graph_that_contradicts_itself(graph_type: Any, imported_module: Any) -> None:
    """A node that cannot be computed is a `StageError` that names it."""
    graph = graph_type(nodes=[_node("Concat", ["c", "d"], ["y"], axis=0)], feeds={"x": _X},
                       constants={"c": np.zeros((2, 3), np.float32), "d": np.zeros((2, 4), np.float32)})  # fmt: skip

    with pytest.raises(StageError, match="Concat_y"):
        imported_module(graph)


def _quantized(graph_type: Any) -> Any:
    """A QDQ convolution as ONNX Runtime's quantizer writes it."""
    random = np.random.default_rng(0)
    nodes = [
        _node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        _node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        _node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        _node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        _node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
        _node("Relu", ["c"], ["r"]),
        _node("QuantizeLinear", ["r", "rs", "xz"], ["rq"]),
        _node("DequantizeLinear", ["rq", "rs", "xz"], ["y"]),
    ]
    scales = random.uniform(0.01, 0.02, 4).astype(np.float32)
    constants = {
        "xs": np.array(0.02, np.float32),
        "xz": np.array(64, np.uint8),
        "w": random.integers(-127, 128, (4, 2, 3, 3), dtype=np.int8),
        "ws": scales,
        "wz": np.zeros(4, np.int8),
        "b": random.integers(-500, 500, 4, dtype=np.int32),
        "bs": scales * np.float32(0.02),
        "bz": np.zeros(4, np.int32),
        "rs": np.array(0.05, np.float32),
    }
    return graph_type(nodes=nodes, feeds={"x": _X}, constants=constants)


def test_quantized_weights_stay_int8(graph_type: Any, imported_module: Any) -> None:
    """int8 weights are kept as int8 buffers before their dequantization; an int32 bias is folded into float."""
    imported = imported_module(_quantized(graph_type))
    buffers = {name: buffer.dtype for name, buffer in imported.module.named_buffers()}

    assert imported.quantized
    assert "torch.int8" == str(buffers["DequantizeLinear_wd.input_0"])
    assert "torch.float32" == str(buffers["Conv_c.input_2"])
    assert "DequantizeLinear_bd" not in imported.onnx_names


def test_quantized_convolution(
    graph_type: Any, reference: Callable[..., Any], imported: Callable[[Any], list[np.ndarray]]
) -> None:
    """A QDQ graph gives ONNX Runtime's values, but for a step where a value lies between two steps."""
    graph = _quantized(graph_type)

    np.testing.assert_allclose(imported(graph)[0], reference(graph, "onnxruntime")[0], rtol=0, atol=0.0501)


def test_signed_activations_are_shifted(
    graph_type: Any, reference: Callable[..., Any], imported_module: Any, imported: Callable[[Any], list[np.ndarray]]
) -> None:
    """Activations in int8 are quantized to uint8 instead, for x86's kernels, and give the same values to the bit."""
    import torch

    nodes = [
        _node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        _node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"s": np.array(0.05, np.float32), "z": np.array(-3, np.int8)}
    graph = graph_type(nodes=nodes, feeds={"x": _X}, constants=constants)
    module = imported_module(graph).module

    assert "torch.uint8" == str(module.get_submodule("QuantizeLinear_q")(torch.from_numpy(_X)).dtype)
    np.testing.assert_array_equal(imported(graph)[0], reference(graph, "onnxruntime")[0])


def test_signed_values_that_are_read_stay_signed(graph_type: Any, imported: Callable[[Any], list[np.ndarray]]) -> None:
    """A quantized value that is an output of the graph, too, keeps its type."""
    nodes = [
        _node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        _node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    constants = {"s": np.array(0.05, np.float32), "z": np.array(0, np.int8)}

    outputs = imported(graph_type(nodes=nodes, feeds={"x": _X}, constants=constants, outputs=("q", "y")))

    assert ["int8", "float32"] == [str(y.dtype) for y in outputs]


def test_uneven_padding_is_quantized(
    graph_type: Any, reference: Callable[..., Any], imported_module: Any, imported: Callable[[Any], list[np.ndarray]]
) -> None:
    """A quantized convolution that pads one side more has its padding before the dequantization, of equal values."""
    graph = _quantized(graph_type)
    graph.nodes[4].attribute[0].ints[:] = [0, 1, 1, 2]
    module = imported_module(graph).module
    users = {node.name: [user.name for user in node.users] for node in module.graph.nodes}

    assert "Conv_c_Pad" in users["QuantizeLinear_xq"]
    assert ["Conv_c"] == users["Conv_c_DequantizeLinear"]
    np.testing.assert_allclose(imported(graph)[0], reference(graph, "onnxruntime")[0], rtol=0, atol=0.0501)


def test_weights_alone_are_dequantized_at_import(graph_type: Any, imported_module: Any) -> None:
    """Where no activation is quantized, weights in int8 are multiplied in float, and so kept in it."""
    nodes = [
        _node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
        _node("Conv", ["x", "wd"], ["y"]),
    ]
    weights = np.arange(-36, 36, dtype=np.int8).reshape(4, 2, 3, 3)
    constants = {"w": weights, "ws": np.full(4, 0.01, np.float32)}
    imported = imported_module(graph_type(nodes=nodes, feeds={"x": _X}, constants=constants))

    assert not imported.quantized
    assert {"torch.float32"} == {str(buffer.dtype) for buffer in imported.module.buffers()}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_kept(dtype: Any, graph_type: Any, imported_module: Any) -> None:
    """Constants in fp16 and bfloat16 come in their own type, with the bits that they have."""
    import torch

    values = np.array([1.5, -3.25, 2.0**-7], dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        _node("Cast", ["x"], ["h"], to=kind),
        _node("Mul", ["h", "c"], ["m"]),
        _node("Cast", ["m"], ["y"], to=1),
    ]
    x = np.ones((2, 3), np.float32)
    module = imported_module(graph_type(nodes=nodes, feeds={"x": x}, constants={"c": values}, opset=22)).module
    (buffer,) = module.buffers()

    assert {"torch.float16": "float16", "torch.bfloat16": "bfloat16"}[str(buffer.dtype)] == np.dtype(dtype).name
    np.testing.assert_array_equal(module(torch.from_numpy(x))[0].numpy()[0], values.astype(np.float32))


def test_a_constant_of_no_torch_type_is_named(graph_type: Any, imported_module: Any) -> None:
    """A constant whose element type torch lacks is refused by its name."""
    graph = graph_type(nodes=[_node("Identity", ["c"], ["y"])], feeds={"x": _X}, constants={"c": np.array(["text"])})

    with pytest.raises(UnsupportedError, match=r"'c'.*STRING"):
        imported_module(graph)


def test_importing_our_modules_is_cheap() -> None:
    """Neither the importer's modules nor the adapters import torch, onnx or a runtime by themselves."""
    code = (
        "import sys, bakeoff.backends.torch_import, bakeoff.backends.eager, bakeoff.backends.inductor, "
        "bakeoff.backends.litert; "
        "print([m for m in ('torch', 'onnx', 'ai_edge_litert', 'litert_torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout
