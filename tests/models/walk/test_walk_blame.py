"""The walk names the layer that is to blame, whatever stands around it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bakeoff.models.errors import UserError
from onnx import numpy_helper

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


@pytest.mark.parametrize("guilty", ["stem", "conv0a", "conv0b", "dw1", "pw1", "conv2", "fc"])
def test_perturbed_weights_are_named_first(walker, guilty):
    """Noise in the weights of one layer: that layer departs first, adds the only error, and has all the cost."""
    net = nets.make_net(("residual", "depthwise", "swish"))
    other = nets.copy_of(net)
    weight = numpy_helper.to_array(nets.weights_of(net)[f"{guilty}_w"])
    noise = np.random.default_rng(1).standard_normal(weight.shape) * weight.std()
    nets.replace_weight(other, f"{guilty}_w", (weight + noise).astype(np.float32))
    found = walker(net, other)

    departed = found.first_departure()
    assert departed is not None
    assert guilty == departed.node
    (culprit,) = found.worst()
    assert (guilty, 1.0, (guilty,)) == (culprit.node, culprit.cost_share, culprit.keep)
    assert culprit.local_snr_db == pytest.approx(culprit.snr_db)
    assert culprit.output_snr_db == pytest.approx(found.output_snr_db, abs=3.0)  # over 4 of the 6 images


@pytest.mark.parametrize("guilty", ["stem", "conv0a", "add0", "dw1", "pw1"])
def test_a_wrong_zero_point_is_named_first(walker, tmp_path, guilty):
    """A rounding that is off by 40 steps belongs to the value that it rounds, and goes with who reads it."""
    net = nets.make_net(("residual", "depthwise"))
    int8 = nets.quantize(net, tmp_path / "int8")
    before = walker(net, int8)
    assert before.first_departure() is None
    row = next(row for row in before.layers if row.node == guilty)
    (decode,) = [node for node in int8.graph.node if row.variant_value in node.output]
    assert "DequantizeLinear" == decode.op_type
    wrong = numpy_helper.to_array(nets.weights_of(int8)[decode.input[2]]).astype(int) + 40
    int8.graph.initializer.append(numpy_helper.from_array(np.uint8(wrong % 256), "wrong_zero_point"))
    decode.input[2] = "wrong_zero_point"
    found = walker(net, int8)

    departed = found.first_departure()
    assert departed is not None
    assert (guilty, guilty) == (departed.node, found.worst()[0].node)
    assert departed.keep
    assert guilty not in departed.keep


def test_equal_graphs_have_no_error(walker):
    """Nothing departs, and ratios are None where nothing differs."""
    net = nets.make_net()
    found = walker(net, nets.copy_of(net))
    assert found.first_departure() is None
    assert [] == found.worst()
    assert {None} == {row.snr_db for row in found.layers}
    assert (None, 1.0) == (found.output_snr_db, found.top1_agreement)
    assert found.heavy == found.heavy_aligned == 6


def test_nan_is_named_where_it_begins(walker):
    """A NaN has no ratio; the first layer that holds one has departed."""
    net = nets.make_net()
    other = nets.copy_of(net)
    bias = np.zeros(nets.CHANNELS, np.float32)
    bias[2] = np.nan
    nets.replace_weight(other, "conv0b_b", bias)
    found = walker(net, other)
    departed = found.first_departure()
    assert departed is not None
    assert ("conv0b", nets.SIZE * nets.SIZE * 6) == (departed.node, departed.broken)
    assert found.outputs[0].broken


def test_nan_in_the_reference_is_the_users(walker):
    """With a reference that is not finite nothing can be compared."""
    net = nets.make_net()
    nets.replace_weight(net, "fc_b", np.full(10, np.nan, np.float32))
    with pytest.raises(UserError, match="output 'y' of the reference holds NaN"):
        walker(net, nets.make_net())
