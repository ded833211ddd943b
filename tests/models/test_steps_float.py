"""fp16 and bf16, and weights stored in 8 and 4 bits."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from bakeoff.models.engine import run_graph
from bakeoff.models.errors import UnsupportedError
from bakeoff.models.graph import infer, name_nodes, tensor_specs
from bakeoff.models.steps.base import StepContext, apply_step
from bakeoff.models.steps.weight_only import block_size
from bakeoff.models.variants import parse_variant
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def _apply(model, text):
    result = apply_step(model, parse_variant(text).steps[-1], StepContext())
    name_nodes(result.model.graph)
    return result, infer(result.model, strict=True)


def _outputs(model, tmp_path, x):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    ((y,),) = run_graph(path, [[x]])
    return y


def _types(model):
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.fixture
def x():
    """One image."""
    return np.random.default_rng(5).standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize(("text", "dtype"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_everything_between_the_ends_is_16_bits_wide(small_net, text, dtype):
    """Weights and every operator; inputs and outputs stay as they were, and nodes keep their names."""
    model = small_net()
    result, made = _apply(model, text)

    assert {dtype} == set(_types(made).values())
    values = {value.name: value.type.tensor_type.elem_type for value in made.graph.value_info}
    assert {dtype} == set(values.values())
    for part in ("input", "output"):
        assert tensor_specs(getattr(model.graph, part)) == tensor_specs(getattr(made.graph, part))
    assert [n.name for n in model.graph.node] == [n.name for n in made.graph.node if n.op_type != "Cast"]
    assert {"16-bit layers": "4 of 4", "casts": "2"}.items() <= result.facts.items()


def test_fp16_computes_nearly_the_same(small_net, tmp_path, x):
    """Half precision has 11 bits."""
    model = small_net()
    _, made = _apply(model, "fp16")

    np.testing.assert_allclose(_outputs(model, tmp_path, x), _outputs(made, tmp_path, x), atol=2e-2)


def test_bf16_computes_roughly_the_same(small_net, x):
    """bfloat16 has 8 bits; the reference evaluator runs it where onnxruntime cannot."""
    model = small_net()
    del model.graph.node[2:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("r1", TensorProto.FLOAT, (1, 32, 8, 8)))
    _, made = _apply(model, "bf16")
    before, after = (ReferenceEvaluator(item).run(None, {"x": x})[0] for item in (model, made))

    assert np.float32 == after.dtype
    np.testing.assert_allclose(before, after, atol=0.1)
    assert not np.array_equal(before, after)


def test_a_node_to_keep_stays_in_fp32_between_casts(small_net, tmp_path, x):
    """Its weights too."""
    result, made = _apply(small_net(), "fp16:keep=point")
    types = _types(made)

    assert TensorProto.FLOAT == types["w_point"]
    assert TensorProto.FLOAT16 == types["w_depth"]
    assert "3 of 4" == result.facts["16-bit layers"]
    np.testing.assert_allclose(_outputs(small_net(), tmp_path, x), _outputs(made, tmp_path, x), atol=2e-2)


def test_what_must_be_fp32_stays_so(tmp_path):
    """The scales of a Resize are fp32 by its schema, and an operator of the graph's own domain is cast around."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Resize", ["c", "", "scales"], ["y"], name="resize", mode="nearest"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8, 8))],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32([1, 1, 2, 2]), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    _, made = _apply(model, "fp16")

    assert {"w": TensorProto.FLOAT16, "scales": TensorProto.FLOAT} == _types(made)
    x = np.random.default_rng(1).standard_normal((1, 3, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(_outputs(model, tmp_path, x), _outputs(made, tmp_path, x), atol=2e-2)


def test_casts_of_the_graph_follow(tmp_path):
    """A Cast to float inside becomes one to 16 bits."""
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["i"], ["f"], name="cast", to=TensorProto.FLOAT),
                helper.make_node("MatMul", ["f", "w"], ["y"], name="mul"),
            ],
            "net",
            [helper.make_tensor_value_info("i", TensorProto.INT64, (1, 2))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2))],
            [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    _, made = _apply(model, "fp16")

    np.testing.assert_array_equal([[3.0, 4.0]], _outputs(made, tmp_path, np.array([[3, 4]])))
    assert TensorProto.FLOAT16 == made.graph.node[0].attribute[0].i


def test_weights_too_large_for_fp16_are_clipped_and_told(small_net):
    """An attention mask of -1e9 must not become minus infinity."""
    model = small_net()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((32, 3, 3, 3), -1e9, np.float32), "w_stem"))
    result, made = _apply(model, "fp16")
    (stem,) = (numpy_helper.to_array(t) for t in made.graph.initializer if t.name == "w_stem")

    assert ("864 weights beyond 65504 were clipped to it",) == result.notes
    assert -65504 == stem.max()


def test_control_flow_is_unsupported(small_net):
    """A graph inside a node is not walked into."""
    model = small_net()
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], [], name="choice", then_branch=inner, else_branch=inner))

    with pytest.raises(UnsupportedError, match=r"node 'choice' \(If\) holds a graph of its own"):
        apply_step(model, parse_variant("fp16").steps[-1], StepContext())


def test_int8_weights_are_off_by_less_than_a_step(small_net):
    """Per output channel, symmetric; the layers read what DequantizeLinear makes of them."""
    result, made = _apply(small_net(), "int8-weights")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    levels, scale = tensors["w_point_quantized"], tensors["w_point_scale"]
    (original,) = (numpy_helper.to_array(t) for t in small_net().graph.initializer if t.name == "w_point")

    assert (np.int8, (32,)) == (levels.dtype, scale.shape)
    assert (np.abs(levels * scale[:, None, None, None] - original) <= scale[:, None, None, None]).all()
    assert 4 == sum(node.op_type == "DequantizeLinear" for node in made.graph.node)
    assert "w_point" not in tensors
    assert "4 of 4" == result.facts["quantized layers"]


def test_int4_weights_lie_in_blocks_of_inputs(small_net, tmp_path, x):
    """Layers without enough input channels stay and are named; opset 21 brings the type."""
    model = small_net()
    result, made = _apply(model, "int4-weights")
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}

    assert "2 of 4" == result.facts["quantized layers"]
    assert "stem, depth" == result.facts["layers in fp32"]
    assert ml_dtypes.int4 == tensors["w_point_quantized"].dtype
    assert (32, 1, 1, 1) == tensors["w_point_scale"].shape
    assert 21 <= made.opset_import[0].version
    assert made.ByteSize() < model.ByteSize()
    assert np.isfinite(_outputs(made, tmp_path, x)).all()
    (original,) = (numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w_point")
    stored = tensors["w_point_quantized"].astype(np.float32) * tensors["w_point_scale"]
    assert np.square(stored - original).sum() < 0.02 * np.square(original).sum()


@pytest.mark.parametrize(
    ("channels", "size"), [(64, 32), (24, 24), (48, 48), (58, 58), (144, 48), (3, None), (1, None)]
)
def test_size_of_a_block(channels, size):
    """32 where it divides, else the largest divisor between 16 and 64."""
    assert size == block_size(channels)


def test_a_kept_layer_keeps_its_weights(small_net):
    """In both ways of storing weights."""
    for text in ("int8-weights:keep=point", "int4-weights:keep=point"):
        _, made = _apply(small_net(), text)

        assert TensorProto.FLOAT == _types(made)["w_point"]
