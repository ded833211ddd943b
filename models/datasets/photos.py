"""Photographs that scikit-image and scikit-learn carry in their wheels, and foolbox where it is installed; no
download, no labels.

What is no photograph of the visible world (microscopy, astronomy, fundus images, scans of text, drawings, masks) is
left out, as is the second view of the stereo pair. Some are grey, and stay so for a model of colour pictures.

Every third photograph of scikit-image's and scikit-learn's, in the order below, is for calibration, whatever it shows;
all others are for evaluation, those of foolbox too, so that a variant is the same file with foolbox and without.
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
from .base import Samples, Want, fitting, shuffled
from .views import ten_views

__all__ = ["files", "foolbox_photographs", "load"]

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

_FOOLBOX = "imagenet_*_*.jpg"

_SEEDS = {"calibration": 2, "training": 3}
_EVERY = 3
_SMALLEST = 0.5
"""Least side of a crop, of the largest that fits."""


def files(argument: str, want: Want) -> Sequence[Path]:
    """The photographs of the split that are really there. Raises `UserError` where there is none."""
    places = (("skimage", "data", _SKIMAGE), ("sklearn", "datasets/images", _SKLEARN))
    found = [path for package, inside, names in places for path in _present(package, inside, names)]
    if not found:
        raise UserError(
            "data photos: neither scikit-image nor scikit-learn is installed; "
            "install them with: python -m pip install scikit-image scikit-learn"
        )
    held_back = {name for place, name in enumerate((*_SKIMAGE, *_SKLEARN)) if place % _EVERY == _EVERY - 1}
    if want.split != "evaluation":
        return [path for path in found if path.name in held_back]
    return shuffled([*(path for path in found if path.name not in held_back), *foolbox_photographs()], want)


def foolbox_photographs() -> list[Path]:
    """The ImageNet photographs `imagenet_NN_LABEL.jpg` inside package foolbox; none where it is not installed."""
    folder = _folder("foolbox", "data")
    return sorted(folder.glob(_FOOLBOX)) if folder else []


def load(argument: str, want: Want) -> Samples:
    """For evaluation ten views of each photograph (see `views`), otherwise crops.

    A crop is a random place and size (at least half of the largest that fits, in the proportions of the input), flipped
    or not, from the photographs in turn: calibration is to see wider ranges than evaluation will.
    """
    paths = list(files(argument, want))
    if want.split == "evaluation":
        images = ten_views(paths, want)
        return Samples(images=images, pictures=min(len(paths), len(images)))
    count = fitting(want)
    opened = [open_image(path, want.input.channels) for path in paths]
    rng = np.random.default_rng([want.seed, _SEEDS[want.split]])
    images = np.stack([_crop(opened[place % len(opened)], want.input, rng) for place in range(count)])
    return Samples(images=images, pictures=min(len(paths), count))


def _present(package: str, inside: str, names: Sequence[str]) -> list[Path]:
    folder = _folder(package, inside)
    return [path for name in names if folder and (path := folder / name).is_file()]


def _folder(package: str, inside: str) -> Path | None:
    """A folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent / inside if found is not None and found.origin else None


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
