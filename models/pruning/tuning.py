"""The short fine-tune after a pruning step: on which images, for how long, against which teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError, UserError
from .fitting import Fit, fit

__all__ = ["DEFAULT_EPOCHS", "Lesson", "read_lesson", "tune"]

DEFAULT_EPOCHS = 30
"""Epochs where nothing is said and the budget allows."""

_BUDGET_MACS = 10e12
"""Multiply-accumulates that a fine-tune of default length may take: some minutes on one core."""

_BACKWARD = 3
"""What a forward and a backward pass cost, in forward passes."""

_SETTINGS = Fit(epochs=DEFAULT_EPOCHS, rate=2e-3, teacher_share=0.5)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Labelled images to learn from."""

    images: NDArray[np.float32]
    """(N, C, H, W), as the model takes them."""
    labels: NDArray[np.int64]
    """(N,)"""


def read_lesson(path: Path, shape: tuple[int, ...], outputs: list[tuple[int, ...]]) -> Lesson:
    """The labelled images in the .npz *path*, for a model that takes inputs of *shape* and makes *outputs*.

    Raises `UserError` where the file does not fit the model, `UnsupportedError` where the model is no classifier.
    """
    if len(outputs) != 1 or len(outputs[0]) != 2:
        raise UnsupportedError(
            "fine-tuning needs one output of class scores (N, classes); add :ft=0 to prune without it", stage="prune"
        )
    with np.load(path, allow_pickle=False) as data:
        if not {"images", "labels"} <= set(data.files):
            raise UserError(f"{path}: fine-tuning needs arrays called images and labels; add :ft=0 to prune without it")
        images, labels = data["images"], data["labels"]
    classes = outputs[0][1]
    if images.dtype != np.float32 or images.shape[1:] != shape[1:] or not len(images):
        what = f"{'x'.join(map(str, images.shape))} {images.dtype}"
        raise UserError(
            f"{path}: training images are {what}, the model takes Nx{'x'.join(map(str, shape[1:]))} float32"
        )
    if labels.shape != images.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"{path}: training labels do not fit: one of 0 to {classes - 1} is needed for each image")
    return Lesson(images=images, labels=labels.astype(np.int64))


def tune(
    module: Any,
    lesson: Lesson,
    *,
    epochs: int | None,
    teacher: Any,
    macs: tuple[int, int],
    masks: Mapping[str, Any],
    seed: int,
) -> Mapping[str, str]:
    """Fine-tune *module* in place and say how; *macs* are those of the module and of its teacher, for one input.

    *epochs* is None for the default: 20, or as many as the budget allows, and where not even one is allowed, one over
    a seeded choice of images.
    """
    import torch

    per_image = _BACKWARD * macs[0] + macs[1]
    count = len(lesson.images)
    if epochs is None:
        count = int(min(count, max(_SETTINGS.batch, _BUDGET_MACS // per_image)))
        epochs = int(min(DEFAULT_EPOCHS, max(1, _BUDGET_MACS // (per_image * count))))
    chosen = np.sort(torch.randperm(len(lesson.images), generator=torch.Generator().manual_seed(seed)).numpy()[:count])
    settings = replace(_SETTINGS, epochs=epochs)
    loss = fit(
        module,
        torch.from_numpy(lesson.images[chosen]),
        torch.from_numpy(lesson.labels[chosen]),
        settings,
        seed=seed,
        masks=masks,
        teacher=teacher,
    )
    return {**settings.described(), "images": str(count), "loss": f"{loss:.4f}"}
