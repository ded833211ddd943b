"""Whether a candidate computes what its task does, on random data. Runs in a worker that may be killed any time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..records_apply import rewriting_blocks
from .measure import build, random_tensor, shapes_of

__all__ = ["Judge"]

# In the root mean square: sums in another order are within it, and roundings of quantized values that tip over here and
# there; values at wrong places are not. Sums of other types are coarse.
_ALLOWED = {"float32": 0.01, "float64": 0.01}
_COARSE = 0.1

# LLVM unrolls plain loops over the few tiles of a Winograd convolution for seconds; not at this level.
_LEVEL = {"opt-level": 1}


@dataclass
class Judge:
    """Compares candidates with the plain loops of their task, which rewrite no weights and are no candidate."""

    facts: Mapping[str, Any]
    """Of the target."""
    folder: Path
    """Where outputs of plain loops are kept, for all workers that share it."""

    def refuse_wrong(self, hash_: str, module: Any, scheduled: Any, kernel: Any) -> None:
        """Raise `ValueError` where *kernel*, built of *scheduled*, differs from the task *module* of this hash."""
        expected = self._expected(hash_, module)
        rewritten = {_place(scheduled, block): block for block in rewriting_blocks(scheduled)}
        for place, found in _outputs(module, kernel, rewritten).items():
            error = _error(found, expected[place])
            if error > _ALLOWED.get(str(found.dtype), _COARSE):
                raise ValueError(f"computes something else: outputs differ by {error:.3g} in the root mean square")

    def _expected(self, hash_: str, module: Any) -> dict[int, Any]:
        """What the task writes, in double precision, by the place among its arguments."""
        import numpy as np
        from tvm.target import Target

        file = self.folder / f"{hash_}.npz"
        if not file.exists():
            kernel = build(_plain_loops(module), Target({**self.facts, **_LEVEL}))
            outputs = {str(place): array.astype(np.float64) for place, array in _outputs(module, kernel, {}).items()}
            part = file.with_suffix(f".{os.getpid()}.npz")
            np.savez(part, **outputs)
            part.replace(file)  # whole, or not there: another worker may read it
        with np.load(file) as kept:
            return {int(place): kept[place] for place in kept}


def _plain_loops(module: Any) -> Any:
    """The loops of *module* as they were lowered, but that sums go along the last axis, where data lie side by side.

    Nothing is inlined: what a sum reads is computed once.
    """
    from tvm import s_tir, tirx

    loops = s_tir.Schedule(module.clone())
    for block in loops.get_child_blocks(loops.get_sblock("root", func_name="main")):
        axes, around = loops.get(block).iter_vars, loops.get_loops(block)
        if len(axes) != len(around):
            continue
        sums = [axis.iter_type == tirx.IterVar.CommReduce for axis in axes]
        summed, kept = (
            [loop for loop, is_one in zip(around, sums, strict=True) if is_one is want] for want in (True, False)
        )
        if summed and kept:
            with suppress(s_tir.ScheduleError):  # it stays as it is
                loops.reorder(*kept[:-1], *summed, kept[-1])
                loops.decompose_reduction(block, summed[0])
    return loops.mod


def _outputs(module: Any, kernel: Any, rewritten: dict[int, Any]) -> dict[int, Any]:
    """What *kernel* writes, by the place among its arguments; *rewritten*: blocks that store weights anew."""
    import numpy as np
    import tvm

    main = module["main"]
    written = _written(main)
    arguments = []
    for place, (shape, dtype) in enumerate(shapes_of(main)):
        if place in written:  # what is not written must show
            floating = np.issubdtype(np.dtype(dtype), np.floating)
            tensor = tvm.runtime.tensor(np.full(shape, np.nan if floating else 99, dtype))
        else:
            tensor = random_tensor(shape, dtype)
        if place in rewritten:
            tensor = tvm.runtime.tensor(_stored(rewritten[place], tensor.numpy()))
        arguments.append(tensor)
    kernel["main"](*arguments)
    return {place: arguments[place].numpy() for place in written}


def _error(found: Any, expected: Any) -> float:
    """Root mean square of the difference, relative to that of *expected* (double); infinite where others are finite.

    Random data may lie outside a function's domain.
    """
    import numpy as np

    one, other = found.astype(np.float64), expected
    finite = np.isfinite(other)
    if not np.array_equal(finite, np.isfinite(one)):
        return float("inf")
    size = float(np.linalg.norm(other[finite]))
    return float(np.linalg.norm(one[finite] - other[finite])) / (size or 1.0)


def _written(main: Any) -> list[int]:
    """Places of the arguments that the PrimFunc *main* writes."""
    from tvm import tirx

    buffers: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, tirx.BufferStore):
            buffers.append(node.buffer)

    tirx.stmt_functor.post_order_visit(main.body, visit)
    return [place for place, parameter in enumerate(main.params) if any(parameter.same_as(one) for one in buffers)]


def _place(scheduled: Any, block: Any) -> int:
    """Which argument *block* stores in another order."""
    source = block.body.value.buffer
    return next(at for at, parameter in enumerate(scheduled["main"].params) if parameter.same_as(source))


def _stored(block: Any, array: Any) -> Any:
    """*array* in the order in which *block* stores it."""
    import numpy as np

    grid = np.ogrid[tuple(slice(extent) for extent in array.shape)]
    axes = [(axis.var, values) for axis, values in zip(block.iter_vars, grid, strict=True)]
    new = np.zeros([int(extent) for extent in block.body.buffer.shape], array.dtype)
    new[tuple(_values(index, axes) for index in block.body.indices)] = array
    return new


def _values(index: Any, axes: list[tuple[Any, Any]]) -> Any:
    """The values of an index over all positions; layouts are made of quotients, remainders and their combinations."""
    import numpy as np
    from tvm import tirx

    if isinstance(index, tirx.IntImm):
        return np.intp(int(index))
    if isinstance(index, tirx.Var):
        return next(values for axis, values in axes if axis.same_as(index))
    if isinstance(index, tirx.expr.Cast):
        return _values(index.value, axes)
    one, other = _values(index.a, axes), _values(index.b, axes)
    operations = {tirx.Add: np.add, tirx.Sub: np.subtract, tirx.Mul: np.multiply}
    operations |= {tirx.FloorDiv: np.floor_divide, tirx.FloorMod: np.remainder}
    return operations[type(index)](one, other)
