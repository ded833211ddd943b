"""One entry for all tasks: what the outputs of a session are worth on prepared data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import PreparedData
from ..errors import StageError, UserError
from ..spec import Task
from .detection import detection_statistic, read_boxes
from .fidelity import FidelityResult, fidelity
from .paired import Paired, paired
from .resampling import Statistic, bootstrap_paired, bootstrap_score
from .scores import Score, classify
from .segmentation import segmentation_statistic
from .text import exact_match

__all__ = ["Evaluation", "Judged", "check_task", "evaluate", "judge"]

Array = NDArray[np.generic]
Outputs = Sequence[Sequence[Array]]

_RESAMPLES = {"mAP": 200, "mIoU": 1000}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came of it."""

    score: Score | None
    """None where the data has no answers, or the weights are random."""
    reference_score: Score | None = None
    """The reference's own on the same images."""
    paired: Paired | None = None
    """The score against that of the reference."""
    fidelity: FidelityResult | None = None
    """None without a reference, or where its outputs have other shapes (as detectors' have)."""
    notes: tuple[str, ...] = ()


def check_task(task: Task, data: PreparedData) -> None:
    """Raise `UserError` where *data* has answers to another task than that of the model."""
    if task not in (data.task, "unknown") and data.task != "unknown":
        raise UserError(f"data {data.name!r}: is for {data.task}, the model for {task}; name data that fits")


def evaluate(
    task: Task,
    outputs: Outputs,
    data: PreparedData,
    reference: Outputs | None = None,
    *,
    names: Sequence[str] = (),
    random_weights: bool = False,
    judged: Judged | None = None,
) -> Evaluation:
    """Judge *outputs*, those of the first images of *data*: for each image one array for each output of the graph, in
    its order and with a first dimension of 1. *reference* is the same of the model's fp32 graph.

    Conventions, by the task of *data*: classification: the first output is (1, classes); segmentation: the first is
    (1, classes, h, w); text-recognition: the first is (1, steps, characters); detection: see `detection.read_boxes`,
    which *names* (of the outputs) helps. With *random_weights* there is no score, whatever the outputs say. *judged* is
    what `judge` made of *reference* for just as many images, where that is known already.

    Raises `UserError` for data of another task, `StageError` (stage "evaluate") for outputs that are not finite or
    not of the shape that the task has, and for answers outside of the model's classes.
    """
    check_task(task, data)
    if not outputs or len(outputs) > data.count:
        raise StageError(f"{len(outputs)} outputs for {data.count} images", stage="evaluate")
    if reference is not None:
        reference = reference[: len(outputs)]
    close, notes = _fidelity(task, outputs, data, reference)
    if random_weights:
        return Evaluation(score=None, fidelity=close, notes=(*notes, "random weights: there is no accuracy"))
    if judged is None and reference is not None:
        judged = judge(reference, data, names)
    ours = judge(outputs, data, names)
    if ours is None:
        return Evaluation(score=None, fidelity=close, notes=notes)
    comparison = _compare(ours, judged, len(outputs), data.pictures) if judged is not None else None
    return Evaluation(
        score=ours.score,
        reference_score=judged.score if judged is not None else None,
        paired=comparison,
        fidelity=close,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A score, with what pairs it with another one."""

    score: Score
    statistic: Statistic | None = None


def judge(outputs: Outputs, data: PreparedData, names: Sequence[str] = ()) -> Judged | None:
    """The score of *outputs* by themselves (see `evaluate`); None where *data* has no answers.

    Raises `StageError` as `evaluate` does.
    """
    count = len(outputs)
    if data.labelled:
        labels = _array(data, "labels")[:count].astype(np.int64)
        return Judged(score=classify(_stacked(outputs), labels, classes=data.classes, pictures=data.pictures))
    if data.task == "text-recognition" and data.annotations is not None:
        known = _annotations(data)
        firsts = [row[0] for row in outputs]
        return Judged(score=exact_match(firsts, known["texts"][:count], known["characters"]))
    if data.task == "segmentation":
        masks = _array(data, "masks")[:count].astype(np.uint8)
        statistic = segmentation_statistic([row[0] for row in outputs], masks)
        return _bootstrapped("mIoU", statistic, count)
    if data.task == "detection" and data.annotations is not None:
        found = [read_boxes(row, names) for row in outputs]
        return _bootstrapped("mAP", detection_statistic(found, _annotations(data)), count)
    return None


def _bootstrapped(metric: str, statistic: Statistic, count: int) -> Judged:
    score = bootstrap_score(metric, statistic, count, resamples=_RESAMPLES[metric])
    if not np.isfinite(score.value):
        raise StageError(f"{metric} is not defined on these {count} images: nothing to judge", stage="evaluate")
    return Judged(score=score, statistic=statistic)


def _compare(ours: Judged, theirs: Judged, count: int, pictures: int | None) -> Paired | None:
    if ours.score.correct is not None and theirs.score.correct is not None:
        return paired(ours.score.correct, theirs.score.correct, pictures=pictures)
    if ours.statistic is not None and theirs.statistic is not None:
        return bootstrap_paired(ours.statistic, theirs.statistic, count, resamples=_RESAMPLES[ours.score.metric])
    return None


def _fidelity(
    task: Task, outputs: Outputs, data: PreparedData, reference: Outputs | None
) -> tuple[FidelityResult | None, tuple[str, ...]]:
    if reference is None:
        return None, ()
    shapes = [[[array.shape for array in row] for row in rows] for rows in (outputs, reference)]
    if shapes[0] != shapes[1]:
        return None, ("no fidelity: outputs have other shapes than those of the reference",)
    classifier = task == "classification" or (task == "unknown" and data.task in ("classification", "unknown"))
    return fidelity(outputs, reference, classifier=classifier, pictures=data.pictures), ()


def _stacked(outputs: Outputs) -> NDArray[np.generic]:
    firsts = [np.asarray(row[0]) for row in outputs]
    if len({array.shape for array in firsts}) > 1 or firsts[0].shape[:1] != (1,):
        raise StageError(f"an output of shape {firsts[0].shape} is no (1, classes)", stage="evaluate")
    return np.concatenate(firsts)


def _array(data: PreparedData, name: str) -> NDArray[np.generic]:
    with np.load(data.path, allow_pickle=False) as stored:
        return np.asarray(stored[name])


def _annotations(data: PreparedData) -> dict[str, Any]:
    assert data.annotations is not None
    found: dict[str, Any] = json.loads(data.annotations.read_text(encoding="utf-8"))
    return found
