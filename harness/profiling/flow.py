"""Which rows of a profile can have had the results of which others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...backends.profile import Row

__all__ = ["Flow"]


class Flow:
    """Data flow among rows, known by their place in order of execution.

    A row that does not tell what it reads may have read anything that ran before it.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.told = any(row.reads is not None for row in rows)
        """Whether more is known than the order of execution."""
        self._reads: list[int] = []
        self._reached: list[int] = []
        for place, row in enumerate(rows):
            reads = (1 << place) - 1 if row.reads is None else _bits(row, place)
            reached = reads
            for source in row.reads or ():
                reached |= self._reached[source]
            self._reads.append(reads)
            self._reached.append(reached)

    def reaches(self, first: int, second: int) -> bool:
        """Whether *second* is *first*, or can have had its result, directly or through others."""
        return first == second or bool(self._reached[second] >> first & 1)

    def direct(self, occupied: Collection[int]) -> list[int]:
        """For each row those of *occupied* that it reads with no other of them between, as a set of bits.

        The others (copies into other layouts, ...) hand on what they read.
        """
        kept = sum(1 << place for place in occupied)
        found: list[int] = []
        for reads in self._reads:
            bits, through = reads & kept, reads & ~kept
            while through:
                low = through & -through
                bits |= found[low.bit_length() - 1]
                through ^= low
            found.append(bits)
        return found


def _bits(row: Row, place: int) -> int:
    bits = 0
    for source in row.reads or ():
        if not 0 <= source < place:
            raise ValueError(f"row {place} ({row.name}) is said to read row {source}, which did not run before")
        bits |= 1 << source
    return bits
