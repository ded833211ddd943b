"""Quantize and dequantize, through torch's `quantized_decomposed` operators, which Inductor fuses into int8 kernels."""

from __future__ import annotations

from typing import Any

from .dtypes import torch_dtype
from .node import Converter, OnnxNode, Step, Tensor, call, unsupported

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {"DequantizeLinear": _dequantize, "QuantizeLinear": _quantize}


def _operators() -> Any:
    import torch
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators

    return torch.ops.quantized_decomposed


def _dequantize(node: OnnxNode) -> Step:
    _check(node)
    scale = node.constant(1, "scale")
    if 0 in node.constants and node.constants[0].dtype not in _kept():
        # A bias in int32: compilers want it in float beside an int8 convolution, so it is folded.
        return call(node, lambda x: _by_hand(x, scale, node.constants.get(2), _axis(node, scale)), 0)
    zeros = node.constant(2, "zero point") if node.has(2) else scale.new_zeros(scale.shape).long()
    operators = _operators()
    if scale.numel() == 1:
        step, zero = float(scale), int(zeros)

        def per_tensor(x: Tensor) -> Tensor:
            return operators.dequantize_per_tensor.default(x, step, zero, *_range_of(x.dtype), x.dtype)

        return call(node, per_tensor, 0, fold=False)
    axis = _axis(node, scale)

    def per_channel(x: Tensor, scales: Tensor, given: Tensor | None) -> Tensor:
        offsets = zeros if given is None else given
        return operators.dequantize_per_channel.default(x, scales, offsets, axis, *_range_of(x.dtype), x.dtype)

    return call(node, per_channel, 0, 1, 2, fold=False)


def _quantize(node: OnnxNode) -> Step:
    _check(node)
    scale = node.constant(1, "scale")
    dtype = _quantized_dtype(node)
    zeros = node.constant(2, "zero point") if node.has(2) else scale.new_zeros(scale.shape).to(dtype)
    operators = _operators()
    low, high = _range_of(dtype)
    if scale.numel() == 1:
        step, zero = float(scale), int(zeros)
        return call(node, lambda x: operators.quantize_per_tensor.default(x, step, zero, low, high, dtype), 0)
    axis = _axis(node, scale)

    def per_channel(x: Tensor, scales: Tensor, given: Tensor | None) -> Tensor:
        offsets = zeros if given is None else given
        return operators.quantize_per_channel.default(x, scales, offsets, axis, low, high, dtype)

    return call(node, per_channel, 0, 1, 2)


def _check(node: OnnxNode) -> None:
    if node.attribute("block_size", 0):
        raise unsupported(node, "blocked quantization")


def _quantized_dtype(node: OnnxNode) -> Any:
    """dtype of what QuantizeLinear makes: of the zero point, or the attribute, or uint8."""
    import torch

    if 2 in node.constants:
        return node.constants[2].dtype
    given = node.attribute("output_dtype", 0)
    if not given:
        return torch.uint8
    try:
        return torch_dtype(given)
    except ValueError as error:
        raise unsupported(node, str(error)) from error


def _kept() -> tuple[Any, ...]:
    import torch

    return (torch.int8, torch.uint8, torch.int16, torch.uint16)


def _range_of(dtype: Any) -> tuple[int, int]:
    import torch

    info = torch.iinfo(dtype)
    return int(info.min), int(info.max)


def _axis(node: OnnxNode, scale: Tensor) -> int:
    axis = node.attribute("axis", 1)
    return axis % len(node.shape(0)) if scale.numel() > 1 else 0


def _by_hand(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    shape = [1] * x.dim()
    if scale.numel() > 1:
        shape[axis] = -1
        scale, zero = scale.reshape(shape), None if zero is None else zero.reshape(shape)
    return (x if zero is None else x - zero).to(scale.dtype) * scale
