"""Candidates of each kind of kernel as plain numbers: which register tiles fit, and what else may be chosen.

A tile of the outputs stays in vector registers while the reduction runs over it; its size is bounded by their number.
What is derived here for 16 registers of 8 floats (AVX2), 32 of 16 (AVX-512) and 32 of 4 (NEON) is the same rule.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Candidate", "Grid", "Vector", "divisors", "register_tiles"]

Candidate = Mapping[str, Any]
"""Values by the names of a grid's axes, all of them JSON."""


@dataclass(frozen=True, kw_only=True)
class Vector:
    """Vector registers of a target."""

    lanes: int
    """Floats (fp32) in one register."""
    registers: int

    def count(self, channels: int) -> int:
        """Registers that hold *channels* floats."""
        return -(-channels // self.lanes)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All candidates of one task: the product of *axes* as far as *valid* admits it."""

    axes: Mapping[str, Sequence[Any]]
    """Values by axis; axes and values stand in the order in which they are worth trying."""
    valid: Callable[[Candidate], bool]
    first: tuple[Candidate, ...]
    """What to try first, the best guess leading."""

    def holds(self, candidate: Candidate) -> bool:
        """Whether *candidate*, of another task perhaps, belongs to this grid."""
        if candidate.keys() != self.axes.keys():
            return False
        return all(value in self.axes[name] for name, value in candidate.items()) and self.valid(candidate)

    def along(self, candidate: Candidate, axis: str) -> Iterator[Candidate]:
        """The other candidates that differ from *candidate* in *axis* only."""
        for value in self.axes[axis]:
            changed = {**candidate, axis: value}
            if value != candidate[axis] and self.valid(changed):
                yield changed

    def sample(self, rng: random.Random, attempts: int = 64) -> Candidate | None:
        """A random valid candidate; None where *attempts* draws gave none."""
        for _ in range(attempts):
            drawn = {name: rng.choice(list(values)) for name, values in self.axes.items()}
            if self.valid(drawn):
                return drawn
        return None


def divisors(number: int) -> list[int]:
    """All divisors of *number*, ascending."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def register_tiles(rows: int, columns: int, channels: int, vector: Vector, *, tall: bool = True) -> list[list[int]]:
    """Tiles [rows, columns, channels] whose sums stay in registers, those that promise most first.

    Each divides the output's extents. Besides the sums a step of the reduction needs registers for the weights of all
    channels and one for the input; it costs as many loads as the tile has positions and vectors of channels, and
    as many multiply-adds as their product. Where the output is so small that none has sums enough to hide
    the latency of a multiply-add (four cycles, two at once), the largest are taken.
    """
    found = []
    for high, wide, deep in itertools.product(divisors(rows), divisors(columns), _depths(channels, vector)):
        if (high > 1 and not tall) or (high > 8 or wide > 16):
            continue
        vectors, places = vector.count(deep), high * wide
        sums = vectors * places
        if sums + vectors + 1 <= vector.registers or (sums <= vector.registers - 2 and vectors == 1):
            found.append((sums, vectors, places, [high, wide, deep]))
    if not found:  # a large prime number of channels: weights come from memory, as operands of the multiply-add
        deep = max(d for d in divisors(channels) if vector.count(d) <= vector.registers // 2)
        return [[1, 1, deep]]
    enough = [tile for tile in found if tile[0] >= min(8, vector.registers // 3)]
    chosen = enough or sorted(found, reverse=True)[:6]

    def worth(tile: tuple[int, int, int, list[int]]) -> tuple[float, int, int]:
        sums, vectors, places, (high, _, deep) = tile
        wasted = vectors * vector.lanes / deep
        loads = (vectors + places) / sums
        return (wasted * max(1.0, loads / 0.7) * max(1.0, 8 / sums), abs(vectors - 2) + (high > 1), -sums)

    return [tile[3] for tile in sorted(chosen, key=worth)]


def _depths(channels: int, vector: Vector) -> list[int]:
    """Channels of a tile: divisors that fill vectors, or nearly; for awkward numbers whatever divides."""
    most = vector.lanes * 8
    whole = [d for d in divisors(channels) if d <= most and d % vector.lanes == 0]
    rest = [
        d for d in divisors(channels) if d <= most and d % vector.lanes and d / (vector.count(d) * vector.lanes) >= 0.7
    ]
    found = whole + [d for d in rest if d > vector.lanes or not whole]
    return found or [max(d for d in divisors(channels) if d <= most)]
