"""Mean average precision of detection, by pycocotools (COCO's AP: IoU 0.50 to 0.95, at most 100 boxes an image)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StageError, UserError
from .resampling import Statistic
from .scores import finite

__all__ = ["Boxes", "detection_statistic", "read_boxes"]

Array = NDArray[np.generic]

_MOST = 100


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """What a detector found in one image."""

    corners: NDArray[np.float64]
    """(N, 4): left, top, right, bottom in pixels of the model's input."""
    scores: NDArray[np.float64]
    """(N,)"""
    labels: NDArray[np.int64]
    """(N,), category ids of the annotation file."""


def read_boxes(outputs: Sequence[Array], names: Sequence[str] = ()) -> Boxes:
    """The boxes in the *outputs* of one image, with or without a leading batch of 1.

    Three outputs are looked for: boxes, scores and labels (or classes), by these words in *names*; else the first of
    four columns holds boxes, and of the other two the integers are labels, or the second if both are floating.

    Raises `StageError` (stage "evaluate") where there are no such outputs or they are not finite.
    """
    batched = any(array.ndim == 3 for array in outputs)
    arrays = [np.asarray(array)[0] if batched else np.asarray(array) for array in outputs]
    found = _by_name(arrays, names) or _by_kind(arrays)
    if found is None:
        shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in outputs)
        raise StageError(f"no boxes (N x 4), scores and labels among the outputs: {shapes}", stage="evaluate")
    corners, scores, labels = (finite(array, "boxes") if len(array) else array.astype(np.float64) for array in found)
    if corners.ndim != 2 or corners.shape[1] != 4 or not len(corners) == len(scores) == len(labels):
        raise StageError("boxes, scores and labels are not as many as each other", stage="evaluate")
    return Boxes(corners=corners, scores=scores.ravel(), labels=labels.ravel().astype(np.int64))


def detection_statistic(found: Sequence[Boxes], annotations: Mapping[str, Any]) -> Statistic:
    """AP of *found*, one for each of the first images of *annotations* (see `datasets.coco`), over any of them.

    Boxes are taken from the model's input back to the size of each picture. Raises `UserError` where pycocotools is
    missing, `StageError` where no box is known to be found in these images.
    """
    evaluation = _matched(found, annotations)
    matches, categories = evaluation.evalImgs, len(evaluation.params.catIds)
    count = len(found)

    def statistic(chosen: NDArray[np.intp]) -> float:
        # By category, then area (one), then image; resampled images stand in the places of the real ones.
        evaluation.evalImgs = [matches[category * count + place] for category in range(categories) for place in chosen]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        precision = evaluation.eval["precision"]
        known = precision[precision > -1]
        return float(known.mean()) if known.size else float("nan")

    return statistic


def _matched(found: Sequence[Boxes], annotations: Mapping[str, Any]) -> Any:
    """A COCOeval over the images of *found*, evaluated but not yet accumulated."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UserError("mAP needs package pycocotools; install it with: python -m pip install pycocotools") from error
    images = annotations["images"][: len(found)]
    ids = [image["id"] for image in images]
    truth = COCO()
    truth.dataset = {
        "info": {},
        **annotations["coco"],
        "images": images,
        "annotations": [box for box in annotations["coco"]["annotations"] if box["image_id"] in set(ids)],
    }
    if not truth.dataset["annotations"]:
        raise StageError(f"no box is annotated in the {len(images)} images evaluated", stage="evaluate")
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        rows = np.concatenate([_rows(*pair, annotations["input"]) for pair in zip(found, images, strict=True)])
        # Without a single box loadRes has nothing to look at: one far outside, of no score, changes no precision.
        guesses = truth.loadRes(rows if len(rows) else np.asarray([[ids[0], -9.0, -9.0, 1.0, 1.0, 0.0, _any(truth)]]))
        evaluation = COCOeval(truth, guesses, "bbox")
        evaluation.params.imgIds = ids
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MOST]
        # COCOeval sorts and uniquifies the ids; the images' own order has to stay.
        evaluation.evaluate()
    order = {image: place for place, image in enumerate(evaluation.params.imgIds)}
    _reorder(evaluation, [order[image] for image in ids])
    return evaluation


def _reorder(evaluation: Any, places: Sequence[int]) -> None:
    """Bring the matches of each category into the order of the images as we hold them."""
    count, matches = len(places), evaluation.evalImgs
    evaluation.evalImgs = [
        matches[category * count + place] for category in range(len(matches) // count) for place in places
    ]


def _any(truth: Any) -> float:
    return float(truth.dataset["categories"][0]["id"])


def _rows(boxes: Boxes, image: Mapping[str, Any], size: Sequence[int]) -> NDArray[np.float64]:
    """COCO's (N, 7): image id, left, top, width, height, score, category."""
    height, width = size
    scale = np.asarray([image["width"] / width, image["height"] / height] * 2)
    best = np.argsort(-boxes.scores, kind="stable")[:_MOST]
    corners = boxes.corners[best] * scale
    ids = np.full(len(best), float(image["id"]))
    extent = corners[:, 2:] - corners[:, :2]
    return np.column_stack([ids, corners[:, :2], extent, boxes.scores[best], boxes.labels[best]])


def _by_name(arrays: Sequence[Array], names: Sequence[str]) -> tuple[Array, Array, Array] | None:
    def pick(*words: str) -> Array | None:
        return next(
            (array for array, name in zip(arrays, names, strict=False) if any(word in name.lower() for word in words)),
            None,
        )

    boxes, scores, labels = pick("box"), pick("score", "conf"), pick("label", "class")
    return (boxes, scores, labels) if boxes is not None and scores is not None and labels is not None else None


def _by_kind(arrays: Sequence[Array]) -> tuple[Array, Array, Array] | None:
    boxes = next((place for place, array in enumerate(arrays) if array.ndim == 2 and array.shape[1] == 4), None)
    others = [array for place, array in enumerate(arrays) if place != boxes]
    if boxes is None or len(others) != 2:
        return None
    first, second = others
    if np.issubdtype(first.dtype, np.integer) and not np.issubdtype(second.dtype, np.integer):
        first, second = second, first
    return arrays[boxes], first, second
