"""What a walk takes: shapes that differ, files that do not run, results kept, memory bounded."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from bakeoff.models.errors import StageError, UserError
from bakeoff.models.walk import decode_walk, encode_walk, walk
from onnx import helper, numpy_helper

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


def test_pruned_channels_cannot_be_compared(walker):
    """Layers with another shape are named, what has the same shape is compared, and so are the outputs."""
    net = nets.make_net(("residual",))
    cut = nets.copy_of(net)
    for name, axes in {"conv0a_w": (slice(6),), "conv0a_b": (slice(6),)}.items():
        nets.replace_weight(cut, name, numpy_helper.to_array(nets.weights_of(net)[name])[axes])
    nets.replace_weight(cut, "conv0b_w", numpy_helper.to_array(nets.weights_of(net)["conv0b_w"])[:, :6])
    found = walker(net, cut)
    assert ("conv0a", "act0a") == found.reshaped
    assert ["stem", "stem_act", "conv0b", "add0", "act0b", "pool", "flat", "fc"] == [r.node for r in found.layers]
    assert "conv0b" == found.worst()[0].node
    assert found.output_snr_db is not None


def test_other_outputs(walker):
    """Two models that answer in different shapes are not two variants of one."""
    with pytest.raises(UserError, match=r"output 'y': its shape is \[1, 10\] in the one and \[1, 7\] in the other"):
        walker(nets.make_net(), net_of_seven())


def test_images_of_another_size(walker, tmp_path):
    """The inputs are checked before anything is run."""
    np.savez(tmp_path / "images.npz", images=np.zeros((2, 3, 5, 5), np.float32))
    net = nets.make_net()
    onnx.save(net, tmp_path / "a.onnx")
    with pytest.raises(UserError, match="the graph takes 1"):
        walk(tmp_path / "a.onnx", tmp_path / "a.onnx", tmp_path / "images.npz", cache=tmp_path / "cache")


def test_a_graph_that_does_not_run(walker):
    """What the engine cannot run is an error of the stage, not a traceback."""
    net = nets.make_net()
    broken = nets.copy_of(net)
    broken.graph.node[0].domain = "nobody.knows"
    broken.opset_import.append(helper.make_opsetid("nobody.knows", 1))
    with pytest.raises(StageError, match="cannot be walked through"):
        walker(net, broken)


def net_of_seven():
    net = nets.NetMaker()
    net.conv("stem", channels_in=3)
    return net.finish(classes=7)


def test_results_are_kept_and_read_back(walker, tmp_path, monkeypatch):
    """A second walk through the same files starts no process, and JSON loses nothing."""
    net = nets.make_net()
    int8 = nets.quantize(net, tmp_path / "int8")
    first = walker(net, int8)
    assert first == decode_walk(encode_walk(first))

    def fail(*_args, **_options):
        raise AssertionError("it was computed again")

    monkeypatch.setattr("bakeoff.models.walk.call", fail)
    assert first == walker(net, int8)


def test_memory_is_bounded_by_slices(walker, tmp_path, monkeypatch):
    """A graph walked in many small parts gives the same figures as in one."""
    from bakeoff.models import walk_measure, walk_worker

    net = nets.make_net()
    for name, model in (("reference", net), ("variant", nets.quantize(net, tmp_path / "int8"))):
        onnx.save(model, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "inputs.npz", images=nets.CALIBRATION)
    request = {name: str(tmp_path / f"{name}.onnx") for name in ("reference", "variant")}
    request |= {"inputs": str(tmp_path / "inputs.npz"), "scratch": str(tmp_path), "layers": True}
    whole = walk_worker.work(request)
    monkeypatch.setattr(walk_measure, "_BUDGET_BYTES", 1)
    monkeypatch.setattr(walk_worker, "_SURVEYED", 2)
    assert whole == walk_worker.work(request)
    assert not list(Path(tmp_path).glob("tmp*"))
