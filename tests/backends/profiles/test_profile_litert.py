"""Events of LiteRT's profiler: out of memory, to operators, to nodes."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from bakeoff.backends.litert_events import DELEGATED, OWN, Event, take_events
from bakeoff.backends.litert_native import NativeError, NativeEvent, NativeModel
from bakeoff.backends.litert_operators import Operator
from bakeoff.backends.litert_pairs import Pair, pair_events
from bakeoff.backends.litert_rows import describe_rows
from bakeoff.backends.profile_graph import ProfiledGraph
from onnx import TensorProto, helper, numpy_helper

_TAG = ctypes.create_string_buffer(b"Add (ND)")


class _Memory:
    """Stands for the library: writes *size* bytes for each of *events*."""

    def __init__(self, events: list[dict[str, int]], size: int = ctypes.sizeof(NativeEvent)) -> None:
        self.events = events
        self.size = size

    def count_events(self) -> int:
        return len(self.events)

    def read_events(self, count: int, memory: Any) -> None:
        for place in range(count):
            fields = {"tag": ctypes.addressof(_TAG), "source": 1, **self.events[place]}
            written = bytes(NativeEvent(**fields)).ljust(self.size, b"\1")[: self.size]
            ctypes.memmove(ctypes.addressof(memory) + place * self.size, written, self.size)


def _taken(events: list[dict[str, int]], **settings: int) -> list[Event]:
    return take_events(cast(NativeModel, _Memory(events, **settings)), wary=True)


def test_events_are_read() -> None:
    """Operators and kernels come out in order; what only frames them is left out."""
    found = _taken(
        [{"kind": 1, "elapsed_us": 9}, {"kind": DELEGATED, "elapsed_us": 7, "index": 3}, {"kind": OWN, "elapsed_us": 2}]
    )

    expected = [Event(tag="Add (ND)", kind=DELEGATED, elapsed_us=7, index=3)]
    assert [*expected, Event(tag="Add (ND)", kind=OWN, elapsed_us=2, index=0)] == found


@pytest.mark.parametrize("more", [-16, -8, 8, 16])
def test_events_of_another_size_are_refused(more: int) -> None:
    """An event that has grown or shrunk is seen by what the library writes, before any of it is believed."""
    with pytest.raises(NativeError):
        _taken([{"kind": DELEGATED, "elapsed_us": 7}] * 5, size=ctypes.sizeof(NativeEvent) + more)


@pytest.mark.parametrize("field", [{"kind": 77}, {"elapsed_us": 1 << 50}, {"tag": 0x10}])
def test_senseless_events_are_refused(field: dict[str, int]) -> None:
    """A kind that there is not, a time of years, a name that points nowhere."""
    with pytest.raises(NativeError):
        _taken([{"kind": DELEGATED, "elapsed_us": 7, **field}])


def _operator(kind: str, *modules: str, reads: tuple[int, ...] = (), writes: int = 0, **facts: Any) -> Operator:
    plain: dict[str, Any] = {
        "kind": kind,
        "modules": modules,
        "weight_modules": (),
        "output": None,
        "reads": reads,
        "writes": (writes,),
        "shape": (1, 8, 8, 4),
        "permutation": None,
        "weight_shape": None,
        "precision": "fp32",
        "partition": 0,
    }
    return Operator(**{**plain, **facts})


def _events(*tags: str) -> list[Event]:
    return [Event(tag=tag, kind=DELEGATED, elapsed_us=5, index=place) for place, tag in enumerate(tags)]


_DEPTHWISE, _DENSE, _CONV = (
    "Convolution (NHWC, F32) DWConv",
    "Fully Connected (NC, F32) GEMM",
    "Convolution (NHWC, F32) IGEMM",
)


def test_kernels_are_paired_in_order() -> None:
    """A folded padding has no kernel, an activation that was not fused has one more."""
    kinds = ["TRANSPOSE", "PAD", "CONV_2D", "PAD", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]
    tags = [
        "Transpose (ND, X32)",
        _CONV,
        "Constant Pad (ND)",
        _DEPTHWISE,
        "Add (ND)",
        "Clamp (NC)",
        "Mean (ND)",
        _DENSE,
    ]

    pairs = pair_events(_events(*tags), [_operator(kind) for kind in kinds])

    expected = [Pair(0), Pair(2), Pair(3), Pair(4), Pair(5), Pair(5, extra=True), Pair(6), Pair(7)]
    assert expected == pairs


@pytest.mark.parametrize(
    ("kinds", "tags"),
    [
        (["CONV_2D", "CONV_2D"], [_CONV]),
        (["CONV_2D"], [_CONV, _DENSE]),
        (["CONV_2D", "DEPTHWISE_CONV_2D"], [_DEPTHWISE, _CONV]),
    ],
)
def test_nothing_is_paired_where_heavy_kernels_do_not_fit(kinds: list[str], tags: list[str]) -> None:
    """One too many or too few, or a kernel for what the operator is not, and order is no evidence."""
    pairs = pair_events(_events(*tags), [_operator(kind) for kind in kinds])

    assert [Pair()] * len(tags) == pairs


def test_own_kernels_tell_their_operator() -> None:
    """What LiteRT runs itself stands between two delegates, whose kernels are counted anew."""
    operators = [_operator("CONV_2D"), _operator("PADV2", partition=None), _operator("MAX_POOL_2D", partition=1)]
    events = [
        Event(tag=_CONV, kind=DELEGATED, elapsed_us=5, index=0),
        Event(tag="PADV2", kind=OWN, elapsed_us=5, index=1),
        Event(tag="Max Pooling (NHWC, F32)", kind=DELEGATED, elapsed_us=5, index=0),
    ]

    assert [Pair(0), Pair(1), Pair(2)] == pair_events(events, operators)


@pytest.fixture
def graph() -> ProfiledGraph:
    """Two convolutions of one weight each with Relu, the second's input added before its Relu."""
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal((4, 4, 3, 3)).astype(np.float32) for name in ("w1", "w2")}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"], name="add"),
        helper.make_node("Relu", ["s"], ["y"], name="relu2"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in "xy"]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    return ProfiledGraph(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=tensors)))


_OPERATORS = [
    _operator("TRANSPOSE", "conv1", writes=1, permutation=(0, 2, 3, 1)),
    _operator("CONV_2D", "relu1", "conv1", reads=(1,), writes=2, weight_modules=("conv1",), weight_shape=(4, 4, 3, 3)),
    _operator("CONV_2D", "conv2", "relu1", reads=(2,), writes=3, weight_modules=("conv2",), weight_shape=(4, 4, 3, 3)),
    _operator("ADD", "relu2", "relu1", "add", "conv2", reads=(3, 2), writes=4),
    _operator("TRANSPOSE", "add", reads=(4,), writes=5, permutation=(0, 3, 1, 2), shape=(1, 4, 8, 8)),
]
_TAGS = ["Transpose (ND, X32)", _CONV, _CONV, "Add (ND)", "Clamp (NC)", "Transpose (ND, X32)"]


def test_rows_claim_what_they_run(graph: ProfiledGraph) -> None:
    """Strays in the names of results, from constants that are shared, claim nothing; a split activation is its own."""
    rows = describe_rows(_events(*_TAGS), [(1.0,)] * len(_TAGS), _OPERATORS, graph)

    claims = [[claim.node for claim in row.claims] for row in rows]
    assert [[], ["relu1", "conv1"], ["conv2"], ["add"], ["relu2"], []] == claims
    assert {"order"} == {claim.evidence for row in rows for claim in row.claims}
    assert ["runtime", "compute", "compute", "compute", "compute", "runtime"] == [row.role for row in rows]
    assert [(), (0,), (1,), (1, 2), (3,), (4,)] == [row.reads for row in rows]
    assert [(1, 4, 8, 8)] * len(rows) == [row.output_shape for row in rows]
    assert [None, (4, 4, 3, 3), (4, 4, 3, 3), None, None, None] == [row.weight_shape for row in rows]
    assert len(rows) == len({row.name for row in rows})


def test_a_weight_of_another_node_leaves_a_row_unclaimed(graph: ProfiledGraph) -> None:
    """A result of two convolutions' names is that of the one whose weight it is; of neither's, nobody's."""
    both = replace(_OPERATORS[2], modules=("conv2", "conv1"))
    neither = replace(both, weight_modules=())
    found = [
        describe_rows(_events(*_TAGS), [(1.0,)] * len(_TAGS), [*_OPERATORS[:2], conv, *_OPERATORS[3:]], graph)[2].claims
        for conv in (both, neither)
    ]

    assert [["conv2"], []] == [[claim.node for claim in claims] for claims in found]


@pytest.mark.slow
def test_padding_in_front_of_a_pool_is_the_runtimes(tmp_path: Path, profiled: Any) -> None:
    """The pool is one row of its node, its padding with zeros another one of nobody; convolutions keep theirs."""
    random = np.random.default_rng(0)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", **window),
        helper.make_node("Conv", ["p", "v"], ["y"], name="out", pads=[1, 1, 1, 1]),
    ]
    shapes = {"w": (16, 3, 3, 3), "v": (8, 16, 3, 3)}
    tensors = [numpy_helper.from_array(random.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 16, 16])
    path = tmp_path / "pool.onnx"
    graph = helper.make_graph(nodes, "g", [source], [sink], initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    _, rows = profiled("litert", path)

    assert [("relu", "stem"), ("pool",), ("out",)] == [row.nodes for row in rows if row.nodes]
    assert ["compute"] * 3 == [row.role for row in rows if row.nodes]
    assert {"runtime"} == {row.role for row in rows if not row.nodes}
    assert any("Pad" in row.name for row in rows if not row.nodes), [row.name for row in rows]
