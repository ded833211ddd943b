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
    scale = node.constant(1, "scale")
    block = node.attribute("block_size", 0)
    known = node.constants.get(0)
    if block or (known is not None and (node.weights_only or known.dtype not in _kept())):
        # Weights that are multiplied in float anyway, and a bias in int32, which compilers want in float beside an
        # int8 convolution: computed once, at import.
        zeros = node.constant(2, "zero point") if node.has(2) else None
        axis = node.attribute("axis", 1) % len(node.shape(0)) if block else _axis(node, scale)
        return call(node, lambda x: _by_hand(x, scale, zeros, axis, block), 0)
    return _dequantize_by_operator(node, scale)


def _dequantize_by_operator(node: OnnxNode, scale: Tensor) -> Step:
    import torch

    if scale.dtype != torch.float32:
        raise unsupported(node, f"activations dequantized to {str(scale.dtype).removeprefix('torch.')}")
    zeros = node.constant(2, "zero point") if node.has(2) else scale.new_zeros(scale.shape).long()
    # Nothing may follow the operator, not even a conversion that changes nothing: Inductor would not fuse it.
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
    if node.attribute("block_size", 0):
        raise unsupported(node, "activations quantized in blocks")
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


def _by_hand(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int, block: int) -> Tensor:
    """As the specification says: one scale for all, for each index along *axis*, or for each *block* of these."""
    import torch

    if block:
        scale, zero = (t if t is None else _spread(t, x.shape[axis], axis, block) for t in (scale, zero))
    elif scale.numel() > 1:
        shape = [1] * x.dim()
        shape[axis] = -1
        scale, zero = (t if t is None else t.reshape(shape) for t in (scale, zero))
    # Wider, or differences of two 8-bit numbers would wrap around.
    levels = x.to(torch.int32) if zero is None else x.to(torch.int32) - zero.to(torch.int32)
    return levels.to(scale.dtype) * scale


def _spread(values: Tensor, extent: int, axis: int, block: int) -> Tensor:
    """One value for each block, repeated for each of the *extent* indices; the last block may be shorter."""
    return values.repeat_interleave(block, dim=axis).narrow(axis, 0, extent)
