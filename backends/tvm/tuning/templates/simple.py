"""Dense layers, pooling, reductions over the image, and kernels without any reduction."""

from __future__ import annotations

from typing import Any

from ..tiles import Candidate
from .common import (
    blocks_after,
    extents,
    find,
    inline_all,
    root_blocks,
    tile,
    vectorize_innermost,
)

__all__ = ["POOLS", "reduction_block", "schedule_dense", "schedule_elementwise", "schedule_pool", "schedule_reduce"]

POOLS = ("pool_max", "pool_avg", "pool_sum", "adaptive_pool_sum", "adaptive_pool_avg")
"""Names of the blocks of pooling in TOPI's lowering."""


def schedule_dense(loops: Any, chosen: Candidate) -> None:
    """A row times a matrix: *v* outputs in registers."""
    product = find(loops, ("matmul",))
    after = blocks_after(loops, product)
    inline_all(loops, after[:-1])
    i, j, k = loops.get_loops(product)
    outer, inner = tile(loops, j, chosen["v"])
    ko, ki = tile(loops, k, chosen["ui"])
    loops.reorder(i, outer, ko, ki, inner)
    _store_at(loops, product, after[-1] if after else None, outer)
    loops.vectorize(inner)
    loops.unroll(ki)
    if chosen["par"] != "no":
        loops.parallel(outer)
    _start(loops, product, ko)


def schedule_pool(loops: Any, chosen: Candidate) -> None:
    """Pooling in NHWC: *v* channels in registers, the window unrolled."""
    pool = find(loops, POOLS)
    padding = loops.get_producers(pool)
    after = blocks_after(loops, pool)
    if "schedule_rule" in loops.get(pool).annotations:
        loops.unannotate(pool, "schedule_rule")
    inline_all(loops, after[:-1])
    n, y, x, f, *window = loops.get_loops(pool)
    outer, inner = tile(loops, f, chosen["v"])
    loops.reorder(n, y, x, outer, *window, inner)
    if padding and chosen["pad"] == "inline":
        loops.compute_inline(padding[0])
    elif padding:
        loops.compute_at(padding[0], y, preserve_unit_loops=True)
        vectorize_innermost(loops, padding[0])
    _store_at(loops, pool, after[-1] if after else None, outer)
    for loop in window:
        loops.unroll(loop)
    loops.vectorize(inner)
    if chosen["par"] != "no":
        loops.parallel(y)
    _start(loops, pool, window[0])


def schedule_reduce(loops: Any, chosen: Candidate) -> None:
    """A sum over the image for each channel: *v* channels at a time, in registers."""
    block = reduction_block(loops)
    after = blocks_after(loops, block)
    inline_all(loops, after[:-1])
    nest = loops.get_loops(block)
    kinds = [int(axis.iter_type) for axis in loops.get(block).iter_vars]
    spatial = [loop for loop, kind in zip(nest, kinds, strict=True) if kind != 2]
    reduction = [loop for loop, kind in zip(nest, kinds, strict=True) if kind == 2]
    outer, inner = tile(loops, spatial[-1], chosen["v"])
    loops.reorder(*spatial[:-1], outer, *reduction, inner)
    _store_at(loops, block, after[-1] if after else None, outer)
    loops.vectorize(inner)
    if chosen["par"] != "no":
        loops.parallel(outer)
    _start(loops, block, reduction[0])


def schedule_elementwise(loops: Any, chosen: Candidate) -> None:
    """One loop nest for each output; *vec* "axis:width" says which of the last one's loops becomes vectors.

    That loop is innermost then. A channel shuffle that is split has an output that others read: it is no other's part.
    """
    outputs = [loops.get(block).name_hint for block in loops.get_output_blocks("root")]
    blocks = root_blocks(loops)
    inline_all(loops, [block for block in blocks[:-1] if loops.get(block).name_hint not in outputs])
    *others, last = root_blocks(loops)
    for block in others:
        _copy(loops, block, chosen)
    nest = loops.get_loops(last)
    inner: list[Any] = []
    if chosen["vec"] != "none":
        axis, width = (int(text) for text in chosen["vec"].split(":"))
        outer, vector = tile(loops, nest[axis], width)
        inner = nest[axis + 1 :]
        loops.reorder(*nest[:axis], outer, *inner, vector)
        loops.vectorize(vector)
        nest = [*nest[:axis], outer, *inner]
    if chosen["un"] and extents(loops, last)[len(nest) - 1] <= 16:
        loops.unroll(nest[-1])
        nest = nest[:-1]
    if chosen["par"] != "no":
        _parallel(loops, nest[: max(1, len(nest) - len(inner))])


def _copy(loops: Any, block: Any, chosen: Candidate) -> None:
    """Vectors along the innermost loop of *block*, whatever the last one's are."""
    nest = loops.get_loops(block)
    if chosen["par"] != "no" and len(nest) > 1:
        _parallel(loops, nest[:-1])
    if chosen["vec"] != "none":
        vectorize_innermost(loops, block)


def _parallel(loops: Any, nest: list[Any]) -> None:
    loops.parallel(loops.fuse(*nest) if len(nest) > 1 else nest[0])


def reduction_block(loops: Any) -> Any:
    """The first block with a reduction, or None."""
    for block in root_blocks(loops):
        if any(int(axis.iter_type) == 2 for axis in loops.get(block).iter_vars):
            return block
    return None


def _store_at(loops: Any, block: Any, epilogue: Any, at: Any) -> None:
    """Keep the sums of *block* in registers inside loop *at*; store them through *epilogue*."""
    if epilogue is None:
        epilogue = loops.cache_write(block, 0, "local")
        loops.reverse_compute_at(epilogue, at, preserve_unit_loops=True)
    else:
        loops.reverse_compute_at(epilogue, at, preserve_unit_loops=True)
        loops.set_scope(block, 0, "local")
    loops.vectorize(loops.get_loops(epilogue)[-1])


def _start(loops: Any, block: Any, at: Any) -> None:
    start = loops.decompose_reduction(block, at)
    loops.vectorize(loops.get_loops(start)[-1])
