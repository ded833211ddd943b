"""Operators that move, cut and repeat elements without computing anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from .node import Converter, OnnxNode, Step, Tensor, call, unsupported

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "Concat": _concat,
        "DepthToSpace": _depth_to_space,
        "Expand": _expand,
        "Flatten": _flatten,
        "Pad": _pad,
        "Reshape": _reshape,
        "Slice": _slice,
        "SpaceToDepth": _space_to_depth,
        "Split": _split,
        "Squeeze": _squeeze,
        "Tile": _tile,
        "Transpose": _transpose,
        "Unsqueeze": _unsqueeze,
    }


def _concat(node: OnnxNode) -> Step:
    import torch

    axis = node.attribute("axis", 0)
    return call(node, lambda *xs: torch.cat(xs, axis), *range(len(node.inputs)))


def _reshape(node: OnnxNode) -> Step:
    wanted = node.ints(1, "shape") if len(node.inputs) > 1 else node.attribute("shape", [0])
    copy_zeros = not node.attribute("allowzero", 0)

    def reshape(x: Tensor) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 and copy_zeros else size for i, size in enumerate(wanted)])

    return call(node, reshape, 0)


def _flatten(node: OnnxNode) -> Step:
    axis = node.attribute("axis", 1)

    def flatten(x: Tensor) -> Tensor:
        rows = math.prod(x.shape[: axis if axis >= 0 else x.dim() + axis])
        return x.reshape(rows, x.numel() // rows if rows else 0)

    return call(node, flatten, 0)


def _transpose(node: OnnxNode) -> Step:
    order = node.attributes.get("perm")
    return call(node, lambda x: x.permute(order if order is not None else list(range(x.dim()))[::-1]), 0)


def _squeeze(node: OnnxNode) -> Step:
    axes = node.ints_given("axes", 1)
    return call(node, lambda x: x.squeeze() if axes is None else x.squeeze(tuple(axes)), 0)


def _unsqueeze(node: OnnxNode) -> Step:
    axes = node.ints_given("axes", 1) or []

    def unsqueeze(x: Tensor) -> Tensor:
        rank = x.dim() + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return call(node, unsqueeze, 0)


def _split(node: OnnxNode) -> Step:
    axis, given = node.attribute("axis", 0), node.ints_given("split", 1)
    count = node.attribute("num_outputs", len(node.outputs))

    def split(x: Tensor) -> tuple[Tensor, ...]:
        sizes = given if given is not None else -(-x.shape[axis] // count)
        return tuple(x.split(sizes, axis))

    return call(node, split, 0, many=True)


def _slice(node: OnnxNode) -> Step:
    starts, ends = node.ints_given("starts", 1), node.ints_given("ends", 2)
    if starts is None or ends is None:
        raise unsupported(node, "it has no starts or ends")
    axes = node.ints_given("axes", 3) or list(range(len(starts)))
    steps = node.ints_given("steps", 4) or [1] * len(starts)

    def cut(x: Tensor) -> Tensor:
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            x = _slice_axis(x, axis, slice(start, end, step))
        return x

    return call(node, cut, 0)


def _slice_axis(x: Tensor, axis: int, part: slice) -> Tensor:
    places = range(*part.indices(x.shape[axis]))
    if places == range(x.shape[axis]):
        return x
    upward = places if places.step > 0 else places[::-1]
    index = [slice(None)] * x.dim()
    index[axis] = slice(upward.start, upward.stop, upward.step) if len(upward) else slice(0, 0)
    return x[tuple(index)] if places.step > 0 else x[tuple(index)].flip(axis)


def _expand(node: OnnxNode) -> Step:
    import numpy as np

    wanted = node.ints(1, "shape")
    # torch.broadcast_shapes would import torch's symbolic shapes, which takes seconds.
    return call(node, lambda x: x.expand(np.broadcast_shapes(tuple(x.shape), wanted)), 0)


def _tile(node: OnnxNode) -> Step:
    repeats = node.ints(1, "repeats")
    return call(node, lambda x: x.repeat(repeats), 0)


def _pad(node: OnnxNode) -> Step:
    from torch.nn import functional

    mode = node.attribute("mode", "constant")
    pads = node.ints_given("pads", 1) or []
    half = len(pads) // 2
    axes = node.ints(3, "axes") if node.has(3) else list(range(half))
    value = node.constant(2, "value").item() if node.has(2) else node.attribute("value", 0.0)
    around = [(axis, pads[i], pads[i + half]) for i, axis in enumerate(axes)]
    if mode == "constant":
        return call(node, lambda x: functional.pad(x, _torch_pads(around, x.dim()), value=value), 0)
    names = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}
    if mode not in names:
        raise unsupported(node, f"mode {mode!r}")
    return call(node, partial(_pad_by_index, around=around, mode=mode), 0)


def _torch_pads(around: list[tuple[int, int, int]], rank: int) -> list[int]:
    """*around* (axis, begin, end) as `torch.nn.functional.pad` wants it: pairs, last axis first."""
    sides = {axis % rank: (begin, end) for axis, begin, end in around}
    return [side for axis in reversed(range(rank)) for side in sides.get(axis, (0, 0))]


def _pad_by_index(x: Tensor, *, around: list[tuple[int, int, int]], mode: str) -> Tensor:
    """Pad with copies of the tensor's own elements; which ones, numpy.pad says for each axis."""
    import numpy as np
    import torch

    for axis, begin, end in around:
        places = np.arange(x.shape[axis])
        places = places[max(0, -begin) : len(places) - max(0, -end)]
        padder: Callable[..., np.ndarray[tuple[int], np.dtype[np.int64]]] = np.pad
        places = padder(places, (max(0, begin), max(0, end)), mode=mode)
        if begin or end:
            x = x.index_select(axis, torch.from_numpy(places))
    return x


def _depth_to_space(node: OnnxNode) -> Step:
    block = node.attribute("blocksize", 1)
    columns_first = node.attribute("mode", "DCR") == "CRD"

    def rearrange(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        depth = c // (block * block)
        if columns_first:
            y = x.reshape(n, depth, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            y = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, depth, h * block, w * block)

    return call(node, rearrange, 0)


def _space_to_depth(node: OnnxNode) -> Step:
    block = node.attribute("blocksize", 1)

    def rearrange(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * block * block, h // block, w // block)

    return call(node, rearrange, 0)
