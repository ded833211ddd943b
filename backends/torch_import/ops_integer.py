"""Activations quantized as they come, and integer products, computed in float.

torch has no 8-bit kernels with 32-bit results that a compiler would use. Products of 8-bit integers are exact in fp32,
and so are their sums up to 2**24; beyond that the last bits round.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .node import Converter, OnnxNode, Step, Tensor, call
from .ops_linear import convolution

__all__ = ["converters"]

_LEVELS = 255


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "ConvInteger": _conv_integer,
        "DynamicQuantizeLinear": lambda node: call(node, _dynamic_quantize, 0, many=True),
        "MatMulInteger": _matmul_integer,
    }


def _dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """To uint8 over the range of *x* that includes zero, as the specification says; a range of nothing has step 1."""
    import torch

    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    step = (high - low) / _LEVELS
    step = torch.where(step == 0, torch.ones_like(step), step)
    zero = torch.round(-low / step).clamp(0, _LEVELS)
    levels = (torch.round(x / step) + zero).clamp(0, _LEVELS)
    return levels.to(torch.uint8), step, zero.to(torch.uint8)


def _conv_integer(node: OnnxNode) -> Step:
    convolve = convolution(node)
    weight_shape = [-1] + [1] * (len(node.shape(1)) - 1)

    def run(x: Tensor, weight: Tensor, x_zero: Tensor | None, weight_zero: Tensor | None) -> Tensor:
        return _integers(convolve(_centred(x, x_zero, [-1]), _centred(weight, weight_zero, weight_shape), None))

    return _call(node, run, weight_shape)


def _matmul_integer(node: OnnxNode) -> Step:
    def run(a: Tensor, b: Tensor, a_zero: Tensor | None, b_zero: Tensor | None) -> Tensor:
        return _integers(_centred(a, a_zero, [-1, 1]) @ _centred(b, b_zero, [-1]))

    return _call(node, run, [-1])


def _call(node: OnnxNode, run: Any, weight_shape: list[int]) -> Step:
    """A constant weight is centred once, at import."""
    if 1 not in node.constants or (node.has(3) and 3 not in node.constants):
        return call(node, run, 0, 1, 2, 3)
    weight = _centred(node.constants[1], node.constants.get(3), weight_shape)
    centred = replace(node, constants={**node.constants, 1: weight})
    return call(centred, lambda x, w, zero: run(x, w, zero, None), 0, 1, 2)


def _centred(x: Tensor, zero: Tensor | None, shape: list[int]) -> Tensor:
    """*x* less its zero point, which may be one for each channel, of *shape* then."""
    import torch

    x = x.to(torch.float32)
    if zero is None:
        return x
    return x - (zero.reshape(shape) if zero.dim() == 1 and zero.numel() > 1 else zero.reshape(())).to(torch.float32)


def _integers(x: Tensor) -> Tensor:
    import torch

    return torch.round(x).to(torch.int32)
