"""Accuracy and fidelity of a cell, measured in the very session that was timed."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..models.data import PreparedData
from ..models.errors import StageError
from ..models.feeds import Array, Outputs, feeds_of, split_images
from ..models.metrics import evaluation as metrics
from ..models.metrics.fidelity import FidelityResult
from ..models.metrics.scores import Score
from ..models.reference import compute_reference
from ..models.spec import ExportedModel, Task
from ..models.variant_build import VariantBuild, VariantRequest, evaluation_data
from ..models.variants import parse_variant
from ..reports.results import Accuracy, Fidelity
from .suite import Measure

__all__ = ["Evaluation", "judge_outputs", "prepare_evaluation"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a cell's outputs are judged by."""

    data: PreparedData
    task: Task
    random_weights: bool
    """True: there is no accuracy to speak of, only fidelity."""
    reference: Outputs
    """Outputs of the model's fp32 graph for the same images."""
    reference_name: str
    """What computed them."""
    simulated: Outputs | None
    """Outputs of the quantized graph computed in float; None for a variant that is not quantized."""
    comparable: bool = True
    """False where the reference is another architecture, whose outputs are not this one's: accuracy only."""
    names: tuple[str, ...] = ()
    """Of the graph's outputs."""
    limit_s: float = 20.0
    _standards: dict[int, _Standard] = field(init=False, repr=False, compare=False, default_factory=dict)

    def standard(self, count: int) -> _Standard:
        """What outputs for the first *count* images are held against: judged once for all cells, not for each again.

        Raises StageError where the reference's outputs or the simulation's cannot be judged.
        """
        if count not in self._standards:
            reference = self.reference[:count]
            judged = None if self.random_weights else metrics.judge(reference, self.data, self.names)
            simulated = None if self.simulated is None else _evaluate(self, self.simulated[:count], judged)
            self._standards[count] = _Standard(judged=judged, simulated=simulated)
        return self._standards[count]


@dataclass(frozen=True, kw_only=True)
class _Standard:
    judged: metrics.Judged | None
    """The reference's own score; None without answers or with random weights."""
    simulated: metrics.Evaluation | None
    """None for a variant that is not quantized."""


def prepare_evaluation(request: VariantRequest, build: VariantBuild, measure: Measure, cache: Path) -> Evaluation:
    """Prepare the images for *build* and compute what its outputs will be compared with.

    Raises UserError for data that is not to be had, StageError where a reference cannot be computed.
    """
    count = measure.evaluation_images if request.data is not None else measure.random_images
    data = evaluation_data(request, build, count, cache)
    fp32 = VariantRequest(model=request.model, recipe=parse_variant("fp32"), data=request.data)
    own = evaluation_data(fp32, VariantBuild(exported=build.fp32, fp32=build.fp32, plain=build.fp32), count, cache)
    reference, engine = _compute(build.fp32, own, cache)
    simulated = _compute(build.exported, data, cache)[0] if build.quantizing is not None else None
    return Evaluation(
        data=data,
        task=request.model.spec.task,
        random_weights=request.random,
        reference=reference,
        reference_name=f"fp32 on {engine}",
        simulated=simulated,
        comparable=not request.recipe.light,
        names=tuple(tensor.name for tensor in build.exported.outputs),
        limit_s=measure.evaluation_limit_s,
    )


def judge_outputs(
    evaluation: Evaluation, outputs: Outputs, *, own_graph: bool = False
) -> tuple[Accuracy | None, Fidelity | None]:
    """Accuracy and fidelity of *outputs*, those of the first images of the evaluation's data.

    *own_graph*: the runtime quantized by itself, so that what the ONNX file does in float says nothing of it. Raises
    StageError where outputs hold NaN.
    """
    _refuse_nan(outputs)
    standard = evaluation.standard(len(outputs))
    found = _evaluate(evaluation, outputs, standard.judged)
    simulated = None if own_graph else standard.simulated
    return _accuracy(evaluation, found, simulated), _fidelity(evaluation, found, simulated)


def _refuse_nan(outputs: Outputs) -> None:
    for index, row in enumerate(outputs):
        if any(np.issubdtype(array.dtype, np.inexact) and np.isnan(array).any() for array in row):
            reason = f"its outputs are NaN for image {index} of the evaluation"
            raise StageError(reason, blame="unknown", stage="evaluate")


def _evaluate(evaluation: Evaluation, outputs: Outputs, judged: metrics.Judged | None) -> metrics.Evaluation:
    return metrics.evaluate(
        evaluation.task,
        outputs,
        evaluation.data,
        evaluation.reference[: len(outputs)],
        names=evaluation.names,
        random_weights=evaluation.random_weights,
        judged=judged,
    )


def _accuracy(
    evaluation: Evaluation, found: metrics.Evaluation, simulated: metrics.Evaluation | None
) -> Accuracy | None:
    score, paired = found.score, found.paired
    if score is None:
        return None
    return Accuracy(
        **_shared(score, Accuracy),
        simulated=simulated.score.value if simulated and simulated.score else None,
        vs_fp32=paired.difference if paired else None,
        vs_fp32_low=paired.low if paired else None,
        mcnemar_p=paired.mcnemar_p if paired else None,
        data=evaluation.data.name,
        data_sha256=evaluation.data.sha256,
    )


def _fidelity(
    evaluation: Evaluation, found: metrics.Evaluation, simulated: metrics.Evaluation | None
) -> Fidelity | None:
    close = found.fidelity
    if close is None or not evaluation.comparable:
        return None
    return Fidelity(
        **_shared(close, Fidelity),
        top1_agreement_simulated=simulated.fidelity.top1_agreement if simulated and simulated.fidelity else None,
        data=evaluation.data.name,
        reference=evaluation.reference_name,
    )


def _shared(found: Score | FidelityResult, result: type[Accuracy | Fidelity]) -> dict[str, Any]:
    """What a metric found, as far as *result* has fields of the same name."""
    names = [part.name for part in fields(found) if part.name in result.model_fields]
    return {name: getattr(found, name) for name in names}


def _compute(model: ExportedModel, data: PreparedData, cache: Path) -> tuple[Outputs, str]:
    """Outputs of *model* for every image of *data*, by the plain engine; cached."""
    batch = model.inputs[0].shape[0] if model.inputs[0].shape else 1
    calls = list(feeds_of(data.path, batch))
    found = compute_reference(model, [feeds for _, feeds in calls], cache)
    images: list[tuple[Array, ...]] = []
    for (count, _), outputs in zip(calls, found.outputs, strict=True):
        images += split_images(outputs, count, batch)
    return tuple(images), found.engine
