"""Mean intersection over union of segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError
from .resampling import Statistic
from .scores import finite

__all__ = ["IGNORED", "confusion", "mean_iou", "segmentation_statistic"]

IGNORED = 255
"""The class of pixels that are not judged."""


def segmentation_statistic(outputs: Sequence[NDArray[np.generic]], masks: NDArray[np.uint8]) -> Statistic:
    """mIoU of *outputs*, one (1, classes, h, w) array of logits for each image, against *masks* (N, H, W).

    The largest logit is the answer; answers smaller than the mask are enlarged to it, each pixel to its nearest. Raises
    `StageError` (stage "evaluate") for outputs that are no such logits or not finite, and for a class in a mask that
    the model does not have.
    """
    matrices = np.stack([confusion(_answer(output, mask), mask) for output, mask in zip(outputs, masks, strict=True)])

    def statistic(chosen: NDArray[np.intp]) -> float:
        counts = np.bincount(chosen, minlength=len(matrices))
        return mean_iou(np.tensordot(counts, matrices, axes=1))

    return statistic


def confusion(answer: tuple[NDArray[np.int64], int], mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(classes, classes): pixels by true class (row) and answered class, those that are not judged left out.

    *answer* is the class of each pixel, in the shape of *mask*, and the number of classes.
    """
    answered, classes = answer
    judged = mask != IGNORED
    truth = mask[judged].astype(np.int64)
    if truth.size and int(truth.max()) >= classes:
        raise StageError(f"a mask has class {truth.max()}, the model {classes} classes", stage="evaluate")
    counts = np.bincount(truth * classes + answered[judged], minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def mean_iou(matrix: NDArray[np.int64]) -> float:
    """The mean over the classes that occur, in truth or answers, of intersection over union; NaN where none does."""
    hits = np.diagonal(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    occurs = union > 0
    return float(np.mean(hits[occurs] / union[occurs])) if occurs.any() else float("nan")


def _answer(output: NDArray[np.generic], mask: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
    if output.ndim != 4 or output.shape[0] != 1 or output.shape[1] < 2:
        raise StageError(f"an output of shape {output.shape} is no (1, classes, h, w) of logits", stage="evaluate")
    classes = finite(output, "outputs")[0].argmax(axis=0)
    rows, columns = ((np.arange(size) * own) // size for size, own in zip(mask.shape, classes.shape, strict=True))
    return classes[np.ix_(rows, columns)].astype(np.int64), output.shape[1]
