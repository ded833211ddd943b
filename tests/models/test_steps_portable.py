"""Scales with which all runtimes compute the same bits: what they look like, and that runtimes do."""

import numpy as np
import onnxruntime
import openvino
import pytest
from bakeoff.models.graph import name_nodes
from bakeoff.models.spec import PORTABLE, SCALES
from bakeoff.models.steps.base import StepContext, apply_step
from bakeoff.models.steps.portable import make_portable
from bakeoff.models.steps.regions import find_regions
from bakeoff.models.steps.static_int8 import apply_float
from bakeoff.models.variants import parse_variant
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.slow

INT8 = parse_variant("int8").steps[-1]


def _feeds(count=6, seed=7):
    rng = np.random.default_rng(seed)
    return tuple((rng.standard_normal((1, 3, 16, 16)).astype(np.float32),) for _ in range(count))


def _residual_net(last="Relu"):
    """Two residual blocks whose streams keep their channels apart up to the classifier, of very different ranges."""
    rng = np.random.default_rng(3)
    weights = {"w_stem": rng.normal(0, 0.3, (16, 3, 3, 3)), "w_head": rng.normal(0, 0.3, (10, 16))}
    weights["w_stem"] *= np.geomspace(1, 20, 16)[:, None, None, None]
    nodes = [helper.make_node("Conv", ["x", "w_stem", "b_stem"], ["s0"], name="stem", pads=[1, 1, 1, 1])]
    for k in (1, 2):
        weights[f"w_in{k}"] = rng.normal(0, 0.1, (24, 16, 1, 1)) / np.geomspace(1, 20, 16)[None, :, None, None]
        weights[f"w_out{k}"] = rng.normal(0, 0.3, (16, 24, 3, 3)) * np.geomspace(1, 20, 16)[:, None, None, None]
        nodes += [
            helper.make_node("Conv", [f"s{k - 1}", f"w_in{k}", f"b_in{k}"], [f"c{k}"], name=f"in{k}"),
            helper.make_node("Clip", [f"c{k}", "low", "high"], [f"r{k}"], name=f"clip{k}"),
            helper.make_node("Conv", [f"r{k}", f"w_out{k}", f"b_out{k}"], [f"d{k}"], name=f"out{k}", pads=[1, 1, 1, 1]),
            helper.make_node("Add", [f"d{k}", f"s{k - 1}"], [f"s{k}"], name=f"add{k}"),
        ]
    nodes += [
        helper.make_node(last, ["s2"], ["t"], name="last"),
        helper.make_node("GlobalAveragePool", ["t"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w_head", "b_head"], ["y"], name="head", transB=1),
    ]
    biases = {name.replace("w_", "b_"): rng.normal(0, 0.1, len(array)) for name, array in weights.items()}
    weights |= biases | {"low": np.array(0.0), "high": np.array(2.0)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 10))],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _apply(model, feeds):
    result = apply_step(model, INT8, StepContext(calibration=feeds))
    name_nodes(result.model.graph)
    return result


def _onnxruntime(model, feeds, level="ORT_ENABLE_ALL"):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": x})[0] for (x,) in feeds])


def _openvino(model, feeds):
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return np.concatenate([compiled([x])[0] for (x,) in feeds])


@pytest.mark.parametrize("net", ["residual", "small"])
def test_two_runtimes_and_plain_arithmetic_compute_the_same(net, small_net):
    """On inputs outside the calibrated ranges, too; only sums behind the pooling may differ in their last bits."""
    model = _residual_net() if net == "residual" else small_net()
    result = _apply(model, _feeds())
    feeds = _feeds(40, seed=8)
    plain = _onnxruntime(result.model, feeds, "ORT_DISABLE_ALL")

    assert PORTABLE == result.parameters[SCALES]
    for outputs in (_onnxruntime(result.model, feeds), _openvino(result.model, feeds)):
        np.testing.assert_allclose(outputs, plain, rtol=1e-5, atol=1e-5)


def test_the_graph_that_is_compared_with_computes_what_the_model_does():
    """Its values are others: channels of the stream have factors of their own."""
    model, feeds = _residual_net(), _feeds()
    scaled = apply_float(model, INT8, StepContext(calibration=feeds)).model
    weights = [{t.name: numpy_helper.to_array(t) for t in made.graph.initializer} for made in (model, scaled)]
    factors = (weights[1]["w_stem"] / weights[0]["w_stem"]).reshape(16, -1)

    np.testing.assert_allclose(_onnxruntime(scaled, feeds), _onnxruntime(model, feeds), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(factors, np.broadcast_to(factors[:, :1], factors.shape), rtol=1e-4)
    assert factors[0, 0] > 2 * factors[-1, 0]


def test_steps_are_exact_in_fp32():
    """Powers of two for activations, five bits for weights; what is added up has one step, and its sums are odd."""
    made = _apply(_residual_net(), _feeds()).model
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    rounded = {node.input[0]: node.input for node in made.graph.node if node.op_type == "QuantizeLinear"}
    coded = {node.output[0]: node.input for node in made.graph.node if node.op_type == "DequantizeLinear"}
    steps = {name: float(tensors[inputs[1]]) for name, inputs in rounded.items() if name not in ("x", "p", "f")}
    layers = {node.name: node for node in made.graph.node if node.op_type == "Conv"}

    assert {0.5} == {float(np.frexp(step)[0]) for step in steps.values()}
    assert steps["d1"] == steps["d2"] == steps["s0"] == steps["s1"]
    assert all(int(tensors[inputs[2]]) % 2 == 0 for name, inputs in rounded.items() if name not in ("x", "p", "f"))
    for name, node in layers.items():
        weight, scale = (tensors[part] for part in coded[node.input[1]][:2])
        bias = tensors[coded[node.input[2]][0]]
        fraction = np.frexp(scale)[0] * 32
        np.testing.assert_array_equal(fraction, np.rint(fraction))
        if name.startswith("out"):
            assert not (weight % 2).any()
            assert (bias % 2).all()


@pytest.mark.parametrize(("widest", "bits"), [(1.2, 3), (2.0, 5)])
def test_weights_behind_an_input_have_fewer_bits_unless_its_step_is_a_power_of_two(widest, bits):
    """An input takes no factor; what its step and that of a weight give together is to have six bits at most."""
    feeds = tuple((np.float32(widest / 2) * np.sin(x),) for (x,) in _feeds())
    found = make_portable(_residual_net(), ["stem", "in1", "out1"], feeds)
    fractions = np.frexp(found.weights["w_stem"])[0] * 2**bits
    both = np.frexp(found.weights["w_stem"] * np.float32(found.activations["x"][0]))[0] * 2**6

    assert (float(np.frexp(found.activations["x"][0])[0]) == 0.5) is (bits == 5)
    np.testing.assert_array_equal(fractions, np.rint(fractions))
    np.testing.assert_array_equal(both, np.rint(both))
    assert (fractions % 4).any()


def test_a_graph_with_an_exponential_is_left_as_calibrated():
    """No two runtimes have the same one."""
    result = _apply(_residual_net(last="Sigmoid"), _feeds())

    assert "as calibrated" == result.parameters[SCALES]


def test_a_bound_that_would_be_lost_is_a_reason_to_leave_it():
    """Where the sum of two clipped values needs a wider range than one has, uint8 does not cut that one off."""
    model = _residual_net()
    nodes = list(model.graph.node)
    place = next(k for k, node in enumerate(nodes) if node.name == "out1")
    nodes[place].input[0] = "double"
    nodes.insert(place, helper.make_node("Add", ["r1", "r1"], ["double"], name="double"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)

    assert find_regions(model.graph) is not None
    assert make_portable(model, ["stem", "in1", "out1"], _feeds()) is None
