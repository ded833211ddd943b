"""The 20 labelled ImageNet photographs inside package foolbox (J. Rauber et al., JOSS 5(53), 2020), for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from . import photos
from .base import Samples, Want, package_folder, shuffled
from .labels import check_labels
from .views import ten_views

__all__ = ["files", "load"]

_INSTALL = "--no-deps foolbox==3.3.4"


def files(argument: str, want: Want) -> Sequence[Path]:
    """`imagenet_NN_LABEL.jpg` of the package; for calibration those of `photos`, since 20 are too few to split.

    Raises `UserError` where the package is missing, for another set than imagenet, and for training.
    """
    if argument != "imagenet":
        raise UserError(f"data 'foolbox:{argument}': only foolbox:imagenet can be had; say that")
    if want.split == "training":
        raise UserError("data 'foolbox:imagenet': 20 images are none to train on; give another data set")
    if want.split == "calibration":
        return photos.files("", want)
    folder = package_folder("foolbox", "foolbox:imagenet", _INSTALL) / "data"
    found = photos.foolbox_photographs()
    if not found:
        raise UserError(f"{folder}: holds no imagenet_NN_LABEL.jpg; reinstall: python -m pip install {_INSTALL}")
    return shuffled(found, want)


def load(argument: str, want: Want) -> Samples:
    """Ten views of each photograph (see `views`), with the classes that their names tell."""
    notes = check_labels(want.model, "imagenet1k", "foolbox:imagenet")
    if want.split == "calibration":
        return photos.load("", want)
    paths = files(argument, want)
    images = ten_views(paths, want)
    labels = [int(path.stem.rpartition("_")[2]) for path in paths]
    return Samples(
        images=images,
        labels=np.resize(np.asarray(labels, dtype=np.int64), len(images)),
        classes=1000,
        pictures=min(len(paths), len(images)),
        notes=notes,
    )
