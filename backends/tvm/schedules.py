"""Default schedules for kernels that nobody tuned: register tiles, vectors, parallel outer loops.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.
"""

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["plain_loops", "schedule"]

# Longer loops are not turned into vectors or unrolled: the code would explode.
_MOST_LANES = 64


def schedule(module: Any, target: Any) -> Any:
    """Give every kernel a default schedule. TVM ships none for convolutions on CPUs, only for softmax-like kernels."""
    import tvm
    from tvm.s_tir import dlight

    from_loops = _tile_rule()
    with tvm.target.Target(target):
        return dlight.ApplyDefaultSchedule(from_loops, dlight.cpu.Reduction())(module)


def _tile_rule() -> Any:
    """A rule for kernels with at most one reduction: tiles of outputs in registers, the outer loops in parallel."""
    from tvm import s_tir
    from tvm.s_tir.dlight.analysis import normalize_prim_func
    from tvm.s_tir.dlight.base import try_inline
    from tvm.s_tir.dlight.cpu.base import CPUScheduleRule

    class TileRule(CPUScheduleRule):  # type: ignore[misc]
        def apply(self, func: Any, target: Any, _tunable: bool) -> Any:
            loops = s_tir.Schedule(func)
            blocks = normalize_prim_func(loops) or []
            reductions = [i for i, block in enumerate(blocks) if not block.is_injective()]
            if not self.is_target_available(target) or not blocks or len(reductions) > 1:
                return None
            try:
                if reductions:
                    _tile_around(loops, blocks, reductions[0])
                else:
                    _tile_elementwise(loops, try_inline(loops, blocks))
            except s_tir.ScheduleError:
                return None  # left as it is, and counted by `plain_loops`
            return loops

    return TileRule()


def plain_loops(module: Any) -> list[str]:
    """Names of the kernels that no rule of `schedule` fitted."""
    from tvm import tirx

    kernels = ((name.name_hint, func) for name, func in module.functions_items() if isinstance(func, tirx.PrimFunc))
    return [name for name, func in kernels if "tirx.is_scheduled" not in func.attrs]


def _extent(loops: Any, loop: Any) -> int:
    return int(loops.get(loop).extent)


def _divisor(loops: Any, loop: Any, wanted: Sequence[int]) -> int:
    return next((size for size in wanted if _extent(loops, loop) % size == 0), 1)


def _elements(block: Any) -> int:
    return math.prod(int(axis.dom) for axis in block.iters if axis.kind == "S")


def _tile_around(loops: Any, blocks: Sequence[Any], at: int) -> None:
    """Tile the reduction *at* a position of *blocks* together with those after it that are as large as it is.

    Larger ones, such as the product that spreads a squeeze-and-excite factor over the image, are left apart: else each
    of their tiles would compute the reduction and its activation again.
    """
    from tvm.s_tir.dlight.base import try_inline

    after = list(blocks[at + 1 :])
    same = [block for block in after if _elements(block) <= _elements(blocks[at])]
    if len(same) == len(after):
        after = try_inline(loops, after)
        same, larger = after[:1], after[1:]
    else:
        same, larger = [*try_inline(loops, same[:-1]), *same[-1:]], try_inline(loops, after[len(same) :])
        same, larger = same[:1], same[1:] + larger
    last = same[0].block_rv if same else loops.cache_write(blocks[at].block_rv, 0, "global")
    _tile_elementwise(loops, [*try_inline(loops, list(blocks[:at])), *larger])
    _tile_reduction(loops, blocks[at], last)


def _tile_elementwise(loops: Any, blocks: Sequence[Any]) -> None:
    for block in blocks:
        nest = loops.get_loops(block.block_rv)
        if not nest:
            continue
        outer, inner = loops.split(nest[-1], [None, _divisor(loops, nest[-1], (16, 8, 4))])
        loops.vectorize(inner)
        loops.parallel(loops.fuse(*nest[:-1], outer))


def _tile_reduction(loops: Any, block: Any, last: Any) -> None:
    """Tile the block *last* by 4 positions and 16 channels, and compute the reduction *block* inside its tiles.

    The reduction's tile stays in registers while its outer loops run: 4 x 16 floats are 8 registers of AVX2.
    """
    nest = loops.get_loops(last)
    if not nest or "R" not in block.dom_kind():
        return
    wide = _divisor(loops, nest[-1], (16, 8, 4))
    high = _divisor(loops, nest[-2], (4, 7, 2)) if len(nest) > 1 else 1
    sizes = (high, wide) if len(nest) > 1 else (wide,)
    splits = [loops.split(loop, [None, size]) for loop, size in zip(nest[-len(sizes) :], sizes, strict=True)]
    loops.reorder(*nest[: -len(sizes)], *(outer for outer, _ in splits), *(inner for _, inner in splits))
    tiles = loops.fuse(*nest[: -len(sizes)], *(outer for outer, _ in splits))
    loops.parallel(tiles)
    loops.vectorize(splits[-1][1])
    loops.compute_at(block.block_rv, tiles, preserve_unit_loops=True)
    inside = list(zip(loops.get_loops(block.block_rv)[1:], block.dom_kind(), strict=True))
    spatial = [loop for loop, kind in inside if kind == "S"]
    reduction = [loop for loop, kind in inside if kind == "R"]
    loops.reorder(*reduction, *spatial)
    if _extent(loops, spatial[-1]) <= _MOST_LANES:
        loops.vectorize(spatial[-1])
    if high > 1 and _extent(loops, spatial[-2]) <= _MOST_LANES:
        loops.unroll(splits[0][1])
        loops.unroll(spatial[-2])
    loops.decompose_reduction(block.block_rv, reduction[0])
