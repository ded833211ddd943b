"""A user's folder of class folders.

Where it holds both `train/` and `val/`, calibration and training take from the first and evaluation from the second;
otherwise half of each class is for evaluation, the rest for calibration and training. Which half an image is in depends
on the names alone, never on the seed of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..preprocess import SUFFIXES, image_files
from .base import Samples, Want, photographs, shuffled
from .labels import label_set

__all__ = ["files", "load"]

_SPLIT_SEED = 20


def files(argument: str, want: Want) -> Sequence[Path]:
    """The images of *want*. Raises `UserError` for a folder that is missing, empty, or holds no class folders."""
    root = Path(argument).expanduser()
    classes = _classes(root, want)
    whole = root if _halved(root) else None
    found = [path for folder in classes for path in _images(folder, want, halve=whole is not None)]
    if not found:
        raise UserError(f"{root}: no image is left for {want.split}; add images, or have train/ and val/ in it")
    return shuffled(found, want)


def load(argument: str, want: Want) -> Samples:
    """The images of *want* by the model's resize rule, with their classes.

    Raises `UserError` for a folder that is no class of the model, and for an image that cannot be read.
    """
    root = Path(argument).expanduser()
    paths = files(argument, want)
    folders = _classes(root, want)
    known = label_set(want.model, [folder.name for folder in folders])
    # Every class folder is checked, not only those of the images that were drawn: a wrong one is found at once.
    numbers = {folder: known.index(folder.name, str(folder), want.model.name) for folder in folders}
    return Samples(
        images=photographs(paths, want),
        labels=np.asarray([numbers[path.parent] for path in paths], dtype=np.int64),
        classes=known.classes,
        notes=(known.note,) if known.note else (),
    )


def _halved(root: Path) -> bool:
    return not ((root / "train").is_dir() and (root / "val").is_dir())


def _classes(root: Path, want: Want) -> list[Path]:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give one with a folder of images for each class")
    if not _halved(root):
        root = root / ("val" if want.split == "evaluation" else "train")
    found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise UserError(f"{root}: holds no class folders; put the images of each class into a folder of its own")
    return found


def _images(folder: Path, want: Want, *, halve: bool) -> list[Path]:
    found = image_files(folder)
    if not found:
        raise UserError(f"{folder}: a class folder without an image ({', '.join(SUFFIXES)}); add some or remove it")
    if not halve:
        return found
    order = np.random.default_rng([_SPLIT_SEED, len(found)]).permutation(len(found))
    half = (len(found) + 1) // 2
    chosen = order[:half] if want.split == "evaluation" else order[half:]
    return [found[place] for place in sorted(chosen)]
