"""scikit-learn's handwritten digits, in the fixed parts of `models.digits.split`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..preprocess import normalise
from .base import Samples, Want, package_folder, shuffled
from .labels import check_labels

__all__ = ["files", "load"]


def files(argument: str, want: Want) -> Sequence[Path]:
    """The packed file inside scikit-learn. Raises `UserError` where that is not installed."""
    folder = package_folder("sklearn", "digits", "scikit-learn")
    return sorted((folder / "datasets" / "data").glob("digits.csv*"))


def load(argument: str, want: Want) -> Samples:
    """The part of *want*, in seeded order. Raises `UserError` for a model of other labels."""
    from ..digits.split import digit_inputs, digits_split

    notes = check_labels(want.model, "digits", "digits")
    spec = want.input
    images, labels = digits_split()[want.split]
    chosen = np.asarray(shuffled(range(len(labels)), want), dtype=np.intp)
    if spec.channels == 1:
        pixels = digit_inputs(images[chosen], spec)
    else:
        grey = digit_inputs(images[chosen], replace(spec, channels=1, mean=(0.0,), std=(1.0,)))
        pixels = normalise(np.repeat(grey, spec.channels, axis=1), spec)
    return Samples(images=pixels, labels=labels[chosen], classes=10, notes=notes)
