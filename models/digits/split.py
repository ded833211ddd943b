"""The fixed parts of the real handwritten digits that scikit-learn ships, and how one becomes an input.

1,797 images of 8x8 from 43 writers (E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998). The
data set does not say who wrote which, so one hand may be in several parts.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ..preprocess import normalise
from ..spec import InputSpec

__all__ = ["SPLIT_SIZES", "digit_inputs", "digits_split"]

_CLASSES = 10
_PER_CLASS = {"evaluation": 36, "calibration": 20}

SPLIT_SIZES = {"evaluation": 360, "calibration": 200, "training": 1237}
"""Images in each part."""

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def digits_split() -> dict[str, Part]:
    """The parts "evaluation", "calibration" and "training": images (N, 8, 8) uint8, 0..255, and labels (N,) int64.

    The rule depends on the pixels alone and on no random generator: within each class, images are ordered by the
    sha256 of their 64 bytes (ties by their place in the data set); the first 36 are for evaluation, the next 20 for
    calibration, the rest for training. Each part is in the order of the data set. scikit-learn has to be installed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(np.asarray(bunch.images) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(bunch.target, dtype=np.int64)
    places: dict[str, list[int]] = {name: [] for name in SPLIT_SIZES}
    for label in range(_CLASSES):
        members = np.flatnonzero(labels == label).tolist()
        ordered = sorted(members, key=lambda place: (hashlib.sha256(images[place].tobytes()).digest(), place))
        start = 0
        for name, count in _PER_CLASS.items():
            places[name] += ordered[start : start + count]
            start += count
        places["training"] += ordered[start:]
    return {name: (images[np.sort(chosen)], labels[np.sort(chosen)]) for name, chosen in places.items()}


def digit_inputs(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """*images* (N, h, w) uint8 as the zoo's nets take them: (N, 1, H, W) float32.

    Each is enlarged bilinearly to the size of *spec* as an 8-bit greyscale picture, scaled to 0..1, and normalised.
    """
    from PIL import Image

    size = (spec.width, spec.height)
    grown = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in images]
    return normalise(np.stack(grown)[:, None].astype(np.float32) / 255.0, spec)
