"""What all templates share. Splits are sampled with their decision given, so that MetaSchedule can mutate the trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "blocks_after",
    "extent",
    "extents",
    "find",
    "inline_all",
    "rewrite_weights",
    "root_blocks",
    "start_sums",
    "tile",
    "vectorize_innermost",
    "vectorize_tile",
]

# Longer innermost loops are split before they become vectors.
_MOST_LANES = 64


def root_blocks(loops: Any) -> list[Any]:
    """The kernel's blocks in the order of its text."""
    return list(loops.get_child_blocks(loops.get_sblock("root")))


def find(loops: Any, names: Sequence[str]) -> Any:
    """The first block that is called one of *names*, or None."""
    return next((block for block in root_blocks(loops) if loops.get(block).name_hint in names), None)


def blocks_after(loops: Any, block: Any) -> list[Any]:
    """Blocks that come behind *block*: what is fused to it."""
    names = [loops.get(other).name_hint for other in root_blocks(loops)]
    return root_blocks(loops)[names.index(loops.get(block).name_hint) + 1 :]


def extent(loops: Any, loop: Any) -> int:
    """How often *loop* runs."""
    return int(loops.get(loop).extent)


def extents(loops: Any, block: Any) -> list[int]:
    """Extents of the loops around *block*."""
    return [extent(loops, loop) for loop in loops.get_loops(block)]


def tile(loops: Any, loop: Any, *inner: int) -> list[Any]:
    """Split *loop* into an outer loop and loops of the sizes *inner*, which divide its extent."""
    whole = extent(loops, loop)
    outer = whole
    for size in inner:
        outer //= size
    factors = loops.sample_perfect_tile(
        loop, n=len(inner) + 1, max_innermost_factor=max(whole, 1), decision=[outer, *inner]
    )
    return list(loops.split(loop, factors))


def inline_all(loops: Any, blocks: Sequence[Any]) -> None:
    """Compute each of *blocks* where it is used."""
    for block in blocks:
        loops.compute_inline(block)


def vectorize_innermost(loops: Any, block: Any, most: int = _MOST_LANES) -> None:
    """Turn the innermost loop of *block* into vectors of at most *most* values."""
    last = loops.get_loops(block)[-1]
    whole = extent(loops, last)
    width = max(d for d in range(1, min(most, whole) + 1) if whole % d == 0)
    if 1 < width < whole:
        last = tile(loops, last, width)[1]
    if width > 1:
        loops.vectorize(last)


def vectorize_tile(loops: Any, block: Any, unrolled: int) -> None:
    """Vectorize the innermost loop of *block* and unroll the *unrolled* loops around it."""
    nest = loops.get_loops(block)
    loops.vectorize(nest[-1])
    for loop in nest[-1 - unrolled : -1]:
        loops.unroll(loop)


def start_sums(loops: Any, block: Any, at: Any, unrolled: int) -> None:
    """Set the sums of *block* to zero before its reduction loop *at*, in vectors."""
    vectorize_tile(loops, loops.decompose_reduction(block, at), unrolled)


def rewrite_weights(loops: Any) -> None:
    """Store weights in the order in which the loops read them; the weights are rewritten when the model is compiled."""
    from tvm.s_tir import meta_schedule

    meta_schedule.postproc.RewriteLayout().apply(loops)
