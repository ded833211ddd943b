"""Inductor's calls: found in the generated code, told by torch's profiler, mapped by modules and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.inductor_calls import Call, find_calls
from bakeoff.backends.inductor_nodes import Nodes, Weight, load_nodes, save_nodes
from bakeoff.backends.inductor_profile import split_events
from bakeoff.backends.inductor_rows import describe_rows
from bakeoff.backends.profile_graph import ProfiledGraph
from bakeoff.models.errors import UnsupportedError
from onnx import TensorProto, helper, numpy_helper

_KERNELS = """
extern "C"  void  cpp_fused_relu_0(const float* in_ptr0,
                       float* out_ptr0)
{
    RAIIAtenRecordFunctionHandle record_graph_0_cpp_fused_relu_0_("graph_0_cpp_fused_relu_0", nullptr);
}
extern "C"  void  cpp_fused_mean_1(float* in_out_ptr0,
                       const float* in_ptr0)
{
    RAIIAtenRecordFunctionHandle record_graph_0_cpp_fused_mean_1_("graph_0_cpp_fused_mean_1", nullptr);
}
"""

_WRAPPER = """
extern "C"  void  cpp_fused_relu_0(const float* in_ptr0,
                       float* out_ptr0);
void AOTInductorModel::run_impl(
    AtenTensorHandle* input_handles
) {
    RAIIAtenTensorHandle buf0(buf0_handle);
    // [Provenance debug handles] cpp_fused_relu_0:1
    {
    cpp_fused_relu_0((const float*)(arg0_1.data_ptr()), (float*)(buf0.data_ptr()));
    }
    // [Provenance debug handles] aoti_torch_cpu_conv:2
    AtenTensorHandle buf1_handle;
    {
    RAIIAtenRecordFunctionHandle record_aoti_torch_cpu_conv_("aoti_torch_cpu_conv", nullptr);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_conv(buf0, _frozen_param0, &temporary_reference(b.get()), &buf1_handle));
    }
    RAIIAtenTensorHandle buf1(buf1_handle);
    // [Provenance debug handles] aoti_torch_cpu_conv:3
    AtenTensorHandle buf2_handle;
    {
    RAIIAtenRecordFunctionHandle record_aoti_torch_cpu_conv_("aoti_torch_cpu_conv", nullptr);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_conv(buf1, _frozen_param1, 0, &buf2_handle));
    }
    RAIIAtenTensorHandle buf2(buf2_handle);
    // [Provenance debug handles] aoti_torch_cpu_conv_binary_:4
    AtenTensorHandle buf3_handle;
    {
    RAIIAtenRecordFunctionHandle record_aoti_torch_cpu_conv_binary__("aoti_torch_cpu_conv_binary_", nullptr);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_conv_binary_(buf1, buf2, _frozen_param2, &buf3_handle));
    }
    RAIIAtenTensorHandle buf3(buf3_handle);
    AtenTensorHandle buf4_handle;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(4, int_array_2, &buf4_handle));
    RAIIAtenTensorHandle buf4(buf4_handle);
    auto buf5 = std::move(buf4);  // reuse
    // [Provenance debug handles] cpp_fused_mean_1:5
    {
    cpp_fused_mean_1((float*)(buf5.data_ptr()), (const float*)(buf1.data_ptr()));
    }
    // [Provenance debug handles] aoti_torch_cpu_conv:6
    AtenTensorHandle buf6_handle;
    {
    RAIIAtenRecordFunctionHandle record_aoti_torch_cpu_conv_("aoti_torch_cpu_conv", nullptr);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_conv(reinterpret_tensor_wrapper(buf5, 2, int_array_4), w, &buf6_handle));
    }
"""

_GRAPH_NODES = {
    "cpp_fused_relu_0:1": ["fused_relu"],
    "aoti_torch_cpu_conv:2": ["fused_relu"],
    "aoti_torch_cpu_conv:3": ["fused_add"],
    "aoti_torch_cpu_conv_binary_:4": ["fused_add"],
    "cpp_fused_mean_1:5": ["mean", "round"],
    "aoti_torch_cpu_conv:6": ["stride"],
}


@pytest.fixture
def calls() -> list[Call]:
    """Those of the code above."""
    return find_calls([_WRAPPER, _KERNELS], _GRAPH_NODES)


def test_calls_are_found_in_order(calls: list[Call]) -> None:
    """With what the profiler calls them, whoever generated them, and whose results they take, in place or not."""
    own, conv, add = "graph_0_cpp_fused_relu_0", "aoti_torch_cpu_conv", "aoti_torch_cpu_conv_binary_"
    assert [own, conv, conv, add, "graph_0_cpp_fused_mean_1", conv] == [call.event for call in calls]
    assert [True, False, False, False, True, False] == [call.own for call in calls]
    assert [(), (0,), (1,), (1, 2), (3,), (4,)] == [call.reads for call in calls]
    assert [tuple(nodes) for nodes in _GRAPH_NODES.values()] == [call.nodes for call in calls]


def test_operators_without_an_entry_in_c_are_found() -> None:
    """They are called by their place in a file beside; the profiler knows them by their name in torch."""
    text = """
::run_impl(
    RAIIAtenTensorHandle buf1(buf1_handle);
    // [Provenance debug handles] aoti_torch_cpu_max_pool2d:1
    RAIIAtenTensorHandle buf2(buf2_handle);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_proxy_executor_call_function(proxy_executor, 0, 2, std::array<int64_t, 2>{3, 3}.data(), 2, std::array<AtenTensorHandle, 2>{buf1, buf2}.data()));
    // [Provenance debug handles] aoti_torch_cpu_conv:2
    RAIIAtenRecordFunctionHandle record_aoti_torch_cpu_conv_("aoti_torch_cpu_conv", nullptr);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_conv(buf2, w, &buf3_handle));
"""  # noqa: E501
    pool, conv = find_calls([text], {"aoti_torch_cpu_max_pool2d:1": ["pool"]}, [("quantized::max_pool2d", "buf2")])
    assert ("quantized::max_pool2d", ("pool",), ()) == (pool.event, pool.nodes, pool.reads)
    assert ("aoti_torch_cpu_conv", (0,)) == (conv.event, conv.reads)


def test_events_are_told_apart() -> None:
    """Each inference has its own; others, or fewer, are refused."""
    events = [("a", 1.0), ("b", 2.0), ("a", 3.0), ("b", 4.0)]
    assert [[1.0, 2.0], [3.0, 4.0]] == split_events(events, ["a", "b"], 2)
    for wrong in (events[:-1], [*events[:3], ("a", 4.0)]):
        with pytest.raises(ValueError, match=r"events|calls"):
            split_events(wrong, ["a", "b"], 2)


def _graph() -> ProfiledGraph:
    """Nodes by the names that the calls have, all with weights of their own that matter to nobody here."""
    import numpy as np
    from onnx import helper, numpy_helper

    chain = [("conv0", "Conv"), ("relu", "Relu"), ("conv1", "Conv"), ("conv2", "Conv"), ("add", "Add")]
    chain += [("mean", "ReduceMean"), ("round", "QuantizeLinear"), ("head", "Gemm")]
    heavy = {"conv0": (8, 3, 3, 3), "conv1": (8, 1, 3, 3), "conv2": (8, 8, 1, 1), "head": (8, 10)}
    nodes = []
    for place, (name, op) in enumerate(chain):
        nodes.append(helper.make_node(op, [f"v{place}", *([f"w.{name}"] if name in heavy else [])], [f"v{place + 1}"]))
        nodes[-1].name = name
    tensors = [numpy_helper.from_array(np.ones(shape, np.float32), f"w.{name}") for name, shape in heavy.items()]
    return ProfiledGraph(helper.make_model(helper.make_graph(nodes, "g", [], [], initializer=tensors)))


_NODES = Nodes(
    weights={
        "_frozen_param0": Weight(onnx_node="conv0", shape=(8, 3, 3, 3), dtype="float32"),
        "_frozen_param1": Weight(onnx_node="conv1", shape=(8, 1, 1, 3, 3), dtype="bfloat16"),
        "_frozen_param2": Weight(onnx_node="conv2", shape=(8, 8, 1, 1), dtype="float32"),
        "w": Weight(onnx_node="head", shape=(10, 8), dtype="float32"),
    },
    takers={"_frozen_param0": "fused_relu", "_frozen_param1": "conv1", "_frozen_param2": "fused_add", "w": "linear"},
    onnx_nodes={
        "fused_relu": "relu",
        "conv1": "conv1",
        "fused_add": "add",
        "mean": "mean",
        "round": "round",
        "linear": "head",
    },
    shapes={
        "fused_relu": (1, 8, 4, 4),
        "conv1": (1, 8, 2, 2),
        "fused_add": (1, 8, 4, 4),
        "mean": (1, 8, 1, 1),
        "linear": (1, 10),
        "stride": (1, 10),
    },
)


def test_rows_claim_what_they_run(calls: list[Call]) -> None:
    """A convolution is known by its weight, whatever it is named for; what is put in front of one runs nothing."""
    rows = describe_rows(calls, [(1.0,)] * len(calls), _NODES, _graph())

    claims = [[claim.node for claim in row.claims] for row in rows]
    assert [[], ["conv0", "relu"], ["conv1"], ["conv2", "add"], ["mean", "round"], ["head"]] == claims
    assert ["runtime", *["compute"] * 5] == [row.role for row in rows]
    assert [None, (1, 8, 4, 4), (1, 8, 2, 2), (1, 8, 4, 4), (1, 8, 1, 1), (1, 10)] == [row.output_shape for row in rows]
    weights = [None, (8, 3, 3, 3), (8, 1, 3, 3), (8, 8, 1, 1), None, (8, 10)]
    assert weights == [row.weight_shape for row in rows]
    assert ["", "fp32", "bf16", "fp32", "", "fp32"] == [row.precision for row in rows]
    assert "cpp_fused_mean" == rows[4].kind
    assert len(rows) == len({row.name for row in rows})


@pytest.mark.parametrize("name", ["conv0", ""])
def test_padding_in_front_of_a_convolution_is_the_runtimes(name: str) -> None:
    """It bears the convolution's name, whose weight is elsewhere, or none; what is fused with it keeps its own."""
    calls = [
        Call(event="cpp_pad_0", own=True, words=(), nodes=("pad", "round"), reads=()),
        Call(event="cpp_pad_1", own=True, words=(), nodes=("pad",), reads=(0,)),
        Call(event="aoti_torch_cpu_conv", own=False, words=("_frozen_param0",), nodes=("fused_relu",), reads=(1,)),
    ]
    names = {**_NODES.onnx_nodes, "pad": name}
    shapes = {**_NODES.shapes, "round": (1, 3, 4, 4), "pad": (1, 3, 5, 5)}
    nodes = Nodes(weights=_NODES.weights, takers=_NODES.takers, onnx_nodes=names, shapes=shapes)

    rows = describe_rows(calls, [(1.0,)] * 3, nodes, _graph())

    assert [["round"], [], ["conv0", "relu"]] == [[claim.node for claim in row.claims] for row in rows]
    assert ["compute", "runtime", "compute"] == [row.role for row in rows]
    assert rows[0].output_shape is None


def _pooled(before: str) -> ProfiledGraph:
    """A result of the operator *before*, and its rounding."""
    nodes = [
        helper.make_node(before, ["x"], ["a"], name="pool"),
        helper.make_node("QuantizeLinear", ["a", "s"], ["b"], name="round"),
    ]
    return ProfiledGraph(helper.make_model(helper.make_graph(nodes, "g", [], [])))


@pytest.mark.parametrize(
    ("event", "before", "claims"),
    [
        ("quantized::max_pool2d", "MaxPool", {"round": "name", "pool": "rule"}),
        ("quantized::max_pool2d", "Relu", {"round": "name"}),
        ("graph_0_cpp_fused_round_1", "MaxPool", {"round": "name"}),
    ],
)
def test_pooling_of_rounded_values_runs_the_pool(event: str, before: str, claims: dict[str, str]) -> None:
    """Its kernel bears the name of the rounding behind the pool only; no other kernel runs what is in front of one."""
    call = Call(event=event, own=False, words=(), nodes=("fused",), reads=())
    nodes = Nodes(onnx_nodes={"fused": "round"}, shapes={"fused": (1, 8, 4, 4)})

    (row,) = describe_rows([call], [(1.0,)], nodes, _pooled(before))

    assert claims == {claim.node: claim.evidence for claim in row.claims}


def test_nodes_are_kept(tmp_path: Path) -> None:
    """As they were."""
    save_nodes(tmp_path, _NODES)
    assert load_nodes(tmp_path) == _NODES


def test_only_what_was_compiled_for_it_is_profiled(tmp_path: Path) -> None:
    """Any other artifact is refused, with the reason."""
    from bakeoff.backends.base import LoadRequest
    from bakeoff.backends.inductor import InductorBackend

    with pytest.raises(UnsupportedError, match="option profile"):
        InductorBackend().load_profiled(LoadRequest(artifact=tmp_path), tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("net", ["plain", "mobile", "qdq"])
def test_every_convolution_is_found(net: str, nets: Path, profiled: Any) -> None:
    """Each convolution and product is claimed by one row (weights told where packed), each pool too; all are timed."""
    graph, rows = profiled("inductor", nets / f"{net}.onnx")

    owners = {name: [row for row in rows if name in row.nodes] for name in graph.heavy}
    assert {1} == {len(found) for found in owners.values()}, owners
    for name, (row,) in owners.items():
        assert row.weight_shape in (graph.heavy[name].weight_shape, None)
        assert row.weight_shape or row.name.startswith("graph_")
    pools = [name for name in graph.nodes if graph.op_type(name) == "MaxPool"]
    assert [1] * len(pools) == [len([row for row in rows if name in row.nodes]) for name in pools]
    assert {4} == {len(row.times_ms) for row in rows}
    assert all(time > 0 for row in rows for time in row.times_ms)


@pytest.mark.slow
def test_equal_convolutions_stay_apart(equal_convolutions: Path, profiled: Any) -> None:
    """Two with the same input, from weights of the same content, are two rows for two nodes."""
    _, rows = profiled("inductor", equal_convolutions)

    claimed = [name for row in rows for name in row.nodes if name in ("once", "again")]
    assert ["again", "once"] == sorted(claimed)


@pytest.mark.slow
def test_uneven_padding_is_part_of_the_convolution(tmp_path: Path, profiled: Any) -> None:
    """It is no row of its own, and the weight is told as the file has it, though the kernel is enlarged by zeros."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], name="point"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w"], ["y"], name="deep", group=16, pads=[0, 0, 1, 1], strides=[2, 2]),
    ]
    weights = {"v": random.standard_normal((16, 8, 1, 1)), "w": random.standard_normal((16, 1, 3, 3))}
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 16, 16])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 8, 8])
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [source], [sink], initializer=tensors)
    path = tmp_path / "uneven.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    _, rows = profiled("inductor", path)

    assert not [row.name for row in rows if "pad" in row.name]
    assert {(16, 1, 3, 3)} == {row.weight_shape for row in rows if "deep" in row.nodes}
