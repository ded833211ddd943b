"""Signed 8-bit activations made unsigned, value for value."""

from __future__ import annotations

from typing import Any

__all__ = ["shift_to_unsigned"]

_DATA, _ZERO = 0, 2


def shift_to_unsigned(proto: Any) -> None:
    """Have activations that *proto* (a ModelProto) quantizes to int8 quantized to uint8, zero point 128 higher.

    x86's int8 kernels, and so Inductor's, take unsigned activations only; dequantized values stay the same to the
    bit. Left alone: what is quantized channel by channel, what comes from a constant, and what is read by anything
    but DequantizeLinear.
    """
    from onnx import numpy_helper

    graph = proto.graph
    zeros = {tensor.name: tensor for tensor in graph.initializer}
    readers = _readers(graph)
    for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        users = readers.get(node.output[0], [])
        ends = [user for user in users if user is not None and user.op_type == "DequantizeLinear"]
        pairs = [node, *ends]
        if node.input[_DATA] in zeros or len(ends) < len(users) or not all(_signed(item, zeros) for item in pairs):
            continue
        for item in pairs:
            old = zeros[item.input[_ZERO]]
            name = f"{old.name}/unsigned"
            if name not in zeros:
                array = (numpy_helper.to_array(old).astype("int16") + 128).astype("uint8")
                graph.initializer.append(numpy_helper.from_array(array, name))
                zeros[name] = graph.initializer[-1]
            item.input[_ZERO] = name


def _readers(graph: Any) -> dict[str, list[Any]]:
    """The nodes that read each value; None stands for the graph's own outputs."""
    readers: dict[str, list[Any]] = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _signed(node: Any, constants: dict[str, Any]) -> bool:
    from onnx import TensorProto

    zero = constants.get(node.input[_ZERO]) if len(node.input) > _ZERO else None
    return (
        zero is not None and zero.data_type == TensorProto.INT8 and not [extent for extent in zero.dims if extent > 1]
    )
