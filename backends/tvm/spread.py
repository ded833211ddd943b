"""Gives kernels that were scheduled for one thread to several: their outermost loops run in parallel.

This module imports nothing of bakeoff, because its very text goes into the script that reproduces a failed cell.
"""

from collections.abc import Sequence
from typing import Any

__all__ = ["spread"]

# To wake the other threads takes some microseconds; what has fewer operations than this is done by then.
_LEAST_OPERATIONS = 2**15
# So many parts for each thread, where the loops have them: one thread that comes late then costs little.
_PARTS = 8


def spread(module: Any, threads: int) -> tuple[Any, list[str]]:
    """Run the scheduled kernels of *module* that have no parallel loop yet on *threads* threads; and their names.

    Only loops whose iterations write different places are taken, so results stay the same to the last bit. Kernels that
    are too small to gain stay as they are.
    """
    from tvm import tirx

    kernels = {
        name: func
        for name, func in module.functions_items()
        if isinstance(func, tirx.PrimFunc) and "tirx.is_scheduled" in func.attrs
    }
    done = []
    for name, func in kernels.items():
        if _has_parallel(func) or _operations(func) < _LEAST_OPERATIONS:
            continue
        made = _spread_kernel(func, threads)
        if made is not None:
            module[name] = made
            done.append(str(name.name_hint))
    return module, done


def _has_parallel(func: Any) -> bool:
    from tvm import tirx

    return any(loop.kind == tirx.ForKind.PARALLEL for loop in _all(func.body, tirx.For))


def _all(statement: Any, kind: Any) -> list[Any]:
    from tvm import tirx

    found: list[Any] = []
    tirx.stmt_functor.post_order_visit(statement, lambda node: found.append(node) if isinstance(node, kind) else None)
    return found


def _operations(func: Any) -> int:
    """How often its innermost statements run in all."""
    from tvm import tirx

    total = 0

    def look(node: Any, times: int) -> None:
        nonlocal total
        if isinstance(node, tirx.For):
            look(node.body, times * int(node.extent))
        elif isinstance(node, tirx.SeqStmt):
            for part in node.seq:
                look(part, times)
        elif isinstance(node, tirx.SBlockRealize):
            look(node.block.body, times)
        else:
            total += times

    look(func.body, 1)
    return total


def _spread_kernel(func: Any, threads: int) -> Any:
    """*func* with the outer loops of each of its nests in parallel; None where no nest admits it.

    A schedule's own `parallel` refuses sums whose start was split off, as all tiles in registers have it, so the
    independence of iterations is proved here.
    """
    from tvm import s_tir, tirx

    loops = s_tir.Schedule(func)
    chosen = []
    outermost: list[Any] = []
    for block in loops.get_child_blocks(loops.get_sblock("root")):
        nest = loops.get_loops(block)
        if not nest or any(loops.get(nest[0]).same_as(other) for other in outermost):
            continue
        count = _independent(loops, nest, threads)
        if count:
            chosen.append(loops.fuse(*nest[:count]) if count > 1 else nest[0])
        outermost.append(loops.get(loops.get_loops(block)[0]))
    variables = [loops.get(loop).loop_var for loop in chosen]

    def mark(loop: Any) -> Any:
        if not any(loop.loop_var.same_as(variable) for variable in variables):
            return None
        return tirx.For(loop.loop_var, loop.min, loop.extent, tirx.ForKind.PARALLEL, loop.body)

    if not chosen:
        return None
    made = loops.mod["main"]
    return made.with_body(tirx.stmt_functor.ir_transform(made.body, None, mark, ["tirx.For"]))


def _independent(loops: Any, nest: Sequence[Any], threads: int) -> int:
    """How many of the outer loops of *nest* to fuse and run in parallel, 0 for none."""
    from tvm import tirx

    statements = [loops.get(loop) for loop in nest]
    root = loops.get(loops.get_sblock("root"))
    parts = 1
    for count, statement in enumerate(statements, 1):
        if statement.kind != tirx.ForKind.SERIAL or not _disjoint(statement, statements[: count - 1], root):
            return count - 1 if parts > 1 else 0
        parts *= int(statement.extent)
        if parts >= _PARTS * threads or not isinstance(statement.body, tirx.For):
            return count if parts > 1 else 0
    return len(statements) if parts > 1 else 0


def _disjoint(loop: Any, outer: Sequence[Any], root: Any) -> bool:
    """Whether no two iterations of *loop*, those of *outer* being fixed, write the same place that others see."""
    from tvm import tirx

    if int(loop.extent) == 1:
        return True
    inside = _all(loop.body, tirx.SBlockRealize)
    within = [one.block for one in inside]
    others = [block for block in _all(root.body, tirx.SBlock) if not any(block.same_as(own) for own in within)]
    shared = [region.buffer for block in others for region in [*block.reads, *block.writes]]
    private = [buffer for buffer in root.alloc_buffers if not any(buffer.same_as(other) for other in shared)]
    ranges = {each.loop_var: each.extent for each in [*outer, *_all(loop, tirx.For)]}
    fixed = [each.loop_var for each in outer]
    return all(
        any(buffer.same_as(own) for own in private) or _writes_apart(one, buffer, loop.loop_var, ranges, fixed)
        for one in inside
        for buffer in (region.buffer for region in one.block.writes)
    )


def _writes_apart(realize: Any, buffer: Any, variable: Any, ranges: dict[Any, Any], fixed: Sequence[Any]) -> bool:
    """Whether the block writes *buffer* at an index that tells the iterations of *variable* apart.

    Such an index is a spatial axis bound to c * variable + rest, 0 <= rest < c; no sum may run over *variable*.
    """
    from tvm import tirx

    stores = [store for store in _all(realize.block.body, tirx.BufferStore) if store.buffer.same_as(buffer)]
    indices = [list(store.indices) for store in stores]
    apart = False
    for axis, binding in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if not _uses(binding, variable):
            continue
        if axis.iter_type != tirx.IterVar.DataPar:
            return False
        indexed = all(any(index.same_as(axis.var) for index in one) for one in indices)
        apart |= indexed and _strided(binding, variable, ranges, fixed)
    return apart and bool(stores)


def _uses(expression: Any, variable: Any) -> bool:
    from tvm import tirx

    return any(found.same_as(variable) for found in _all(expression, tirx.Var))


def _strided(binding: Any, variable: Any, ranges: dict[Any, Any], fixed: Sequence[Any]) -> bool:
    from tvm import arith, ir, tirx

    linear = arith.detect_linear_equation(binding, [variable])
    if len(linear) != 2 or not isinstance(linear[0], tirx.IntImm):
        return False
    step = int(linear[0])
    rest = tirx.stmt_functor.substitute(linear[1], {one: tirx.const(0, one.ty.dtype) for one in fixed})
    analyzer = arith.Analyzer()
    for each, extent in ranges.items():
        analyzer.bind(each, ir.Range.from_min_extent(0, extent))
    bound = analyzer.const_int_bound(rest)
    return step > 0 and bound.min_value >= 0 and bound.max_value < step
