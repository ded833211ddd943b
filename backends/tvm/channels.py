"""Pads odd numbers of channels, such as ShuffleNet's 58 and 116, to whole vector registers.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.

A convolution of 116 channels has no tile that fills vectors: 29 of them in four registers of eight are loaded and
stored piece by piece, and run at a quarter of the speed of 120. The padding is zeros in weights and biases; it stays
from one convolution to the next, and is cut off where an operator would see it.
"""

from typing import Any

__all__ = ["pad_channels", "padded_values"]

# Channels are padded to a multiple of these, the floats in a register of 256 bits.
_LANES = 8
# What padding may add to a convolution's channels: 58 become 64.
_MOST_ADDED = 0.15

# Operators of one input that compute each channel by itself.
_CHANNELWISE = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "HardSwish", "MaxPool", "Relu", "Sigmoid")


def pad_channels(model: Any) -> Any:
    """*model* (an ONNX ModelProto with static shapes), its odd convolutions padded; names of nodes and values stay.

    A value that is padded gets a new name; what needs it as it was takes it through a Slice. Returns *model* itself
    where nothing is odd.
    """
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if not any(_odd(node, constants) for node in model.graph.node):
        return model
    padded = onnx.ModelProto()
    padded.CopyFrom(model)
    _Padding(padded.graph).run()
    return padded


def padded_values(model: Any) -> dict[str, tuple[int, int]]:
    """By value of *model* that `pad_channels` pads: its channels, and how many they are padded to."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    padding = _Padding(copy.graph)
    padding.run()
    return {value: (channels, wanted) for value, (_, channels, wanted) in padding.padded.items()}


def _odd(node: Any, constants: Any) -> int:
    """To how many channels the outputs of the convolution *node* are padded; 0 for none."""
    if node.op_type != "Conv" or node.input[1] not in constants or _groups(node) != 1:
        return 0
    if len(node.input) > 2 and node.input[2] and node.input[2] not in constants:
        return 0
    weights = constants[node.input[1]]
    channels = int(weights.dims[0])
    wanted = -(-channels // _LANES) * _LANES
    single = weights.data_type == 1  # fp32; what is computed in other types is left as it is
    return wanted if single and channels < wanted <= channels * (1 + _MOST_ADDED) else 0


def _groups(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


class _Padding:
    """Rewrites *graph* in place, node by node."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self.padded: dict[str, tuple[str, int, int]] = {}
        """By value: the name of its padded form, its channels, and those of the padded form."""
        self._cut: set[str] = set()
        self._nodes: list[Any] = []

    def run(self) -> None:
        for node in list(self._graph.node):
            self._visit(node)
        for output in self._graph.output:
            self._restore(output.name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)

    def _visit(self, node: Any) -> None:
        wanted = _odd(node, self._constants)
        source = self.padded.get(node.input[0]) if node.input else None
        depthwise = node.op_type == "Conv" and source is not None and self._depthwise(node, source[1])
        if node.op_type == "Conv" and _groups(node) == 1 and (wanted or source) and self._constant(node):
            self._convolve(node, source, wanted)
        elif source is not None and (depthwise or self._channelwise(node)):
            self._pass(node, source, depthwise)
        else:
            for name in node.input:
                self._restore(name)
            self._nodes.append(node)

    def _constant(self, node: Any) -> bool:
        return all(name in self._constants for name in node.input[1:] if name)

    def _depthwise(self, node: Any, channels: int) -> bool:
        return _groups(node) == channels == self._constants[node.input[1]].dims[0] if self._constant(node) else False

    def _channelwise(self, node: Any) -> bool:
        bounds = node.op_type == "Clip" and self._constant(node)
        return (bounds or node.op_type in _CHANNELWISE) and len(node.output) == 1

    def _convolve(self, node: Any, source: Any, wanted: int) -> None:
        changed = type(node)()
        changed.CopyFrom(node)
        weights = self._constants[node.input[1]]
        inputs, channels = int(weights.dims[1]), int(weights.dims[0])
        if source is not None:
            changed.input[0], inputs = source[0], source[2]
        outputs = wanted or channels
        changed.input[1] = self._filled(node.input[1], outputs, inputs)
        if len(node.input) > 2 and node.input[2]:
            changed.input[2] = self._filled(node.input[2], outputs)
        self._nodes.append(changed)
        if wanted:
            self._rename(changed, channels, wanted)

    def _pass(self, node: Any, source: Any, depthwise: bool) -> None:
        changed = type(node)()
        changed.CopyFrom(node)
        name, channels, wanted = source
        changed.input[0] = name
        if depthwise:
            changed.input[1] = self._filled(node.input[1], wanted)
            if len(node.input) > 2 and node.input[2]:
                changed.input[2] = self._filled(node.input[2], wanted)
            next(attribute for attribute in changed.attribute if attribute.name == "group").i = wanted
        self._nodes.append(changed)
        self._rename(changed, channels, wanted)

    def _rename(self, node: Any, channels: int, wanted: int) -> None:
        value = node.output[0]
        node.output[0] = f"{value}/padded"
        self.padded[value] = (node.output[0], channels, wanted)

    def _restore(self, value: str) -> None:
        """Have *value* itself made where there is only its padded form."""
        import onnx

        if value not in self.padded or value in self._cut:
            return
        self._cut.add(value)
        padded, channels, _ = self.padded[value]
        ends = {"start": 0, "end": channels, "axis": 1}
        bounds = [self._vector(f"{value}/{end}", number) for end, number in ends.items()]
        self._nodes.append(onnx.helper.make_node("Slice", [padded, *bounds], [value], name=f"{value}/cut"))

    def _vector(self, name: str, number: int) -> str:
        import numpy as np
        import onnx

        self._graph.initializer.append(onnx.numpy_helper.from_array(np.array([number], np.int64), name))
        return name

    def _filled(self, name: str, *extents: int) -> str:
        """The constant *name*, its first axes filled with zeros up to *extents*."""
        import numpy as np
        import onnx

        array = onnx.numpy_helper.to_array(self._constants[name])
        missing = [extent - have for extent, have in zip(extents, array.shape, strict=False)]
        if not any(missing):
            return name
        new = f"{name}/filled{'x'.join(map(str, extents))}"
        if new not in self._constants:
            fill = [(0, more) for more in missing] + [(0, 0)] * (array.ndim - len(missing))
            self._constants[new] = onnx.numpy_helper.from_array(np.pad(array, fill), new)
            self._graph.initializer.append(self._constants[new])
        return new
