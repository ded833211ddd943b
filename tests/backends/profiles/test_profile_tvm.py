"""TVM's kernels: what they run of the ONNX file, followed through its passes, and rows of what was called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.profile import Row
from bakeoff.backends.profile_graph import ProfiledGraph
from bakeoff.backends.tvm.channels import padded_values
from bakeoff.backends.tvm.kernels import Kernel, Part, load_kernels, save_kernels
from bakeoff.backends.tvm.profile import kernels_called, times_called
from bakeoff.backends.tvm.rows import describe_rows
from bakeoff.models.errors import StageError
from onnx import TensorProto, helper, numpy_helper


def _model() -> Any:
    """A convolution of 58 channels with Relu, one behind it by depth, quantized; names of values after the nodes."""
    random = np.random.default_rng(0)
    weights = {"w1": random.standard_normal((58, 16, 1, 1)), "w2": random.standard_normal((58, 1, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["conv"], name="conv"),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("Conv", ["relu", "w2"], ["deep"], name="deep", group=58),
        helper.make_node("QuantizeLinear", ["deep", "step"], ["round"], name="round"),
        helper.make_node("Flatten", ["round"], ["y"], name="flatten"),
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    tensors.append(numpy_helper.from_array(np.float32(0.1), "step"))
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8]),
        helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 2088]),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=tensors))


_KERNELS = (
    Kernel(name="transpose", kind="transpose", copies=True, parts=()),
    Kernel(
        name="fused_conv2d_add_relu",
        kind="conv2d_add_relu",
        parts=(
            Part(node=0, heavy=True),
            Part(node=0, heavy=False),
            Part(node=1, heavy=False),
            Part(node=3, heavy=False, whole=False),
        ),
        reads=(0,),
        result=1,
        shape=(1, 64, 8, 8),
        weight_shape=(64, 16, 1, 1),
        dtype="float32",
    ),
    Kernel(name="pad", kind="pad", parts=(Part(node=2, heavy=False),), reads=(1,)),
    Kernel(
        name="conv2d1",
        kind="conv2d",
        parts=(Part(node=2, heavy=True),),
        reads=(2,),
        result=2,
        shape=(1, 64, 6, 6),
        weight_shape=(64, 1, 3, 3),
        dtype="bfloat16",
    ),
    Kernel(
        name="quantize", kind="quantize", parts=(Part(node=3, heavy=False),), reads=(3,), result=3, shape=(1, 58, 6, 6)
    ),
    Kernel(name="reshape", kind="reshape", parts=(Part(node=4, heavy=False),), reads=(4,), result=4, shape=(1, 2088)),
    Kernel(name="conv2d1", kind="conv2d", parts=(), reads=(5,)),
)
_CALLED = ["transpose", "fused_conv2d_add_relu", "pad", "conv2d1", "quantize", "conv2d1"]


def _rows(called: list[str] = _CALLED) -> tuple[Row, ...]:
    model = _model()
    return describe_rows(_KERNELS, called, [(1.0,)] * len(called), ProfiledGraph(model), padded_values(model))


def test_rows_claim_what_they_compute() -> None:
    """A convolution is where it is multiplied, not where its input is padded, another node where all of it is known.

    What was not called is passed over.
    """
    rows = _rows()

    assert [[], ["conv", "relu"], [], ["deep"], ["round"], []] == [[c.node for c in row.claims] for row in rows]
    assert {"value"} == {claim.evidence for row in rows for claim in row.claims}
    assert ["runtime", "compute", "runtime", *["compute"] * 3] == [row.role for row in rows]
    assert [(), (0,), (1,), (2,), (3,), (4,)] == [row.reads for row in rows]
    assert ["fp32", "fp32"] == [row.precision for row in rows if row.weight_shape]
    assert ["conv2d", "conv2d"] == [row.kind for row in rows if row.name.startswith("conv2d1")]
    assert len(rows) == len({row.name for row in rows})


def test_padding_of_channels_is_taken_off() -> None:
    """Shapes are those of the ONNX file, of results and of weights on both sides."""
    rows = _rows()

    assert [None, (1, 58, 8, 8), None, (1, 58, 6, 6), (1, 58, 6, 6), None] == [row.output_shape for row in rows]
    assert [(58, 16, 1, 1), (58, 1, 3, 3)] == [row.weight_shape for row in rows if row.weight_shape]


@pytest.mark.parametrize("called", [_CALLED[:-1], [*_CALLED, "pad"], [_CALLED[1], _CALLED[0], *_CALLED[2:]]])
def test_other_calls_than_were_compiled_are_refused(called: list[str]) -> None:
    """One too few, one too many, or two in another order."""
    with pytest.raises(ValueError, match=r"call|kernels"):
        _rows(called)


def test_kernels_are_kept(tmp_path: Path) -> None:
    """As they were; an artifact without them cannot be profiled."""
    with pytest.raises(StageError):
        load_kernels(tmp_path)
    save_kernels(tmp_path, _KERNELS)
    assert load_kernels(tmp_path) == _KERNELS


def test_calls_are_told_apart() -> None:
    """What the machine does itself is left out; a call within another is refused."""
    events = [("a", True), ("a", False), ("vm.builtin.reshape", True), ("vm.builtin.reshape", False)]
    assert [(0, "a"), (2, "b")] == kernels_called([*events, ("b", True), ("b", False)])
    assert [2.0, 0.5] == times_called([0, 2_000_000, 2_100_000, 2_200_000, 2_500_000, 3_000_000], [0, 2])
    with pytest.raises(ValueError, match="within"):
        kernels_called([("a", True), ("b", True), ("b", False), ("a", False)])


@pytest.mark.slow
@pytest.mark.parametrize("net", ["plain", "pair", "mobile", "attention", "half", "qdq"])
def test_every_convolution_is_followed(net: str, nets: Path, profiled: Any) -> None:
    """Each convolution and product is claimed by one row, with the weights of its own; each row is timed each time."""
    graph, rows = profiled("tvm", nets / f"{net}.onnx")

    owners = {name: [row for row in rows if name in row.nodes] for name in graph.heavy}
    assert {1} == {len(found) for found in owners.values()}, owners
    for name, (row,) in owners.items():
        assert graph.heavy[name].weight_shape == row.weight_shape
    assert {4} == {len(row.times_ms) for row in rows}
    assert all(time > 0 for row in rows for time in row.times_ms)


@pytest.mark.slow
def test_equal_convolutions_stay_apart(equal_convolutions: Path, profiled: Any) -> None:
    """Two with the same input, from weights of the same content, are two rows for two nodes."""
    _, rows = profiled("tvm", equal_convolutions)

    claimed = [name for row in rows for name in row.nodes if name in ("once", "again")]
    assert ["again", "once"] == sorted(claimed)
    (larger,) = [row for row in rows if "larger" in row.nodes]
    assert not {"once", "again"} <= set(larger.nodes)


@pytest.mark.slow
def test_padded_channels_do_not_show(tmp_path: Path, profiled: Any) -> None:
    """Convolutions of 58 channels run with 64, and are told with 58."""
    random = np.random.default_rng(0)
    shapes = {"w1": (58, 16, 1, 1), "w2": (58, 1, 3, 3), "w3": (58, 58, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="deep", group=58, pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "w3"], ["y"], name="last"),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 8, 8])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 58, 8, 8])
    tensors = [numpy_helper.from_array(random.standard_normal(shapes[n]).astype(np.float32), n) for n in shapes]
    graph = helper.make_graph(nodes, "g", [source], [sink], initializer=tensors)
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    _, rows = profiled("tvm", path)

    told = [row.weight_shape for name in ("first", "deep", "last") for row in rows if name in row.nodes]
    assert list(shapes.values()) == told
