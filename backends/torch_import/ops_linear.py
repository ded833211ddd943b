"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from .node import Converter, Function, OnnxNode, Step, Tensor, call, unsupported
from .windows import Window, read_window

__all__ = ["converters", "convolution"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "Conv": _conv,
        "ConvTranspose": _conv_transpose,
        "Einsum": _einsum,
        "Gemm": _gemm,
        "MatMul": _matmul,
    }


def _by_rank(node: OnnxNode, functions: Sequence[Function], axes: int) -> Any:
    if not 1 <= axes <= len(functions):
        raise unsupported(node, f"{axes} spatial axes")
    return functions[axes - 1]


def _conv(node: OnnxNode) -> Step:
    return call(node, convolution(node), 0, 1, 2)


def convolution(node: OnnxNode) -> Function:
    """What convolves data with a weight and a bias (or None) as the attributes of *node* say."""
    from torch.nn import functional

    window = read_window(node, list(node.shape(1))[2:])
    kinds = (functional.conv1d, functional.conv2d, functional.conv3d)
    convolve = partial(
        _by_rank(node, kinds, len(window.kernel)),
        stride=window.strides,
        dilation=window.dilations,
        groups=node.attribute("group", 1),
    )
    if window.symmetric:
        return partial(convolve, padding=window.begins)
    pads = [side for pair in zip(window.begins, window.ends, strict=True) for side in pair[::-1]][::-1]

    def padded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return convolve(functional.pad(x, pads), weight, bias)

    return padded


def _conv_transpose(node: OnnxNode) -> Step:
    from torch.nn import functional

    kernel = list(node.shape(1))[2:]
    axes = len(kernel)
    extra = node.attribute("output_padding", [0] * axes)
    window = _transposed_window(node, kernel, extra)
    kinds = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
    spread = partial(
        _by_rank(node, kinds, axes),
        stride=window.strides,
        dilation=window.dilations,
        groups=node.attribute("group", 1),
    )
    limits = [max(pair) for pair in zip(window.strides, window.dilations, strict=True)]
    if window.symmetric and all(e < limit for e, limit in zip(extra, limits, strict=True)):
        return call(node, partial(spread, padding=window.begins, output_padding=extra), 0, 1, 2)
    pads: list[int] = []
    for begin, end, more in zip(reversed(window.begins), reversed(window.ends), reversed(extra), strict=True):
        pads += [-begin, more - end]

    def cropped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = functional.pad(spread(x, weight), pads)
        return y if bias is None else y + bias.reshape(-1, *[1] * axes)

    return call(node, cropped, 0, 1, 2)


def _transposed_window(node: OnnxNode, kernel: list[int], extra: list[int]) -> Window:
    """The window with its pads, which may follow from `output_shape` or `auto_pad` as the specification says."""
    axes = len(kernel)
    strides = node.attribute("strides", [1] * axes)
    dilations = node.attribute("dilations", [1] * axes)
    auto = node.attribute("auto_pad", "NOTSET")
    pads = node.attribute("pads", [0] * (2 * axes))
    shape: list[int] = node.attribute("output_shape", [])[-axes:]
    if auto == "VALID":
        pads = [0] * (2 * axes)
    sizes = list(node.shape(0))[2:] if shape or auto.startswith("SAME") else []
    if not shape and sizes:
        shape = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if shape:
        spans = Window(kernel=kernel, strides=strides, dilations=dilations, begins=[], ends=[]).spans
        totals = [
            stride * (size - 1) + more + span - wanted
            for stride, size, more, span, wanted in zip(strides, sizes, extra, spans, shape, strict=True)
        ]
        small = [total // 2 for total in totals]
        large = [total - half for total, half in zip(totals, small, strict=True)]
        pads = [*small, *large] if auto == "SAME_UPPER" else [*large, *small]
    return Window(kernel=kernel, strides=strides, dilations=dilations, begins=pads[:axes], ends=pads[axes:])


def _gemm(node: OnnxNode) -> Step:
    from torch.nn import functional

    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    flip_a, flip_b = bool(node.attribute("transA", 0)), bool(node.attribute("transB", 0))
    plain = alpha == 1.0 and (beta == 1.0 or not node.has(2)) and not flip_a
    if plain and (not node.has(2) or len(node.shape(2)) == 1):
        if flip_b:
            return call(node, functional.linear, 0, 1, 2)
        return call(node, lambda a, b, c: functional.linear(a, b.t(), c), 0, 1, 2)

    def general(a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
        product = alpha * ((a.t() if flip_a else a) @ (b.t() if flip_b else b))
        return product if c is None else product + beta * c

    return call(node, general, 0, 1, 2)


def _matmul(node: OnnxNode) -> Step:
    import torch

    return call(node, torch.matmul, 0, 1)


def _einsum(node: OnnxNode) -> Step:
    import torch

    equation = node.attribute("equation", "")
    return call(node, lambda *xs: torch.einsum(equation, *xs), *range(len(node.inputs)))
