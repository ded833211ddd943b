"""How far arrays lie from their reference, summed up over images. Needs numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIMIT_DB", "Tally", "decibel"]

LIMIT_DB = 200.0
"""Largest ratio that is told, either way: a reference that is all zeros has no ratio."""


def decibel(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise), within `LIMIT_DB`; None where there is no noise at all."""
    if noise <= 0.0:
        return None
    if signal <= 0.0 or signal / noise == 0.0:
        return -LIMIT_DB
    return max(-LIMIT_DB, min(LIMIT_DB, 10.0 * math.log10(signal / noise)))


@dataclass
class Tally:
    """Sums over all elements of all images. Elements where the reference is not finite take no part."""

    signal: float = 0.0
    energy: float = 0.0
    product: float = 0.0
    noise: float = 0.0
    worst: float = 0.0
    """Largest absolute difference."""
    compared: int = 0
    """Elements that are finite on both sides."""
    broken: int = 0
    """NaN and infinite elements where the reference is finite."""
    same_class: int = 0
    """Rows of arrays of rank 2 whose largest element stands in the same place."""
    classified: int = 0
    """Rows of arrays of rank 2 with at least two columns."""

    def add(self, ours: NDArray[np.generic], reference: NDArray[np.generic]) -> None:
        """Take in one image's array and its reference, of the same shape."""
        left, right = ours.astype(np.float64), reference.astype(np.float64)
        if right.ndim == 2 and right.shape[1] > 1:
            self.classified += right.shape[0]
            self.same_class += int(np.sum(left.argmax(axis=1) == right.argmax(axis=1)))
        usable = np.isfinite(right)
        if not usable.all():
            left, right = left[usable], right[usable]
        finite = np.isfinite(left)
        if not finite.all():
            self.broken += int(finite.size - finite.sum())
            left, right = left[finite], right[finite]
        left, right = left.ravel(), right.ravel()
        difference = left - right
        self.signal += float(right @ right)
        self.energy += float(left @ left)
        self.product += float(left @ right)
        self.noise += float(difference @ difference)
        self.worst = max(self.worst, float(np.abs(difference).max(initial=0.0)))
        self.compared += left.size

    def merge(self, other: Tally) -> None:
        """Take in what *other* has summed up."""
        for part in fields(self):
            ours, theirs = getattr(self, part.name), getattr(other, part.name)
            setattr(self, part.name, max(ours, theirs) if part.name == "worst" else ours + theirs)

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio; None where nothing differs."""
        return decibel(self.signal, self.noise)

    @property
    def noise_ratio(self) -> float:
        """Noise over signal, endless where a value is not finite."""
        if self.broken:
            return math.inf
        return self.noise / self.signal if self.signal else float(self.noise > 0.0)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between all of one and all of the other; 1 where both are zero, 0 where one is."""
        if self.noise == 0.0:
            return 1.0
        length = math.sqrt(self.signal * self.energy)
        return max(-1.0, min(1.0, self.product / length)) if length else 0.0

    @property
    def agreement(self) -> float | None:
        """Share of rows with the same largest element; None where arrays are no scores of classes."""
        return self.same_class / self.classified if self.classified else None
