"""Following through a compiler's own layouts which axis of a value is which of the ONNX file's.

`Axes` of a value: for each of its axes the one in the ONNX file; None where that is not known.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["CHANNELS_LAST", "Axes", "kept", "onnx_shape", "plain", "transposed"]

Axes = tuple[int, ...] | None

CHANNELS_LAST = (0, 2, 3, 1)


def plain(rank: int) -> tuple[int, ...]:
    """Axes as in the ONNX file."""
    return tuple(range(rank))


def transposed(before: Axes, permutation: Sequence[int] | None, *, of_the_file: bool) -> Axes:
    """Axes of what a transposition makes; one *of_the_file* is there in ONNX too, any other is the compiler's own."""
    if before is None or permutation is None:
        return None
    if of_the_file:
        return before if before == plain(len(before)) else None
    return tuple(before[axis] for axis in permutation)


def kept(given: Sequence[Axes], rank: int, *, arranges: bool = False) -> Axes:
    """Axes of a result of *rank* that keeps those of what it is *given*; where it *arranges* anew, only if all are so.

    Up to two axes there is nothing that a layout could change.
    """
    if rank <= 2 or all(axes is not None and axes == plain(len(axes)) for axes in given):
        return plain(rank)
    same = {axes for axes in given if axes is not None and len(axes) == rank}
    return same.pop() if len(same) == 1 and None not in given and not arranges else None


def onnx_shape(shape: Sequence[int], axes: Axes) -> tuple[int, ...] | None:
    """*shape* in the ONNX file's order."""
    return None if axes is None else tuple(shape[axes.index(axis)] for axis in range(len(axes)))
