"""Direct convolutions in NHWC: a tile of outputs in registers, its epilogue at once behind it."""

from __future__ import annotations

from typing import Any

from ..tiles import Candidate
from .common import (
    blocks_after,
    extents,
    find,
    inline_all,
    start_sums,
    tile,
    vectorize_innermost,
    vectorize_tile,
)

__all__ = ["BLOCKS", "schedule_conv", "schedule_depthwise"]

BLOCKS = ("conv2d_nhwc", "group_conv2d_nhwc")
"""Names of the block of a convolution in TOPI's lowering."""


def schedule_conv(loops: Any, chosen: Candidate) -> None:
    """Loops n, rows, channels, columns | kernel, input channels | tile; *chosen* are values of the grid of conv.

    In the order "s" weights stream through once, a few input channels at a time, over all positions of a panel whose
    sums wait in the cache. Otherwise a whole block of weights is read at the first tile, faster than memory gives it,
    and none during the other tiles: with cold weights, reading and computing add up instead of overlapping.
    """
    conv = find(loops, BLOCKS)
    padding = loops.get_producers(conv)
    store, at_tile = _epilogue(loops, conv)
    high, wide, deep = chosen["tile"]
    n, y, x, f, ry, rx, rc = loops.get_loops(conv)
    yo, yi, yp = tile(loops, y, chosen["th"] // high, high)
    xo, xp = tile(loops, x, wide)
    fo, fi = tile(loops, f, deep)
    rco, rci = tile(loops, rc, chosen["ui"])
    nest, at, first = {
        "f": ((n, yo, fo, yi, xo, ry, rx, rco), xo, ry),
        "k": ((n, yo, fo, yi, xo, rco, ry, rx), xo, rco),
        "p": ((n, yo, yi, xo, fo, ry, rx, rco), fo, ry),
        "s": ((n, yo, fo, rco, yi, xo, ry, rx), fo, rco),
    }[chosen["order"]]
    loops.reorder(*nest, rci, yp, xp, fi)
    rows = yo
    if chosen["par"] == "yf":
        rows = loops.fuse(n, yo, yi if chosen["order"] == "p" else fo)
        at = rows if chosen["order"] == "s" else at
    _keep_in_registers(loops, conv, store, at_tile, at, unrolled=1 if chosen["order"] == "s" else 2)
    _pad(loops, padding, chosen["pad"], rows, parallel=chosen["par"] != "no")
    loops.vectorize(fi)
    for loop in (xp, yp, rci):
        loops.unroll(loop)
    if chosen["par"] != "no":
        loops.parallel(rows)
    start_sums(loops, conv, first, 2)


def schedule_depthwise(loops: Any, chosen: Candidate) -> None:
    """As `schedule_conv`, with the kernel unrolled; *chosen* are values of the grid of depthwise."""
    conv = find(loops, BLOCKS)
    padding = loops.get_producers(conv)
    store, at_tile = _epilogue(loops, conv)
    high, wide, deep = chosen["tile"]
    n, y, x, f, ry, rx, rc = loops.get_loops(conv)
    yo, yi, yp = tile(loops, y, chosen["th"] // high, high)
    xo, xp = tile(loops, x, wide)
    fo, fm, fi = tile(loops, f, chosen["fm"], deep)
    first = (n, yo, yi, xo, fo) if chosen["order"] == "y" else (n, fo, yo, yi, xo)
    loops.reorder(*first, fm, ry, rx, rc, yp, xp, fi)
    _keep_in_registers(loops, conv, store, at_tile, fm)
    _pad(loops, padding, chosen["pad"], yo, parallel=chosen["par"] != "no")
    loops.vectorize(fi)
    for loop in (xp, yp, ry, rx, rc):
        loops.unroll(loop)
    if chosen["par"] != "no":
        loops.parallel(yo if chosen["order"] == "y" else fo)
    start_sums(loops, conv, ry, 2)


def _epilogue(loops: Any, conv: Any) -> tuple[Any, bool]:
    """The block that stores a tile, and whether it is computed at the tile.

    A squeeze-and-excite factor is one position that its last product spreads over the image: that product stays apart,
    or the factor, its activation with it, would be computed again at every position.
    """
    after = blocks_after(loops, conv)
    spatial = extents(loops, conv)[1:3]
    same = [block for block in after if extents(loops, block)[1:3] == spatial]
    larger = after[len(same) :]
    if larger:
        inline_all(loops, larger[:-1])
        vectorize_innermost(loops, larger[-1])
    if same:
        inline_all(loops, same[:-1])
        return same[-1], True
    return None, False


def _keep_in_registers(loops: Any, conv: Any, store: Any, at_tile: bool, at: Any, *, unrolled: int = 2) -> None:
    """Compute the sums in a local tile inside loop *at*, and store it there through the epilogue *store*."""
    if at_tile:
        loops.reverse_compute_at(store, at, preserve_unit_loops=True)
        loops.set_scope(conv, 0, "local")
    else:
        store = loops.cache_write(conv, 0, "local")
        loops.reverse_compute_at(store, at, preserve_unit_loops=True)
    vectorize_tile(loops, store, unrolled)


def _pad(loops: Any, padding: Any, how: str, rows: Any, *, parallel: bool) -> None:
    if not padding:
        return
    if how == "inline":
        loops.compute_inline(padding[0])
        return
    if how == "row":
        loops.compute_at(padding[0], rows, preserve_unit_loops=True)
    vectorize_innermost(loops, padding[0])
    if how == "root" and parallel:
        loops.parallel(loops.get_loops(padding[0])[1])
