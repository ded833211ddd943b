"""A walk through quantized graphs and those in 16 bits."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from bakeoff.models.walk import THRESHOLD_DB
from onnx import TensorProto, helper, numpy_helper

nets = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("nets.py"))))  # test folders are no packages


@pytest.mark.parametrize("blocks", [("residual",), ("depthwise", "residual"), ("swish", "depthwise")])
def test_every_layer_is_found_in_a_quantized_graph(walker, tmp_path, blocks):
    """All layers with weights have a partner though Relu and Clip are gone, with the figures of a good int8."""
    net = nets.make_net(blocks)
    found = walker(net, nets.quantize(net, tmp_path / "int8"))
    assert found.heavy == found.heavy_aligned
    assert () == found.unaligned == found.reshaped
    rows = {row.node: row for row in found.layers}
    assert "Conv+Clip" == rows["stem"].op
    assert "Input" == found.layers[0].op
    for row in found.layers:
        assert row.snr_db is not None
        assert 15.0 < row.snr_db < 60.0
    assert 1.0 == pytest.approx(sum(row.cost_share or 0.0 for row in found.layers))
    assert found.output_snr_db > THRESHOLD_DB


def test_dynamic_quantization(walker, tmp_path):
    """Layers that became ConvInteger and MatMulInteger are found by the names of their values."""
    from onnxruntime.quantization import quantize_dynamic

    net = nets.make_net()
    onnx.save(net, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "dynamic.onnx")
    dynamic = onnx.load(tmp_path / "dynamic.onnx")
    for node in dynamic.graph.node:
        if node.op_type == "ConvInteger":
            node.name = node.name.removesuffix("_quant")  # the layer's own name, though it sums codes
    found = walker(net, dynamic)
    assert found.heavy == found.heavy_aligned
    assert all(row.snr_db is None or row.snr_db > THRESHOLD_DB for row in found.layers)
    assert {"stem", "conv0a", "conv0b", "dw1", "pw1", "fc"} == {row.node for row in found.worst()}


@pytest.mark.parametrize(("dtype", "low", "high"), [("float16", 50.0, 120.0), ("bfloat16", 35.0, 75.0)])
def test_half_precision(walker, dtype, low, high):
    """Values behind casts are compared, and layers are fed in the precision that they take."""
    net = nets.make_net()
    found = walker(net, in_half(net, dtype))
    assert found.heavy == found.heavy_aligned
    assert found.first_departure() is None
    for row in found.layers:
        assert row.snr_db is None or low < row.snr_db < high
    assert found.worst()


def in_half(net, dtype):
    """*net* in a 16-bit type, with casts at its ends."""
    element = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]
    half = nets.copy_of(net)
    del half.opset_import[:]
    half.opset_import.append(helper.make_opsetid("", 22))  # the first in which Conv takes bfloat16
    for item in half.graph.initializer:
        array = numpy_helper.to_array(item)
        item.CopyFrom(helper.make_tensor(item.name, element, array.shape, array.ravel()))
    for node in half.graph.node:
        node.input[:] = ["x_half" if name == "x" else name for name in node.input]
        node.output[:] = ["y_half" if name == "y" else name for name in node.output]
    half.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], name="cast_in", to=element))
    half.graph.node.append(helper.make_node("Cast", ["y_half"], ["y"], name="cast_out", to=TensorProto.FLOAT))
    return half
