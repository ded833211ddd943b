"""Disjoint sets of numbers, joined step by step."""

from __future__ import annotations

__all__ = ["Sets"]


class Sets:
    """The numbers from 0 to *count* - 1, each in a set of its own until it is joined with another."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """The smallest number in the set of *item*."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, first: int, second: int) -> None:
        """Make one set of both."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low
