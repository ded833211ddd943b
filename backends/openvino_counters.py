"""Time of each inference from OpenVINO's counters, which keep the mean over all inferences of a compiled model.

A counter is the mean of n inferences in whole microseconds, rounded down, so the sum of all n is known to within n
microseconds, and a single inference, as the difference of two sums, to within 2n: it has to be read while n is small.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MOST_INFERENCES", "Counters"]

MOST_INFERENCES = 16
"""Of one compiled model, before it should give place to a fresh one."""


class Counters:
    """The counters of one compiled model, by layer."""

    def __init__(self) -> None:
        self.inferences = 0
        """Made so far; whoever makes one counts it here."""
        self._means: Mapping[str, int] = {}
        self._read_at = 0

    @property
    def current(self) -> bool:
        """Whether they were read since the last inference."""
        return self._read_at == self.inferences

    def take(self, means_us: Mapping[str, int]) -> dict[str, float]:
        """Take *means_us*, what the runtime tells now; return microseconds of all inferences since they were read.

        Raises `ValueError` where *means_us* cannot be means over all inferences.
        """
        now, then = self.inferences, self._read_at
        # Where a sum can lie is taken by its middle.
        half = (max(0, now - 1) - max(0, then - 1)) / 2
        spent = {}
        for name, mean in means_us.items():
            before = self._means.get(name, 0) * then
            if mean * now + now <= before:
                raise ValueError(f"the counter of {name} fell from {self._means[name]} to {mean} us on average")
            spent[name] = max(0.0, mean * now - before + half)
        self._means, self._read_at = means_us, now
        return spent
