"""Tiny ONNX files with seeded weights that together hold what vision models are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..base import Array
from .variants import write_variants

__all__ = ["NETS", "UNSUPPORTED", "WIDE", "feeds", "reference", "write_nets"]

NETS = ("plain", "pair", "mobile", "attention")
"""Nets whose outputs are compared: plain CNN; two inputs and two outputs; depthwise, Clip, residual; Softmax."""

WIDE = "wide"
"""Two convolutions large enough to keep several threads busy."""

UNSUPPORTED = "unsupported"
"""Holds the operator Mystery of a domain that nobody knows."""

_OPSET = 18


class _Net:
    """Collects the nodes and weights of one graph."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._random = np.random.default_rng(sum(name.encode()))

    def weight(self, *shape: int) -> str:
        """A seeded weight, scaled so that activations neither vanish nor explode."""
        fan_in = int(np.prod(shape[1:])) or 1
        return self.constant(self._random.standard_normal(shape, np.float32) / np.float32(np.sqrt(fan_in)))

    def constant(self, array: Array) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def node(self, op: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"t{len(self.nodes)}"
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def conv(self, data: str, channels_in: int, channels_out: int, *, size: int = 3, group: int = 1) -> str:
        weight = self.weight(channels_out, channels_in // group, size, size)
        pads = [size // 2] * 4
        bias = self.weight(channels_out)
        return self.node("Conv", data, weight, bias, kernel_shape=[size, size], pads=pads, group=group)

    def save(self, folder: Path, inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> None:
        import onnx

        model = self.model(inputs, outputs)
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{self.name}.onnx")

    def model(self, inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> Any:
        from onnx import TensorProto, helper

        sources, sinks = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
            for group in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, self.name, sources, sinks, initializer=self.weights)
        opsets = [helper.make_opsetid("", _OPSET)]
        if any(node.domain for node in self.nodes):
            opsets.append(helper.make_opsetid("com.example", 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="bakeoff")


def write_nets(folder: Path) -> None:
    """Write all nets into *folder* as NAME.onnx."""
    for write in (_plain, _pair, _mobile, _attention, _wide, _unsupported):
        write(folder)
    write_variants(folder, _varied().model({"image": [1, 3, 16, 16]}, {"logits": [1, 10]}))


def feeds(model: Path, count: int) -> list[list[Array]]:
    """*count* different sets of random inputs for *model*, each in the graph's order; the same every time."""
    import onnx

    graph = onnx.load(model).graph
    random = np.random.default_rng(7)
    shapes = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input]
    return [[random.standard_normal(shape, np.float32) for shape in shapes] for _ in range(count)]


def reference(model: Path, inputs: list[Array]) -> list[Array]:
    """Outputs of onnx's reference evaluator."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))
    return [np.asarray(out) for out in evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True)))]


def _plain(folder: Path) -> None:
    net = _Net("plain")
    hidden = net.node("Relu", net.conv("image", 3, 8))
    hidden = net.node("MaxPool", hidden, kernel_shape=[2, 2], strides=[2, 2])
    hidden = net.node("GlobalAveragePool", net.node("Relu", net.conv(hidden, 8, 16)))
    hidden = net.node("Flatten", hidden)
    net.node("Gemm", hidden, net.weight(10, 16), net.weight(10), output="logits", transB=1)
    net.save(folder, {"image": [1, 3, 16, 16]}, {"logits": [1, 10]})


def _pair(folder: Path) -> None:
    # Names and shapes are chosen so that sorting inputs or outputs by name shows.
    net = _Net("pair")
    zebra, apple = net.conv("zebra", 3, 4), net.conv("apple", 2, 4)
    both = net.node("Add", zebra, apple)
    net.node("Relu", net.node("Concat", both, zebra, axis=1), output="yard")
    net.node("GlobalAveragePool", both, output="barn")
    net.save(folder, {"zebra": [1, 3, 8, 8], "apple": [1, 2, 8, 8]}, {"yard": [1, 8, 8, 8], "barn": [1, 4, 1, 1]})


def _mobile(folder: Path) -> None:
    net = _Net("mobile")
    low, high = (net.constant(np.array(bound, np.float32)) for bound in (0, 6))
    hidden = net.node("Clip", net.conv("image", 3, 16, size=1), low, high)
    deep = net.node("Clip", net.conv(hidden, 16, 16, group=16), low, high)
    hidden = net.node("Add", hidden, net.conv(deep, 16, 16, size=1))
    hidden = net.node("HardSwish", hidden)
    axes = net.constant(np.array([2, 3], np.int64))
    shape = net.constant(np.array([1, 16], np.int64))
    net.node("Reshape", net.node("ReduceMean", hidden, axes, keepdims=1), shape, output="features")
    net.save(folder, {"image": [1, 3, 14, 14]}, {"features": [1, 16]})


def _attention(folder: Path) -> None:
    net = _Net("attention")
    query, key, value = (net.node("MatMul", "tokens", net.weight(16, 16)) for _ in range(3))
    scores = net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 1]))
    net.node("MatMul", net.node("Softmax", scores, axis=-1), value, output="mixed")
    net.save(folder, {"tokens": [1, 12, 16]}, {"mixed": [1, 12, 16]})


def _varied() -> _Net:
    net = _Net("varied")
    low, high = (net.constant(np.array(bound, np.float32)) for bound in (0, 6))
    hidden = net.node("Relu", net.conv("image", 3, 16))
    deep = net.node("Clip", net.conv(hidden, 16, 16, group=16), low, high)
    hidden = net.node("Relu", net.node("Add", hidden, net.conv(deep, 16, 16, size=1)))
    hidden = net.node("MaxPool", hidden, kernel_shape=[2, 2], strides=[2, 2])
    hidden = net.node("GlobalAveragePool", net.node("Relu", net.conv(hidden, 16, 32)))
    net.node("Gemm", net.node("Flatten", hidden), net.weight(10, 32), net.weight(10), output="logits", transB=1)
    return net


def _wide(folder: Path) -> None:
    net = _Net(WIDE)
    hidden = net.node("Relu", net.conv("image", 64, 64))
    net.node("Relu", net.conv(hidden, 64, 64), output="features")
    net.save(folder, {"image": [1, 64, 56, 56]}, {"features": [1, 64, 56, 56]})


def _unsupported(folder: Path) -> None:
    net = _Net(UNSUPPORTED)
    net.node("Mystery", net.conv("image", 3, 4), output="secret", domain="com.example")
    net.save(folder, {"image": [1, 3, 8, 8]}, {"secret": [1, 4, 8, 8]})
