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
    dtype = _quantized_dtype(node)
    if 0 in node.constants and dtype not in _kept():
        # A bias in int32: compilers want it in float beside an int8 convolution, so it is folded.
        zero = node.constants[2] if node.has(2) else None
        return call(node, lambda x: _by_hand(x, scale, zero, _axis(node, scale)), 0)
    zero_point = node.constant(2, "zero point") if node.has(2) else scale.new_zeros(scale.shape).to(dtype)
    operators = _operators()
    low, high = _range_of(dtype)
    if scale.numel() == 1:
        single, offset = float(scale), int(zero_point)
        return call(
            node, lambda x: operators.dequantize_per_tensor.default(x, single, offset, low, high, dtype), 0, fold=False
        )
    axis, offsets = _axis(node, scale), zero_point.to(dtype)

    def per_channel(x: Tensor, scales: Tensor, zeros: Tensor | None) -> Tensor:
        return operators.dequantize_per_channel.default(
            x, scales, offsets if zeros is None else zeros, axis, low, high, dtype
        )

    return call(node, per_channel, 0, 1, 2, fold=False)


def _quantize(node: OnnxNode) -> Step:
    _check(node)
    scale = node.constant(1, "scale")
    dtype = _quantized_dtype(node)
    zero_point = node.constant(2, "zero point") if node.has(2) else scale.new_zeros(scale.shape).to(dtype)
    operators = _operators()
    low, high = _range_of(dtype)
    if scale.numel() == 1:
        single, offset = float(scale), int(zero_point)
        return call(node, lambda x: operators.quantize_per_tensor.default(x, single, offset, low, high, dtype), 0)
    axis, offsets = _axis(node, scale), zero_point.to(dtype)

    def per_channel(x: Tensor, scales: Tensor, zeros: Tensor | None) -> Tensor:
        return operators.quantize_per_channel.default(
            x, scales, offsets if zeros is None else zeros, axis, low, high, dtype
        )

    return call(node, per_channel, 0, 1, 2)


def _check(node: OnnxNode) -> None:
    if node.attribute("block_size", 0):
        raise unsupported(node, "blocked quantization")


def _quantized_dtype(node: OnnxNode) -> Any:
    """dtype of the integers, from the zero point, the attribute, the constant input, or uint8 by default."""
    import torch

    for position in (2, 0) if node.op_type == "DequantizeLinear" else (2,):
        if position in node.constants:
            return node.constants[position].dtype
    if node.attribute("output_dtype", 0) and node.op_type == "QuantizeLinear":
        try:
            return torch_dtype(node.attribute("output_dtype", 0))
        except ValueError as error:
            raise unsupported(node, str(error)) from error
    return torch.uint8


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
