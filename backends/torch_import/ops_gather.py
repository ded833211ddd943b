"""Picking and placing elements by index."""

from __future__ import annotations

from .node import Converter, OnnxNode, Step, Tensor, call, unsupported

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "Gather": _gather,
        "GatherElements": _gather_elements,
        "GatherND": _gather_nd,
        "NonZero": _non_zero,
        "OneHot": _one_hot,
        "ScatterND": _scatter_nd,
        "Trilu": _trilu,
    }


def _positive(indices: Tensor, size: int) -> Tensor:
    import torch

    return torch.where(indices < 0, indices + size, indices)


def _gather(node: OnnxNode) -> Step:
    axis = node.attribute("axis", 0)
    index = node.constants.get(1)
    if index is not None and index.dim() == 0:
        place = int(index)
        return call(node, lambda x: x.select(axis, place), 0)

    def gather(x: Tensor, indices: Tensor) -> Tensor:
        at = axis % x.dim()
        picked = x.index_select(at, _positive(indices.reshape(-1).long(), x.shape[at]))
        return picked.reshape(*x.shape[:at], *indices.shape, *x.shape[at + 1 :])

    return call(node, gather, 0, 1)


def _gather_elements(node: OnnxNode) -> Step:
    axis = node.attribute("axis", 0)
    return call(node, lambda x, indices: x.gather(axis, _positive(indices.long(), x.shape[axis])), 0, 1)


def _index_tuple(x: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
    return tuple(_positive(part.long(), x.shape[i]) for i, part in enumerate(indices.unbind(-1)))


def _gather_nd(node: OnnxNode) -> Step:
    if node.attribute("batch_dims", 0):
        raise unsupported(node, "batch_dims")
    return call(node, lambda x, indices: x[_index_tuple(x, indices)], 0, 1)


def _scatter_nd(node: OnnxNode) -> Step:
    if node.attribute("reduction", "none") != "none":
        raise unsupported(node, f"reduction {node.attribute('reduction', '')!r}")
    return call(node, lambda x, indices, updates: x.index_put(_index_tuple(x, indices), updates), 0, 1, 2)


def _non_zero(node: OnnxNode) -> Step:
    import torch

    node.constant(0, "input")
    return call(node, lambda x: torch.nonzero(x).t().contiguous(), 0)


def _one_hot(node: OnnxNode) -> Step:
    import torch

    axis, depth = node.attribute("axis", -1), node.ints(1, "depth")[0]

    def one_hot(indices: Tensor, values: Tensor) -> Tensor:
        hot = torch.arange(depth) == _positive(indices.long(), depth).unsqueeze(-1)
        return torch.where(hot, values[1], values[0]).movedim(-1, axis)

    return call(node, one_hot, 0, 2)


def _trilu(node: OnnxNode) -> Step:
    import torch

    diagonal = node.ints(1, "k")[0] if node.has(1) else 0
    keep = torch.triu if node.attribute("upper", 1) else torch.tril
    return call(node, lambda x: keep(x, diagonal), 0)
