"""Weights settled in float for runtimes that quantize by themselves."""

import numpy as np
import pytest
from bakeoff.models.steps.base import StepContext, apply_step
from bakeoff.models.steps.bias import mean_inputs
from bakeoff.models.variant_build import _settled
from bakeoff.models.variants import parse_variant
from onnx import numpy_helper

pytestmark = pytest.mark.slow


def _feeds(count=8):
    rng = np.random.default_rng(7)
    return tuple((rng.standard_normal((1, 3, 16, 16)).astype(np.float32),) for _ in range(count))


def _weights(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_a_plain_quantizer_has_nothing_left_to_round(small_net):
    """Divided by a 127th of each channel's largest, the weights are whole numbers; kept layers are as they were."""
    model = small_net()
    result = apply_step(model, _settled(parse_variant("int8:keep=depth").steps[-1]), StepContext(calibration=_feeds()))
    before, after = _weights(model), _weights(result.model)

    assert "3" == result.facts["settled layers"]
    np.testing.assert_array_equal(before["w_depth"], after["w_depth"])
    for name in ("w_stem", "w_point"):
        rows = after[name].reshape(len(after[name]), -1)
        levels = rows / (np.abs(rows).max(axis=1, keepdims=True) / 127)
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert np.abs(after[name] - before[name]).max() <= np.abs(before[name]).max() / 127


def test_means_stay_where_they_were(small_net):
    """Corrected biases make up for what the weights moved; two builds are the same."""
    model, feeds = small_net(), _feeds()
    made = [
        apply_step(model, _settled(parse_variant("int8").steps[-1]), StepContext(calibration=feeds)).model for _ in "ab"
    ]

    before, after = (mean_inputs(graph, ["s"], feeds)["s"] for graph in (model, made[0]))
    np.testing.assert_allclose(after, before, atol=2e-3 * np.abs(before).max() + 1e-3)
    assert made[0].SerializeToString(deterministic=True) == made[1].SerializeToString(deterministic=True)
