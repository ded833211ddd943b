"""The nodes of an ONNX file: which depend on its inputs, who reads whom, which are heavy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bakeoff.models.errors import StageError
from bakeoff.models.nodes import read_nodes
from onnx import TensorProto, helper, numpy_helper


def _quantized_net() -> onnx.ModelProto:
    """Conv with a quantized weight, a Reshape to a shape that is computed, and products with and without weights."""
    weights = {
        "w_q": np.ones((8, 3, 1, 1), np.int8),
        "scale": np.float32(0.1),
        "zero": np.int8(0),
        "f": np.ones((4, 2), np.float32),
        "tail": np.array([4], np.int64),
        "start": np.array([0], np.int64),
        "end": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w_q", "scale", "zero"], ["w"], name="dq_w"),
            helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
            helper.make_node("Shape", ["a"], ["s"], name="shape"),
            helper.make_node("Slice", ["s", "start", "end"], ["s0"], name="slice"),
            helper.make_node("Concat", ["s0", "minus", "tail"], ["t"], axis=0, name="concat"),
            helper.make_node("Reshape", ["a", "t"], ["b"], name="reshape"),
            helper.make_node("MatMul", ["b", "f"], ["c"], name="dense"),
            helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 1], name="transpose"),
            helper.make_node("MatMul", ["c", "d"], ["y"], name="attention"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 8])],
        [
            *(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()),
            numpy_helper.from_array(np.array([-1], np.int64), "minus"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.slow
def test_what_depends_on_the_inputs_is_a_node(tmp_path: Path) -> None:
    """Weights and shapes are known beforehand: whatever computes them is no node of ours."""
    onnx.save(_quantized_net(), tmp_path / "net.onnx")
    nodes = read_nodes(tmp_path / "net.onnx")
    assert ["conv", "reshape", "dense", "transpose", "attention"] == [node.name for node in nodes]
    assert [(), (0,), (1,), (2,), (2, 3)] == [node.reads for node in nodes]
    assert [True, False, True, False, False] == [node.heavy for node in nodes]
    assert [(8, 3, 1, 1), None, (4, 2), None, None] == [node.weight_shape for node in nodes]
    assert (1, 8, 2, 2) == nodes[0].output_shape
    assert (1, 8, 8) == nodes[-1].output_shape
    assert [False, False, False, False, True] == [node.output for node in nodes]


@pytest.mark.slow
def test_what_is_computed_twice_is_seen(tmp_path: Path) -> None:
    """By inputs, attributes and the content of weights, not by names; random numbers are never the same."""
    weights = np.arange(24, dtype=np.float32).reshape(8, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
            helper.make_node("Conv", ["x", "copy"], ["b"], name="again"),
            helper.make_node("Conv", ["x", "other"], ["c"], name="other"),
            helper.make_node("Conv", ["x", "w"], ["d"], name="strided", strides=[2, 2]),
            helper.make_node("Relu", ["a"], ["e"], name="relu"),
            helper.make_node("Relu", ["b"], ["f"], name="relu_again"),
            helper.make_node("RandomNormalLike", ["a"], ["g"], name="noise"),
            helper.make_node("RandomNormalLike", ["a"], ["h"], name="more_noise"),
            helper.make_node("Sum", ["c", "e", "f", "g", "h"], ["y"], name="sum"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 4, 4])],
        [
            numpy_helper.from_array(weights, "w"),
            helper.make_tensor("copy", TensorProto.FLOAT, weights.shape, weights.ravel().tolist()),
            numpy_helper.from_array(-weights, "other"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "net.onnx")
    nodes = read_nodes(tmp_path / "net.onnx")
    repeated = {node.name: nodes[node.repeats].name for node in nodes if node.repeats is not None}
    assert {"again": "first", "relu_again": "relu"} == repeated


@pytest.mark.slow
def test_what_is_no_onnx_file_is_named(tmp_path: Path) -> None:
    """The error says which file."""
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff\xff\xff")
    with pytest.raises(StageError, match=r"bad\.onnx: cannot be read as ONNX"):
        read_nodes(tmp_path / "bad.onnx")


@pytest.mark.slow
def test_what_is_computed_nearly_twice_is_told(tmp_path: Path) -> None:
    """By weights a little off, from the same input; what is the very same is told as that, what differs as nothing."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights = {"w": weight, "near": weight * np.float32(1.0001), "same": weight.copy(), "far": weight * np.float32(1.1)}
    nodes = [helper.make_node("Conv", ["x", name], [f"y_{name}"], name=name) for name in weights]
    nodes.append(helper.make_node("Conv", ["y_w", "square"], ["z"], name="behind", pads=[1, 1, 1, 1]))
    nodes.append(helper.make_node("Conv", ["y_far", "square"], ["u"], name="elsewhere", pads=[1, 1, 1, 1]))
    weights["square"] = np.ones((4, 4, 3, 3), np.float32)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y_near", "y_same", "z", "u")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "n.onnx")
    found = {node.name: (node.repeats, node.resembles) for node in read_nodes(tmp_path / "n.onnx")}
    nothing = (None, None)
    expected = {"w": nothing, "near": (None, 0), "same": (0, None), "far": nothing}
    assert expected | {"behind": nothing, "elsewhere": nothing} == found
