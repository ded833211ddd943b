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
