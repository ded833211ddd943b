"""A data set of the Hugging Face hub by its name, through package `datasets`. Needs the network the first time.

Written against the documented interface of datasets 3 and later; bakeoff's own tests reach no hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..preprocess import centred, normalise, pixels_of
from .base import Samples, Want, package_folder, shuffled
from .labels import label_set

__all__ = ["files", "load", "prepare_pictures"]

_EVALUATION = ("validation", "val", "test")


def files(argument: str, want: Want) -> Sequence[Path]:
    """None: what a name on the hub stands for is not known before it is read. Raises `UserError` without `datasets`."""
    package_folder("datasets", f"hf:{argument}", "datasets")
    return []


def load(argument: str, want: Want) -> Samples:
    """Evaluation takes the named split, else validation or test; calibration and training take "train".

    Raises `UserError` where it cannot be had, has no such split, no image or class column, or a class that is none of
    the model's.
    """
    import datasets

    name, _, chosen = argument.partition(":")
    what = f"data 'hf:{argument}'"
    try:
        found = datasets.load_dataset(name)
    # The hub, its cache and the readers of files raise whatever they like.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what}: cannot be had ({type(error).__name__}: {reason}); "
            f"with network, `python -c \"import datasets; datasets.load_dataset('{name}')\"` must work"
        ) from error
    table = found[_split(list(found), chosen, want, what)]
    image, label = _columns(table.features, datasets, what)
    names = table.features[label].names
    known = label_set(want.model, names)
    numbers = [known.index(word, what, want.model.name) for word in names]
    rows = shuffled(range(len(table)), want)
    pictures = [table[int(row)] for row in rows]
    return Samples(
        images=prepare_pictures([row[image] for row in pictures], want),
        labels=np.asarray([numbers[row[label]] for row in pictures], dtype=np.int64),
        classes=known.classes,
        notes=(known.note,) if known.note else (),
    )


def prepare_pictures(pictures: Sequence[Any], want: Want) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """PIL *pictures* by the model's resize rule, (N, C, H, W) float32."""
    spec = want.input
    mode = "L" if spec.channels == 1 else "RGB"
    images = np.empty(spec.shape(len(pictures)), dtype=np.float32)
    for place, picture in enumerate(pictures):
        fitted = centred(picture.convert(mode), spec, spec.height, spec.width)
        images[place] = normalise(pixels_of(fitted), spec)
    return images


def _split(known: list[str], chosen: str, want: Want, what: str) -> str:
    wanted = [chosen] if chosen else list(_EVALUATION)
    if want.split != "evaluation":
        wanted = ["train"]
        if chosen == "train":
            raise UserError(f"{what}: evaluates on train, which leaves nothing to calibrate on; name another split")
    for name in wanted:
        if name in known:
            return name
    raise UserError(f"{what}: has no split {' or '.join(wanted)}; its splits are {', '.join(known)}")


def _columns(features: Any, datasets: Any, what: str) -> tuple[str, str]:
    image = next((name for name, kind in features.items() if isinstance(kind, datasets.Image)), None)
    label = next((name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise UserError(f"{what}: has no {'image' if image is None else 'class'} column; it has {', '.join(features)}")
    return image, label
