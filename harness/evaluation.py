"""Accuracy and fidelity of a cell, measured in the very session that was timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..models.data import PreparedData
from ..models.feeds import Array, Outputs, feeds_of, split_images
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
    """False where the reference is another architecture: then only its accuracy and its classes can be compared."""
    outputs: int = 1
    limit_s: float = 20.0


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
        outputs=len(build.exported.outputs),
        limit_s=measure.evaluation_limit_s,
    )


def judge_outputs(evaluation: Evaluation, outputs: Outputs) -> tuple[Accuracy | None, Fidelity | None]:
    """Accuracy and fidelity of *outputs*, those of the first images of the evaluation's data.

    Raises StageError where they are not finite.
    """
    raise NotImplementedError


def _compute(model: ExportedModel, data: PreparedData, cache: Path) -> tuple[Outputs, str]:
    """Outputs of *model* for every image of *data*, by the plain engine; cached."""
    batch = model.inputs[0].shape[0] if model.inputs[0].shape else 1
    calls = list(feeds_of(data.path, batch))
    found = compute_reference(model, [feeds for _, feeds in calls], cache)
    images: list[tuple[Array, ...]] = []
    for (count, _), outputs in zip(calls, found.outputs, strict=True):
        images += split_images(outputs, count, batch)
    return tuple(images), found.engine
