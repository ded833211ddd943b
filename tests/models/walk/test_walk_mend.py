"""Mixed precision repairs what the walk names."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
from bakeoff.models.mend import MOST_KEPT, mend, target_db
from bakeoff.models.walk import THRESHOLD_DB
from onnx import numpy_helper

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


@pytest.mark.parametrize(("spoil", "guilty"), [("spoil_weights", "conv0a"), ("spoil_values", "pw1")])
def test_mixed_precision_mends_what_the_walk_names(walker, tmp_path, spoil, guilty):
    """The layer that int8 ruins, or that reads a value it ruins, stays in fp32: really built so, it is better."""
    net = nets.make_net(("residual", "depthwise"))
    {"spoil_weights": spoil_weights, "spoil_values": spoil_values}[spoil](net)
    bad = walker(net, nets.quantize(net, tmp_path / "int8", per_channel=False))
    tried = []

    def rebuild(keep):
        tried.append(keep)
        return walker(net, nets.quantize(net, tmp_path / "mixed", keep, per_channel=False))

    mended = mend(bad, rebuild)
    assert mended is not None
    assert guilty in mended.keep
    assert guilty in bad.worst()[0].keep
    assert (mended.keep, mended.attempts) == (tried[-1], len(tried))
    assert len(mended.keep) <= MOST_KEPT
    assert bad.output_snr_db < THRESHOLD_DB
    assert mended.found.output_snr_db >= target_db(bad) >= bad.output_snr_db + 6.0


def test_only_what_the_step_changes_is_named(walker, tmp_path):
    """A residual Add reads a rounded value, but int8 leaves it in float anyway: its name would do nothing."""
    net = nets.make_net(("residual", "depthwise"))
    spoil_weights(net)
    bad = walker(net, nets.quantize(net, tmp_path / "int8", per_channel=False))
    kinds = ("Conv", "Gemm", "MatMul")

    mended = mend(
        bad, lambda keep: walker(net, nets.quantize(net, tmp_path / "mixed", keep, per_channel=False)), kinds=kinds
    )

    assert mended is not None
    assert set(mended.keep) <= {node.name for node in net.graph.node if node.op_type in kinds}


def test_nothing_is_proposed_that_is_no_better(walker, tmp_path):
    """A rebuilt variant that comes out the same is no advice."""
    net = nets.make_net()
    bad = walker(net, nets.quantize(net, tmp_path / "int8"))
    assert mend(bad, lambda _keep: bad) is None
    same = walker(net, net)
    assert mend(same, lambda _keep: same) is None


def spoil_weights(net):
    """One weight of `conv0a` takes the whole range of its tensor; it meets a channel that is always zero."""
    bias, weight = (numpy_helper.to_array(nets.weights_of(net)[name]).copy() for name in ("stem_b", "conv0a_w"))
    bias[0], weight[0, 0] = -1000.0, 300.0
    nets.replace_weight(net, "stem_b", bias)
    nets.replace_weight(net, "conv0a_w", weight)


def spoil_values(net):
    """One channel of `dw1` takes the whole range of what `pw1` reads, and counts there as little as any other."""
    depthwise, pointwise = (numpy_helper.to_array(nets.weights_of(net)[name]).copy() for name in ("dw1_w", "pw1_w"))
    depthwise[0] *= 300.0
    pointwise[:, 0] /= 300.0
    nets.replace_weight(net, "dw1_w", depthwise)
    nets.replace_weight(net, "pw1_w", pointwise)
    clip = next(node for node in net.graph.node if node.name == "dw1_act")
    clip.op_type = "Relu"
    del clip.input[1:]
