"""Pooling over windows and over whole images."""

from __future__ import annotations

from typing import Any

from .node import Converter, OnnxNode, Step, Tensor, call, unsupported
from .windows import Window, read_window

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "AveragePool": _average_pool,
        "GlobalAveragePool": lambda node: call(node, lambda x: x.mean(_spatial(x), keepdim=True), 0),
        "GlobalMaxPool": lambda node: call(node, lambda x: x.amax(_spatial(x), keepdim=True), 0),
        "MaxPool": _max_pool,
    }


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


def _window(node: OnnxNode) -> Window:
    kernel = node.attribute("kernel_shape", [0])
    if not 1 <= len(kernel) <= 3:
        raise unsupported(node, f"{len(kernel)} spatial axes")
    return read_window(node, kernel)


def _torch_pads(window: Window) -> bool:
    """Whether torch's pooling takes the window's padding as it is: alike on both sides, at most half a window."""
    return window.symmetric and all(2 * pad <= span for pad, span in zip(window.begins, window.spans, strict=True))


def _max_pool(node: OnnxNode) -> Step:
    from torch.nn import functional

    if node.wants(1):
        raise unsupported(node, "its output Indices")
    window = _window(node)
    pool: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(window.kernel) - 1]
    if node.zero_pads and window.overlaps:
        # What no window reaches at the end stays: a crop would be an operator more.
        zeros = [max(0, pad) for pad in window.exact_pads(list(node.shape(0))[2:])]
        if any(zeros):
            return call(node, lambda x: pool(functional.pad(x, zeros), window.kernel, window.strides), 0)

    def native(x: Tensor) -> Any:
        return pool(x, window.kernel, window.strides, window.begins, window.dilations, window.ceil)

    def padded(x: Tensor) -> Any:
        import torch

        lowest = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
        filled = functional.pad(x, window.exact_pads(list(x.shape[2:])), value=lowest)
        return pool(filled, window.kernel, window.strides, 0, window.dilations)

    return call(node, native if _torch_pads(window) else padded, 0)


def _average_pool(node: OnnxNode) -> Step:
    from torch.nn import functional

    window = _window(node)
    include = bool(node.attribute("count_include_pad", 0))
    pool: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(window.kernel) - 1]
    if _torch_pads(window) and max(window.dilations) == 1:
        return call(node, lambda x: pool(x, window.kernel, window.strides, window.begins, window.ceil, include), 0)
    counts = _counts(window, list(node.shape(0))[2:], include=include)

    def general(x: Tensor) -> Tensor:
        return _window_sums(x, window) / counts.to(x.dtype)

    return call(node, general, 0)


def _counts(window: Window, sizes: list[int], *, include: bool) -> Tensor:
    """How many elements each window averages: those of the input, and with *include* those of its padding."""
    import torch

    total = torch.ones((), dtype=torch.float32)
    for axis, (size, count) in enumerate(zip(sizes, window.output_sizes(sizes), strict=True)):
        low, high = (-window.begins[axis], size + window.ends[axis]) if include else (0, size)
        starts = [i * window.strides[axis] - window.begins[axis] for i in range(count)]
        inside = [
            sum(low <= start + k * window.dilations[axis] < high for k in range(window.kernel[axis]))
            for start in starts
        ]
        total = total.unsqueeze(-1) * torch.tensor(inside, dtype=torch.float32)
    return total


def _window_sums(x: Tensor, window: Window) -> Tensor:
    """Sum of each window, as a convolution with ones, which unlike torch's pooling knows dilation."""
    from torch.nn import functional

    convolve: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[len(window.kernel) - 1]
    filled = functional.pad(x, window.exact_pads(list(x.shape[2:])))
    single = filled.reshape(-1, 1, *filled.shape[2:])
    sums = convolve(single, x.new_ones(1, 1, *window.kernel), stride=window.strides, dilation=window.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])
