"""ONNX Runtime's log, and weights in its own layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bakeoff.backends.contract.nets import write_nets
from bakeoff.backends.onnxruntime_profile import read_runs
from bakeoff.backends.onnxruntime_rows import Kernel, describe_rows
from bakeoff.backends.profile_graph import ProfiledGraph, read_profiled_graph
from bakeoff.models.errors import StageError
from onnx import helper, numpy_helper


def _event(name: str, start: int, duration: int, *, category: str = "Node") -> str:
    suffix = "_kernel_time" if category == "Node" else ""
    return (
        json.dumps(
            {"cat": category, "name": f"{name}{suffix}", "ts": start, "dur": duration, "args": {"op_name": name}}
        )
        + ",\n"
    )


def test_runs_are_told_apart() -> None:
    """The nodes of each inference, in order of their start; bodies of control flow belong to the node that runs them.

    A node that took no measurable time is one of its own.
    """
    log = [
        "[\n",
        _event("session_initialization", 0, 5, category="Session"),
        _event("before", 10, 10),
        _event("inner", 21, 3),
        _event("If", 20, 10),
        _event("quick", 30, 0),
        _event("after", 30, 5),
        _event("model_run", 9, 30, category="Session"),
        _event("before", 50, 8),
        _event("model_run", 49, 12, category="Session"),
        "]\n",
    ]
    runs = [[event["name"].removesuffix("_kernel_time") for event in run] for run in read_runs(iter(log))]

    assert [["before", "If", "quick", "after"], ["before"]] == runs


def test_a_broken_log_is_told() -> None:
    """What is no JSON ends in an error of the stage."""
    with pytest.raises(StageError, match="its log cannot be read"):
        list(read_runs(iter(['{"cat": "Node", \n'])))


def _kernel(place: int, op_type: str, shape: list[int]) -> Kernel:
    types = {"input_type_shape": [{"float": shape}], "output_type_shape": [{"float": shape}]}
    return Kernel({"args": {"node_index": str(place), "op_name": op_type, **types}})


@pytest.fixture
def plain(tmp_path: Path) -> ProfiledGraph:
    """Convolution n0 to eight channels with Relu n1, pooling n2, convolution n3 with Relu n4, ..."""
    write_nets(tmp_path)
    return read_profiled_graph(tmp_path / "plain.onnx")


def test_blocked_weights_are_recognized(plain: ProfiledGraph) -> None:
    """A convolution whose weights lie in blocks of 16, padded, is known by them, and told less the padding."""
    weight = plain.heavy["n3"].weights[0]
    padded = np.zeros((16, 16, 3, 3), np.float32)
    padded[:, :8] = weight
    blocked = padded.reshape(1, 16, 1, 16, 3, 3).transpose(0, 2, 4, 5, 3, 1).reshape(16, 16, 3, 3)
    node = helper.make_node("Conv", ["a", "w"], ["b"], name="whatever", domain="com.microsoft.nchwc")
    executed = helper.make_graph([node], "g", [], [], initializer=[numpy_helper.from_array(blocked, "w")])

    (row,) = describe_rows(executed, [_kernel(0, "Conv", [1, 16, 8, 8])], [(1.0,)], plain)

    assert [("n3", "weights")] == [(claim.node, claim.evidence) for claim in row.claims]
    assert (16, 8, 3, 3) == row.weight_shape
    assert (1, 16, 8, 8) == row.output_shape


def test_names_by_rule(plain: ProfiledGraph) -> None:
    """A fused convolution is named after what it made before other nodes were fused behind it."""
    weight = np.random.default_rng(0).standard_normal((16, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["r0"], name="t1_nchwc", domain="com.microsoft.nchwc"),
        helper.make_node("ReorderOutput", ["r0"], ["t1"], name="reorder", domain="com.microsoft.nchwc"),
    ]
    executed = helper.make_graph(nodes, "g", [], [], initializer=[numpy_helper.from_array(weight, "w")])
    kernels = [_kernel(0, "Conv", [1, 16, 16, 16]), _kernel(1, "ReorderOutput", [1, 8, 16, 16])]

    conv, reorder = describe_rows(executed, kernels, [(1.0,), (0.5,)], plain)

    assert [("n1", "rule"), ("n0", "rule")] == [(claim.node, claim.evidence) for claim in conv.claims]
    assert ((8, 3, 3, 3), (1, 8, 16, 16)) == (conv.weight_shape, conv.output_shape)
    assert ("compute", "runtime") == (conv.role, reorder.role)
    assert ((), (0,)) == (conv.reads, reorder.reads)


def test_weights_of_another_shape_are_told_as_they_are(plain: ProfiledGraph) -> None:
    """A name that is contradicted by the weights can be seen to be."""
    weight = np.zeros((32, 3, 5, 5), np.float32)
    node = helper.make_node("Conv", ["image", "w"], ["r0"], name="t1_nchwc", domain="com.microsoft.nchwc")
    executed = helper.make_graph([node], "g", [], [], initializer=[numpy_helper.from_array(weight, "w")])

    (row,) = describe_rows(executed, [_kernel(0, "Conv", [1, 32, 16, 16])], [(1.0,)], plain)

    assert (32, 3, 5, 5) == row.weight_shape


def test_channels_last_are_put_back(plain: ProfiledGraph) -> None:
    """Shapes follow the runtime's own transpositions, through nodes that do not tell their layout."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["a"], name="Transpose", perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="any"),
        helper.make_node("Transpose", ["b"], ["c"], name="Transpose_2", perm=[0, 3, 1, 2]),
    ]
    executed = helper.make_graph(nodes, "g", [], [])
    shapes = [[1, 16, 8, 3], [1, 16, 8, 3], [1, 3, 16, 8]]
    kernels = [_kernel(at, node.op_type, shape) for at, (node, shape) in enumerate(zip(nodes, shapes, strict=True))]

    rows = describe_rows(executed, kernels, [(1.0,)] * 3, plain)

    assert [(1, 3, 16, 8)] * 3 == [row.output_shape for row in rows]
    assert ["runtime", "compute", "runtime"] == [row.role for row in rows]
