"""Winograd convolutions as `lowering` writes them: input transform, products of matrices, output transform."""

from __future__ import annotations

from typing import Any

from ..tiles import Candidate
from .common import (
    blocks_after,
    extent,
    find,
    inline_all,
    start_sums,
    tile,
    vectorize_innermost,
    vectorize_tile,
)

__all__ = ["schedule_winograd"]


def schedule_winograd(loops: Any, chosen: Candidate) -> None:
    """The transforms go through registers tile by tile; *chosen* are values of the grid of winograd."""
    parallel = chosen["par"] != "no"
    out = find(loops, ("w_out",))
    after = blocks_after(loops, out)
    inline_all(loops, [out, *after[:-1]] if after else [])
    _transform_input(loops, chosen["vt"], parallel)
    _multiply(loops, chosen, parallel)
    _transform_output(loops, after[-1] if after else out, chosen["vo"], parallel)


def _transform_input(loops: Any, width: int, parallel: bool) -> None:
    first, second, padding = (find(loops, (name,)) for name in ("w_t1", "w_t2", "w_pad"))
    e, nu, p, ci = loops.get_loops(second)
    outer, inner = tile(loops, ci, width)
    loops.reorder(p, outer, e, nu, inner)
    loops.compute_at(first, outer, preserve_unit_loops=True)
    loops.set_scope(first, 0, "local")
    _unroll_square(loops, first)
    loops.vectorize(inner)
    loops.unroll(e)
    loops.unroll(nu)
    vectorize_innermost(loops, padding)
    if parallel:
        loops.parallel(p)
        loops.parallel(loops.get_loops(padding)[1])


def _multiply(loops: Any, chosen: Candidate, parallel: bool) -> None:
    gemm = find(loops, ("w_gemm",))
    wide, deep = chosen["tile"]
    e, nu, p, co, k = loops.get_loops(gemm)
    po, pi = tile(loops, p, wide)
    coo, coi = tile(loops, co, deep)
    ko, ki = tile(loops, k, chosen["ui"])
    first, second = (coo, po) if chosen["order"] == "c" else (po, coo)
    loops.reorder(e, nu, first, second, ko, ki, pi, coi)
    store = loops.cache_write(gemm, 0, "local")
    loops.reverse_compute_at(store, second, preserve_unit_loops=True)
    vectorize_tile(loops, store, 1)
    loops.vectorize(coi)
    loops.unroll(pi)
    loops.unroll(ki)
    if parallel:
        loops.parallel(loops.fuse(e, nu, first))
    start_sums(loops, gemm, ko, 1)


def _transform_output(loops: Any, store: Any, width: int, parallel: bool) -> None:
    third, fourth = (find(loops, (name,)) for name in ("w_t3", "w_t4"))
    m = extent(loops, loops.get_loops(fourth)[0])
    n, h, w, f = loops.get_loops(store)
    ho, hi = loops.split(h, [None, m])
    wo, wi = loops.split(w, [None, m])
    fo, fi = tile(loops, f, width)
    loops.reorder(n, ho, wo, fo, hi, wi, fi)
    for block in (fourth, third):
        loops.compute_at(block, fo, preserve_unit_loops=True)
        loops.set_scope(block, 0, "local")
        _unroll_square(loops, block)
    loops.vectorize(fi)
    loops.unroll(hi)
    loops.unroll(wi)
    if parallel:
        loops.parallel(loops.fuse(n, ho))


def _unroll_square(loops: Any, block: Any) -> None:
    """Unroll both loops over a transform's matrix, so that its coefficients become code."""
    square = loops.get_loops(block)[-4:]
    loops.vectorize(square[3])
    loops.unroll(square[0])
    loops.unroll(square[1])
