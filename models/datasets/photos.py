"""Photographs that scikit-image and scikit-learn carry in their wheels; no download, no labels.

What is no photograph of the visible world (microscopy, astronomy, fundus images, scans of text, drawings, masks) is
left out, as is the second view of the stereo pair. Some are grey, and stay so for a model of colour pictures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..preprocess import normalise, open_image, pixels_of, sampling
from ..spec import InputSpec
from .base import Samples, Want, fitting, photographs

__all__ = ["files", "load"]

_SKIMAGE = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
_SKLEARN = ("china.jpg", "flower.jpg")

_SEEDS = {"evaluation": 1, "calibration": 2, "training": 3}
_SMALLEST = 0.5
"""Least side of a crop, of the largest that fits."""


def files(argument: str, want: Want) -> Sequence[Path]:
    """The photographs that are really there. Raises `UserError` where there is none."""
    places = (("skimage", "data", _SKIMAGE), ("sklearn", "datasets/images", _SKLEARN))
    found = [path for package, inside, names in places for path in _present(package, inside, names)]
    if not found:
        raise UserError(
            "data photos: neither scikit-image nor scikit-learn is installed; "
            "install them with: python -m pip install scikit-image scikit-learn"
        )
    return found


def load(argument: str, want: Want) -> Samples:
    """For evaluation each whole photograph by the model's resize rule, then crops; otherwise crops alone.

    A crop is a random place and size (at least half of the largest that fits, in the proportions of the input), flipped
    or not; different ones for each split and seed, from the photographs in turn.
    """
    paths = list(files(argument, want))
    count = fitting(want)
    whole = paths[:count] if want.split == "evaluation" else []
    images = np.empty(want.input.shape(count), dtype=np.float32)
    images[: len(whole)] = photographs(whole, want)
    opened = [open_image(path, want.input.channels) for path in paths]
    rng = np.random.default_rng([want.seed, _SEEDS[want.split]])
    for place in range(len(whole), count):
        images[place] = _crop(opened[(place - len(whole)) % len(opened)], want.input, rng)
    made = f"{len(whole)} whole and {count - len(whole)} crops" if whole else f"{count} crops"
    note = f"{made} of {len(paths)} photographs, which all splits share: crops of one are not independent of each other"
    return Samples(images=images, notes=(note,))


def _present(package: str, inside: str, names: Sequence[str]) -> list[Path]:
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        return []
    return [path for name in names if (path := Path(found.origin).parent / inside / name).is_file()]


def _crop(image: Any, spec: InputSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    from PIL import Image

    largest = min(image.width / spec.width, image.height / spec.height)
    scale = largest * rng.uniform(_SMALLEST, 1.0)
    width, height = spec.width * scale, spec.height * scale
    left, top = rng.uniform(0.0, image.width - width), rng.uniform(0.0, image.height - height)
    part = image.resize((spec.width, spec.height), sampling(spec), box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return normalise(pixels_of(part), spec)
