"""Uneven padding made even by zeros in the kernel: the same results, and only where it is cheap."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from bakeoff.backends.torch_import.kernels import enlarge_kernels, enlarged
from onnx import helper, numpy_helper

_OPSET = [helper.make_opsetid("", 18)]


def _model(shape: tuple[int, ...], *, data: int = 12, integer: bool = False, **attributes: Any) -> Any:
    """A convolution of an input with *data* rows and columns, by a weight of *shape*; quantized if *integer*."""
    random = np.random.default_rng(0)
    channels = shape[1] * attributes.get("group", 1)
    feeds = [helper.make_tensor_value_info("x", 1, [1, channels, data, data])]
    results = [helper.make_tensor_value_info("y", 1, None)]
    conv = helper.make_node("Conv", ["d" if integer else "x", "w"], ["y"], name="conv", **attributes)
    if not integer:
        weight = random.standard_normal(shape).astype(np.float32)
        graph = helper.make_graph([conv], "g", feeds, results, [numpy_helper.from_array(weight, "w")])
    else:
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("DequantizeLinear", ["wq", "ws"], ["w"], axis=0),
            conv,
        ]
        stored = {
            "s": np.array(0.02, np.float32),
            "z": np.array(100, np.uint8),
            "wq": random.integers(-127, 128, shape, dtype=np.int8),
            "ws": random.uniform(0.01, 0.02, shape[0]).astype(np.float32),
        }
        tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
        graph = helper.make_graph(nodes, "g", feeds, results, tensors)
    return helper.make_model(graph, opset_imports=_OPSET, ir_version=10)


def _run(model: Any) -> np.ndarray[Any, Any]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sizes = session.get_inputs()[0].shape
    feed = np.random.default_rng(1).standard_normal(sizes).astype(np.float32)
    return np.asarray(session.run(None, {"x": feed})[0])


def _enlarged(model: Any) -> tuple[Any, tuple[int, ...], list[int]]:
    """*model* enlarged, the kernel that it has then, and its pads."""
    found = onnx.ModelProto.FromString(model.SerializeToString())
    enlarge_kernels(found)
    conv = next(node for node in found.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in found.graph.initializer if tensor.name in ("w", "wq") and len(tensor.dims) > 1)
    pads = next((list(one.ints) for one in conv.attribute if one.name == "pads"), [])
    return found, tuple(weight.dims[2:]), pads


@pytest.mark.parametrize("integer", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize(
    ("attributes", "kernel", "pads"),
    [
        ({"pads": [0, 0, 1, 1], "strides": [2, 2]}, (4, 4), [1, 1, 1, 1]),
        ({"pads": [2, 1, 1, 1], "strides": [2, 1]}, (4, 3), [2, 1, 2, 1]),
        ({"pads": [0, 2, 2, 0], "dilations": [2, 2], "kernel_shape": [3, 3]}, (4, 4), [2, 2, 2, 2]),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (4, 4), [1, 1, 1, 1]),
        ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (4, 4), [1, 1, 1, 1]),
    ],
    ids=["behind", "in front", "dilated", "same upper", "same lower"],
)
def test_the_same_result_by_even_padding(
    attributes: dict[str, Any], kernel: tuple[int, ...], pads: list[int], integer: bool
) -> None:
    """Whichever side lacks something."""
    model = _model((6, 1, 3, 3), integer=integer, group=6, **attributes)
    found, size, even = _enlarged(model)
    assert (kernel, pads) == (size, even)
    np.testing.assert_allclose(_run(found), _run(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "integer", "attributes"),
    [
        ((8, 16, 3, 3), False, {"pads": [0, 0, 1, 1]}),
        ((8, 3, 3, 3), False, {"pads": [0, 0, 1, 1]}),
        ((8, 3, 7, 7), True, {"pads": [2, 2, 3, 3]}),
        ((6, 1, 3, 3), False, {"pads": [1, 1, 1, 1], "group": 6}),
        ((6, 1, 3, 3), False, {"pads": [0, 0, 1, 1], "dilations": [2, 2], "group": 6}),
    ],
    ids=["many channels", "a first one in float", "a large one", "even already", "no whole number of steps"],
)
def test_what_is_left_alone(shape: tuple[int, ...], integer: bool, attributes: dict[str, Any]) -> None:
    """Where the zeros would cost more than the padding, or there is nothing to mend."""
    model = _model(shape, integer=integer, **attributes)
    assert model == _enlarged(model)[0]


def test_a_small_first_convolution_in_integers() -> None:
    """Its padding would be a loop over single bytes."""
    model = _model((8, 3, 3, 3), integer=True, pads=[0, 0, 1, 1], strides=[2, 2])
    found, size, _ = _enlarged(model)
    assert (4, 4) == size
    np.testing.assert_allclose(_run(found), _run(model), rtol=0, atol=1e-5)


def test_a_weight_of_two_convolutions_is_left_alone() -> None:
    """The other one may pad otherwise."""
    model = _model((6, 1, 3, 3), group=6, pads=[0, 0, 1, 1])
    again = helper.make_node("Conv", ["x", "w"], ["z"], name="again", group=6)
    model.graph.node.append(again)
    assert model == _enlarged(model)[0]


def test_what_a_kernel_becomes_is_known_from_the_node() -> None:
    """For whoever meets the enlarged one."""
    (conv,) = _model((6, 1, 3, 3), group=6, pads=[0, 0, 1, 1]).graph.node
    assert (4, 4) == enlarged(conv, (3, 3))
