"""What steps ask of a graph's layers, masks of ONNX files, weights without saturation, the counts of a step."""

import numpy as np
import pytest
from bakeoff.models.errors import UnsupportedError, UserError
from bakeoff.models.steps.base import STEPS, StepContext, apply_step
from bakeoff.models.steps.count import count
from bakeoff.models.steps.layers import check_layers, find_layers, lift_constants
from bakeoff.models.steps.rounding import round_in_sums
from bakeoff.models.steps.saturation import pair_peak, safe_scales
from bakeoff.models.variants import CATALOGUE, Step, parse_variant
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper


def _step(text):
    recipe = parse_variant(text)
    return recipe.steps[-1]


def _layer(weight, kind="Conv", **attributes):
    node = helper.make_node(kind, ["x", "w"], ["y"], name="layer", **attributes)
    graph = helper.make_graph([node], "g", [], [], [numpy_helper.from_array(np.asarray(weight, np.float32), "w")])
    (found,) = find_layers(graph)
    return found


def test_every_step_from_onnx_to_onnx_can_be_carried_out():
    """Each precision and clean-up of the catalogue has a function."""
    kinds = {parse_variant(name).steps[-1].kind for name in CATALOGUE if name in STEPS}

    assert {"slim", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights", "int4-weights"} == kinds
    assert set(STEPS) == kinds | {"sparse", "settled", "scaled"}


def test_a_step_on_a_module_is_unsupported(small_net):
    """Channels are cut out of a torch module, never out of a file."""
    with pytest.raises(UnsupportedError, match="channel50 works on a torch module") as caught:
        apply_step(small_net(), _step("channel50"), StepContext())

    assert "refactor" == caught.value.stage


@pytest.mark.parametrize(
    ("kind", "attributes", "axes"),
    [("Conv", {}, (0, 1)), ("ConvTranspose", {}, (1, 0)), ("Gemm", {"transB": 1}, (0, 1)), ("Gemm", {}, (1, 0))],
)
def test_axes_of_the_weights(kind, attributes, axes):
    """Where outputs and inputs lie depends on the operator."""
    layer = _layer(np.arange(24.0).reshape(4, 6, *[1] * (2 if "Conv" in kind else 0)), kind, **attributes)

    assert axes == (layer.output_axis, layer.input_axis)
    assert layer.tensor.dims[axes[0]] == len(layer.by_output(layer.weight))
    np.testing.assert_array_equal(layer.weight, layer.stored(layer.by_output(layer.weight)))


def test_a_node_to_keep_that_is_not_there_is_named_with_its_neighbours(small_net):
    """A misspelt name is the user's mistake, and near ones are suggested."""
    with pytest.raises(UserError, match=r"^int8:keep=pont: the graph has no node 'pont'; did you mean point\?$"):
        check_layers(small_net().graph, _step("int8:keep=pont"))


def test_nothing_left_to_do_is_unsupported(small_net):
    """A graph whose layers are all kept, and one that has none."""
    keep = "|".join(["stem", "depth", "point", "head"])
    with pytest.raises(UnsupportedError, match="beside the 4 to keep"):
        check_layers(small_net().graph, _step(f"int8:keep={keep}"))
    empty = small_net()
    del empty.graph.node[:]
    with pytest.raises(UnsupportedError, match="int8 does not apply: the graph has no Conv or Gemm with constant"):
        check_layers(empty.graph, _step("int8"), ("Conv", "Gemm"))


def test_weights_that_are_no_numbers_are_named(small_net):
    """NaN weights cannot be rounded to anything."""
    model = small_net()
    tensor = next(item for item in model.graph.initializer if item.name == "w_point")
    broken = numpy_helper.to_array(tensor).copy()
    broken[3, 2] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(broken, "w_point"))

    with pytest.raises(UnsupportedError, match="weights 'w_point' of node 'point' hold NaN"):
        apply_step(model, _step("int8-weights"), StepContext())


def test_a_quantized_graph_is_not_quantized_again(small_net):
    """Rounding twice would blame the wrong step."""
    once = apply_step(small_net(), _step("int8-weights"), StepContext()).model

    with pytest.raises(UnsupportedError, match="quantized already"):
        apply_step(once, _step("int4-weights"), StepContext())


def test_constants_become_initializers(small_net):
    """Weights in Constant nodes are found too."""
    graph = small_net().graph
    tensor = next(item for item in graph.initializer if item.name == "w_point")
    graph.node.insert(0, helper.make_node("Constant", [], ["w_point"], value=tensor))
    graph.initializer.remove(tensor)
    assert 3 == len(find_layers(graph))
    lift_constants(graph)

    assert 4 == len(find_layers(graph))


def test_a_mask_leaves_zeros_in_place(small_net):
    """The share is that of all weights, and biases are left alone."""
    model = small_net()
    result = apply_step(model, _step("sparse80"), StepContext())
    counted = count(result.model)

    assert 0.8 == pytest.approx(counted.zeros / counted.parameters, abs=1e-3)
    assert count(model).parameters == counted.parameters
    assert "0.0% -> 80.0%" == result.facts["zeros"]
    assert "4 of 4" == result.facts["masked layers"]
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in item.graph.initializer} for item in (model, result.model)
    )
    for name in before:
        np.testing.assert_array_equal(np.where(after[name] != 0, before[name], 0), after[name])


def test_two_of_four_runs_along_the_inputs(small_net):
    """Of each four neighbouring inputs two are zero; layers without fours stay dense and are named."""
    result = apply_step(small_net(), _step("sparse2:4"), StepContext())
    weights = {t.name: numpy_helper.to_array(t) for t in result.model.graph.initializer}

    assert "stem, depth" == result.facts["dense layers"]
    assert (2 == np.count_nonzero(weights["w_head"].reshape(10, 8, 4), axis=2)).all()
    assert (2 == np.count_nonzero(weights["w_point"].reshape(32, 8, 4), axis=2)).all()


@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 3), st.integers(0, 10_000))
def test_no_pair_of_products_leaves_16_bits(outputs, inputs, window, seed):
    """With the largest activation, in every order in which kernels walk through the weights."""
    weight = np.random.default_rng(seed).standard_t(2, (outputs, inputs, window, window))
    layer = _layer(weight)
    levels = round_in_sums(layer.weight / safe_scales(layer)[:, None, None, None]).astype(np.int64)
    assert np.abs(levels).max() <= 127
    for order in (levels, np.moveaxis(levels, 1, -1)):
        rows = order.reshape(outputs, -1)
        for first, second in zip(rows.T[0::2], rows.T[1::2], strict=False):
            sums = 255 * (first + second)
            assert sums.max() <= 2**15 - 1
            assert sums.min() >= -(2**15)


def test_scales_are_no_coarser_than_pairs_ask_for():
    """Two large weights that never meet cost nearly nothing; an empty channel gets a scale that is no zero."""
    apart = np.array([[1.0, 0, 1.0, 0], [1.0, 1.0, 0, 0], [0, 0, 0, 0]])
    layer = _layer(apart, "Gemm", transB=1)

    np.testing.assert_allclose([1 / 126, 2 / 126, 1], safe_scales(layer), rtol=1e-6)
    np.testing.assert_array_equal([1, 2, 0], pair_peak(layer.weight))


def test_steps_leave_their_model_alone(small_net):
    """Each is a pure function."""
    for text in ("sparse50", "fp16", "bf16", "int8-weights", "int4-weights"):
        model = small_net()
        apply_step(model, _step(text), StepContext())

        assert small_net().SerializeToString() == model.SerializeToString(), text


def test_unknown_kind_of_step():
    """A kind that no module stands behind is said to work on a module."""
    with pytest.raises(UnsupportedError):
        apply_step(None, Step(kind="light", text="light"), StepContext())


@given(st.integers(1, 5), st.integers(1, 9), st.sampled_from([(), (1, 1), (3, 3)]), st.integers(0, 10_000))
def test_rounding_keeps_the_sums_of_windows(outputs, inputs, window, seed):
    """And those of channels: off by 1/2 at most; no weight moves by 1."""
    levels = np.random.default_rng(seed).normal(0, 30, (outputs, inputs, *window))
    rounded = round_in_sums(levels)
    error = (rounded - levels).reshape(outputs, inputs, -1)

    assert np.array_equal(rounded, np.rint(rounded))
    assert np.abs(error).max() < 1
    assert np.abs(error.sum(axis=(1, 2))).max() <= 0.5 + 1e-4
    assert np.abs(error.sum(axis=2)).max() < 1.5
