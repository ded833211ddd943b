"""Static and dynamic 8-bit quantization: what becomes integer, what keeps its name, and how far the outputs move."""

import numpy as np
import onnx
import onnxruntime
import pytest
from bakeoff.models.errors import UserError
from bakeoff.models.graph import infer, name_nodes, tensor_specs
from bakeoff.models.steps.base import StepContext, apply_step
from bakeoff.models.steps.bias import correct_biases, mean_inputs
from bakeoff.models.steps.static_int8 import apply_float
from bakeoff.models.variants import parse_variant
from onnx import TensorProto, numpy_helper

pytestmark = pytest.mark.slow


def _feeds(count=4, batch=1, seed=7):
    rng = np.random.default_rng(seed)
    return tuple((rng.standard_normal((batch, 3, 16, 16)).astype(np.float32),) for _ in range(count))


def _apply(model, text, feeds=None):
    result = apply_step(model, parse_variant(text).steps[-1], StepContext(calibration=feeds))
    name_nodes(result.model.graph)
    return result, infer(result.model, strict=True)


def _session(model, path, level="ORT_ENABLE_ALL", **settings):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
    onnx.save(model, path)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], **settings)


def _run(session, feeds):
    return np.concatenate([session.run(None, {"x": x})[0] for (x,) in feeds])


def _snr(ours, reference):
    return 10 * np.log10(np.square(reference).sum() / np.square(ours - reference).sum())


@pytest.mark.parametrize("calibration", ["", ":entropy", ":percentile"])
def test_everything_runs_on_integers_in_one_runtime(small_net, tmp_path, calibration):
    """All layers; the outputs stay in float, near the reference."""
    model = small_net()
    result, made = _apply(model, f"int8{calibration}", _feeds())
    session = _session(made, tmp_path / "int8.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.optimized.onnx").graph.node]

    assert 3 == kinds.count("QLinearConv")
    assert 1 == kinds.count("QGemm")
    assert not {"Conv", "FusedConv", "Gemm"} & set(kinds)
    assert "4 of 4" == result.facts["quantized layers"]
    assert (calibration[1:] or "minmax") == result.parameters["calibration"]
    feeds = _feeds(8, seed=8)
    assert 20 < _snr(_run(session, feeds), _run(_session(model, tmp_path / "float.onnx"), feeds))


def test_layers_keep_their_names_and_the_graph_its_ends(small_net):
    """Relu and Clip go, because the range of uint8 does what they did."""
    model = small_net()
    _, made = _apply(model, "int8", _feeds())

    names = {node.name for node in made.graph.node}
    assert {"stem", "depth", "point", "residual", "head"} <= names
    assert not {"stem_relu", "depth_clip"} & names
    for part in ("input", "output"):
        assert tensor_specs(getattr(model.graph, part)) == tensor_specs(getattr(made.graph, part))
    assert {""} == {entry.domain for entry in made.opset_import}


def test_weights_are_signed_and_activations_unsigned(small_net):
    """With one scale for each output channel, and biases in int32."""
    _, made = _apply(small_net(), "int8", _feeds())
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}
    for node in made.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            activation, weight, bias = (makers[name] for name in node.input)
            assert TensorProto.UINT8 == tensors[activation.input[2]].data_type
            assert TensorProto.INT8 == tensors[weight.input[0]].data_type
            assert TensorProto.INT32 == tensors[bias.input[0]].data_type
            assert list(tensors[weight.input[1]].dims) == list(tensors[bias.input[0]].dims)


def test_a_layer_to_keep_stays_in_float(small_net, tmp_path):
    """Its weights are those of the float model; ONNX Runtime runs it so with its own weight quantizer off."""
    result, made = _apply(small_net(), "int8:keep=depth", _feeds())
    _session(made, tmp_path / "int8.onnx", disabled_optimizers=["WeightBiasQuantization"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.optimized.onnx").graph.node]

    (weight,) = (tensor for tensor in made.graph.initializer if tensor.name == "w_depth")
    assert TensorProto.FLOAT == weight.data_type
    assert ("3 of 4", "depth") == (result.facts["quantized layers"], result.facts["layers in fp32"])
    assert 2 == kinds.count("QLinearConv")
    assert 1 == kinds.count("Conv") + kinds.count("FusedConv")


def test_a_batch_and_two_builds(small_net):
    """Calibration comes in the graph's batch; the same input gives the same bytes."""
    feeds = _feeds(batch=2)
    made = [_apply(small_net(batch=2), "int8", feeds)[1].SerializeToString(deterministic=True) for _ in range(2)]

    assert made[0] == made[1]


def test_corrected_biases_take_the_mean_error_away(small_net, tmp_path):
    """Weights that are off by much shift the mean of a layer; corrected, it is back where it was."""
    feeds = _feeds(16)
    model = apply_float(small_net(), parse_variant("int8").steps[-1], StepContext(calibration=feeds)).model
    _, made = _apply(small_net(), "int8", feeds)
    for tensor in made.graph.initializer:
        if tensor.name == "w_depth_quantized":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) // 4 * 4, tensor.name))
    before = mean_inputs(model, ["s"], feeds)["s"]

    def distance():
        return np.abs(mean_inputs(made, ["s"], feeds)["s"] - before).mean()

    shifted = distance()
    corrected = correct_biases(model, made, feeds)

    assert 4 == corrected
    assert distance() < 0.5 * shifted


def test_calibration_data_that_does_not_fit_is_named(small_net):
    """One line each: none, another shape, another type, another number, no numbers."""
    (x,) = _feeds(1)[0]
    cases = {
        "int8: needs calibration data": None,
        "calibration data for 'x' is 1x3x8x8 float32; the model takes 1x3x16x16 float32": ((x[:, :, :8, :8],),),
        "calibration data for 'x' is 1x3x16x16 float64": ((x.astype(np.float64),),),
        "calibration data has 2 inputs, and the model 1": ((x, x),),
        "calibration data for 'x' holds NaN": ((np.full_like(x, np.nan),),),
    }
    for text, feeds in cases.items():
        with pytest.raises(UserError, match=text) as caught:
            apply_step(small_net(), parse_variant("int8").steps[-1], StepContext(calibration=feeds))
        assert "\n" not in str(caught.value)


def test_dynamic_layers_keep_their_names_too(small_net, tmp_path):
    """Convolutions and Gemm become integer operators; a kept one does not."""
    model = small_net()
    result, made = _apply(model, "int8-dynamic:keep=depth")
    kinds = {node.name: node.op_type for node in made.graph.node}

    assert ("ConvInteger", "Conv", "ConvInteger", "MatMulInteger") == tuple(
        kinds[name] for name in ("stem", "depth", "point", "head")
    )
    assert ("3 of 4", "depth") == (result.facts["quantized layers"], result.facts["layers in fp32"])
    feeds = _feeds(4, seed=8)
    session = _session(made, tmp_path / "dynamic.onnx")
    assert 20 < _snr(_run(session, feeds), _run(_session(model, tmp_path / "float.onnx"), feeds))


def test_slim_cleans_up_and_computes_the_same(conv_model, tmp_path):
    """The constant Add goes into the Conv."""
    result, made = _apply(conv_model(shape=(1, 3, 8, 8)), "slim")

    assert ["Conv", "Relu"] == [node.op_type for node in made.graph.node]
    assert "3 -> 2" == result.facts["nodes"]
