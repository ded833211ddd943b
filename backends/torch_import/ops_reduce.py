"""Reductions, sorting and running sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .node import Converter, OnnxNode, Step, Tensor, call

__all__ = ["converters"]

_Reduce = Callable[[Tensor, list[int], bool], Tensor]
"""Reduces a tensor over axes; the flag keeps them with size 1."""


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    import torch

    reductions: dict[str, _Reduce] = {
        "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep, dtype=x.dtype),
        "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
        "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
        "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
        "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
        "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
        "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
        "ReduceProd": _product,
        "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep, dtype=x.dtype),
        "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep, dtype=x.dtype),
    }
    table: dict[str, Converter] = {name: partial(_reduce, function=f) for name, f in reductions.items()}
    table["ArgMax"] = partial(_arg_extreme, function=torch.argmax)
    table["ArgMin"] = partial(_arg_extreme, function=torch.argmin)
    return {**table, "CumSum": _cumulative_sum, "TopK": _top_k}


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _reduce(node: OnnxNode, *, function: _Reduce) -> Step:
    axes = node.ints_given("axes", 1)
    keep = bool(node.attribute("keepdims", 1))
    if not axes and node.attribute("noop_with_empty_axes", 0):
        return call(node, lambda x: x, 0)
    return call(node, lambda x: function(x, axes or list(range(x.dim())), keep), 0)


def _arg_extreme(node: OnnxNode, *, function: Callable[..., Tensor]) -> Step:
    axis, keep = node.attribute("axis", 0), bool(node.attribute("keepdims", 1))
    if not node.attribute("select_last_index", 0):
        return call(node, partial(function, dim=axis, keepdim=keep), 0)
    return call(node, lambda x: x.shape[axis] - 1 - function(x.flip(axis), dim=axis, keepdim=keep), 0)


def _top_k(node: OnnxNode) -> Step:
    import torch

    count = node.ints(1, "k")[0] if len(node.inputs) > 1 else node.attribute("k", 1)
    axis, largest = node.attribute("axis", -1), bool(node.attribute("largest", 1))

    def top(x: Tensor) -> tuple[Tensor, Tensor]:
        # A stable sort, because ONNX wants the lower index first among equals and torch.topk promises nothing.
        values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
        return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)

    return call(node, top, 0, many=True)


def _cumulative_sum(node: OnnxNode) -> Step:
    import torch

    axis = node.ints(1, "axis")[0]
    exclusive, reverse = bool(node.attribute("exclusive", 0)), bool(node.attribute("reverse", 0))

    def running(x: Tensor) -> Tensor:
        ordered = x.flip(axis) if reverse else x
        total = torch.cumsum(ordered, axis, dtype=x.dtype)
        total = total - ordered if exclusive else total
        return total.flip(axis) if reverse else total

    return call(node, running, 0)
