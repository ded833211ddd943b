"""A classification data set of torchvision by its name: "torchvision:CIFAR10", downloaded where that is possible."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .base import Samples, Want, package_folder, shuffled
from .hub import prepare_pictures
from .labels import label_set

__all__ = ["files", "load"]

_EVALUATION = ("test", "val", "valid")


def files(argument: str, want: Want) -> Sequence[Path]:
    """None: only the data set itself knows its files. Raises `UserError` where torchvision is missing."""
    package_folder("torchvision", f"torchvision:{argument}", "'bakeoff[torch]'")
    return []


def load(argument: str, want: Want) -> Samples:
    """Evaluation takes its test (else validation) part, calibration and training its training part.

    Raises `UserError` where torchvision has no such data set, it cannot be had, it has no pictures with classes, or a
    class is none of the model's.
    """
    name, _, root = argument.partition(":")
    what = f"data 'torchvision:{argument}'"
    table = _open(name, Path(root or "~/.cache/torchvision").expanduser(), want, what)
    rows = [table[int(row)] for row in shuffled(range(len(table)), want)]
    if not all(hasattr(picture, "convert") and isinstance(label, int | np.integer) for picture, label in rows):
        raise UserError(f"{what}: does not hold pictures with one class each; give a classification data set")
    words = [str(word) for word in getattr(table, "classes", range(1 + max(int(label) for _, label in rows)))]
    known = label_set(want.model, words)
    numbers = [known.index(_first(word), what, want.model.name) for word in words]
    return Samples(
        images=prepare_pictures([picture for picture, _ in rows], want),
        labels=np.asarray([numbers[int(label)] for _, label in rows], dtype=np.int64),
        classes=known.classes,
        notes=(known.note,) if known.note else (),
    )


def _open(name: str, root: Path, want: Want, what: str) -> Any:
    import torchvision

    kind: Any = getattr(torchvision.datasets, name, None)
    if name not in torchvision.datasets.__all__ or not inspect.isclass(getattr(torchvision.datasets, name)):
        raise UserError(
            f"{what}: torchvision has no data set {name!r}; say it as torchvision does, torchvision:CIFAR10"
        )
    parameters = inspect.signature(kind).parameters
    evaluating = want.split == "evaluation"
    if "train" in parameters:
        tries: list[dict[str, Any]] = [{"train": not evaluating}]
    elif "split" in parameters:
        tries = [{"split": part} for part in (_EVALUATION if evaluating else ("train",))]
    else:
        raise UserError(f"{what}: is not divided into training and test; give another data set or an imagefolder")
    if "download" in parameters:
        tries = [{**settings, "download": True} for settings in tries]
    failures = []
    for settings in tries:
        try:
            return kind(root=str(root), **settings)
        # A part that it does not have, files that are not there or broken, a network that cannot be reached.
        except (ValueError, RuntimeError, OSError) as error:
            failures.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
    raise UserError(
        f"{what}: cannot be had in {root} ({failures[0]}); download it there with torchvision, with network"
    )


def _first(word: str) -> str:
    """MNIST's classes are called "0 - zero"."""
    head, dash, _ = word.partition(" - ")
    return head if dash and head.isdigit() else word
