"""Tiny ONNX files for the tests of models."""

import numpy as np
import onnx
import pytest
from bakeoff.models.spec import ModelRequest
from bakeoff.models.zoo import resolve
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def conv_model():
    """A factory: Conv, Add of a constant (which a simplifier folds into the Conv), Relu; seeded weights."""

    def make(shape=("N", 3, 8, 8), names=("conv", "add", "relu")):
        rng = np.random.default_rng(0)
        weight = numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "weight")
        bias = numpy_helper.from_array(rng.standard_normal((1, 4, 1, 1)).astype(np.float32), "bias")
        nodes = [
            helper.make_node("Conv", ["x", "weight"], ["c"], name=names[0], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["c", "bias"], ["a"], name=names[1]),
            helper.make_node("Relu", ["a"], ["y"], name=names[2]),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape[0], 4, *shape[2:]))],
            [weight, bias],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    return make


@pytest.fixture
def save_external():
    """Save a model with every initializer in one file beside it."""

    def save(model, path, location="weights.bin"):
        onnx.save(
            model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=location, size_threshold=0
        )

    return save


@pytest.fixture
def request_for(tmp_path):
    """Save a model under tmp_path and ask for it."""

    def ask(model, batch=1, shapes=()):
        path = tmp_path / "net.onnx"
        onnx.save(model, path)
        return ModelRequest(spec=resolve(str(path)), weights="pretrained", batch=batch, shapes=shapes)

    return ask


@pytest.fixture
def small_net():
    """A factory: stem, depthwise convolution, pointwise one with a residual Add, pooling, Gemm; 16 and 32 channels."""

    def make(batch=1, seed=0):
        rng = np.random.default_rng(seed)
        weights = {
            "w_stem": rng.normal(0, 0.3, (32, 3, 3, 3)),
            "b_stem": rng.normal(0, 0.1, 32),
            "w_depth": rng.normal(0, 0.4, (32, 1, 3, 3)),
            "b_depth": rng.normal(0, 0.1, 32),
            "w_point": rng.normal(0, 0.2, (32, 32, 1, 1)),
            "b_point": rng.normal(0, 0.1, 32),
            "w_head": rng.normal(0, 0.3, (10, 32)),
            "b_head": rng.normal(0, 0.1, 10),
            "low": np.array(0.0),
            "high": np.array(6.0),
        }
        nodes = [
            helper.make_node("Conv", ["x", "w_stem", "b_stem"], ["c1"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Relu", ["c1"], ["r1"], name="stem_relu"),
            helper.make_node("Conv", ["r1", "w_depth", "b_depth"], ["c2"], name="depth", pads=[1, 1, 1, 1], group=32),
            helper.make_node("Clip", ["c2", "low", "high"], ["r2"], name="depth_clip"),
            helper.make_node("Conv", ["r2", "w_point", "b_point"], ["c3"], name="point"),
            helper.make_node("Add", ["c3", "r1"], ["s"], name="residual"),
            helper.make_node("GlobalAveragePool", ["s"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "w_head", "b_head"], ["y"], name="head", transB=1),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 3, 16, 16))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (batch, 10))],
            [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    return make
