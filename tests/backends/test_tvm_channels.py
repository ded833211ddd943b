"""Padding odd channels: the same outputs, convolutions in whole registers, nothing to do where nothing is odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.tvm.channels import pad_channels
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

LANES = 8


def conv(name: str, source: str, weights: str, bias: str = "", group: int = 1, pads: int = 0) -> Any:
    inputs = [source, weights, *([bias] if bias else [])]
    return helper.make_node("Conv", inputs, [name], name=name, group=group, pads=[pads] * 4)


def model(nodes: Sequence[Any], constants: dict[str, Any], inputs: int, outputs: Sequence[str]) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs, 6, 6])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def unit(channels: int, inputs: int = 24) -> Any:
    """A unit as of ShuffleNet: half of the channels through three convolutions, then shuffled with the other half."""
    constants = {
        "w0": random(2 * channels, inputs, 1, 1),
        "w1": random(channels, channels, 1, 1),
        "b1": random(channels),
        "w2": random(channels, 1, 3, 3),
        "b2": random(channels, seed=1),
        "w3": random(channels, channels, 1, 1, seed=1),
        "halves": np.array([channels, channels]),
        "apart": np.array([1, 2, channels, 6, 6]),
        "whole": np.array([1, 2 * channels, 6, 6]),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        conv("stem", "x", "w0"),
        helper.make_node("Split", ["stem", "halves"], ["left", "right"], name="split", axis=1),
        conv("first", "right", "w1", "b1"),
        helper.make_node("Clip", ["first", "low", "high"], ["clipped"], name="clip"),
        conv("depthwise", "clipped", "w2", "b2", group=channels, pads=1),
        conv("last", "depthwise", "w3"),
        helper.make_node("Relu", ["last"], ["relu"], name="relu"),
        helper.make_node("Concat", ["left", "relu"], ["both"], name="concat", axis=1),
        helper.make_node("Reshape", ["both", "apart"], ["two"], name="reshape"),
        helper.make_node("Transpose", ["two"], ["mixed"], name="transpose", perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["mixed", "whole"], ["y"], name="flat"),
    ]
    return model(nodes, constants, inputs, ["y", "depthwise"])


def channels_of(padded: Any) -> dict[str, tuple[int, ...]]:
    weights = {tensor.name: tuple(tensor.dims) for tensor in padded.graph.initializer}
    return {node.name: weights[node.input[1]] for node in padded.graph.node if node.op_type == "Conv"}


def same(one: Any, other: Any, inputs: int) -> None:
    feed = random(1, inputs, 6, 6, seed=7)
    for before, after in zip(*(ReferenceEvaluator(net).run(None, {"x": feed}) for net in (one, other)), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_the_padding_stays_until_somebody_sees_it() -> None:
    before = unit(29)
    padded = pad_channels(before)

    onnx.checker.check_model(padded, full_check=True)
    assert {"stem": (64, 24, 1, 1), "first": (32, 29, 1, 1), "depthwise": (32, 1, 3, 3), "last": (32, 32, 1, 1)} == (
        channels_of(padded)
    )
    assert ["stem/cut", "relu/cut", "depthwise/cut"] == [n.name for n in padded.graph.node if n.op_type == "Slice"]
    same(before, padded, 24)


def test_the_model_itself_is_left_alone() -> None:
    before = unit(29)
    kept = before.SerializeToString()

    pad_channels(before)

    assert kept == before.SerializeToString()


@pytest.mark.parametrize("channels", [8, 64, 10])
def test_nothing_is_padded_where_channels_fill_registers_or_padding_costs_more(channels: int) -> None:
    before = model([conv("y", "x", "w")], {"w": random(channels, 3, 1, 1)}, 3, ["y"])

    assert pad_channels(before) is before


def test_other_types_than_fp32_are_left_alone() -> None:
    before = unit(29)
    for tensor in before.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            halved = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            tensor.CopyFrom(halved)

    assert pad_channels(before) is before


@settings(max_examples=40, deadline=None)
@given(channels=st.integers(8, 130), inputs=st.integers(1, 20))
def test_outputs_are_the_same(channels: int, inputs: int) -> None:
    before = unit(channels, inputs)
    padded = pad_channels(before)

    onnx.checker.check_model(padded, full_check=True)
    same(before, padded, inputs)
    for node, shape in channels_of(padded).items():
        original = channels_of(before)[node][0]
        wanted = -(-original // LANES) * LANES
        assert shape[0] in {original, wanted} or node == "depthwise"
