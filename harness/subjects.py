"""Variants made ready to be measured: their ONNX files, inputs, reference outputs, and images to be evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..models.cache import disk_errors, hash_mapping
from ..models.compare import compare, tolerance_beside, tolerance_for
from ..models.errors import MismatchError, UserError
from ..models.feeds import Array, feeds_of
from ..models.inputs import make_inputs
from ..models.reference import Reference, check_probe, compute_reference
from ..models.spec import ExportedModel, ModelRequest, ModelSpec
from ..models.variant_build import VariantBuild, VariantRequest, build_variant
from ..models.variants import parse_variant
from ..models.zoo import resolve
from ..reports.results import ModelFacts, StepFacts
from .evaluation import Evaluation, prepare_evaluation
from .suite import Suite

__all__ = ["Subject", "model_request", "prepare_subject", "resolve_models", "variant_request"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A variant at one batch size, ready for every backend."""

    name: str
    """What the suite calls the model."""
    request: VariantRequest
    build: VariantBuild
    io: Path
    """.npz with `input_{i}_{k}` and the reference `output_{i}_{k}`."""
    input_count: int
    reference: str
    """What computed the reference outputs."""
    tolerance: float
    evaluation: Evaluation | None
    """None: it is timed only."""
    notes: tuple[str, ...] = ()

    @property
    def exported(self) -> ExportedModel:
        """The variant's ONNX file."""
        return self.build.exported

    def facts(self) -> ModelFacts:
        """What the report says of this variant."""
        spec, weights = self.request.model.spec, self.request.model.weights
        exported = self.exported
        return ModelFacts(
            model=self.name,
            variant=f"{self.name}@{self.request.recipe.name}",
            family=spec.family,
            task=spec.task,
            source=spec.source,
            weights="random" if self.request.random else weights if spec.source != "onnx" else "as in the file",
            weights_origin=spec.weights_origin if weights == "pretrained" else "",
            licence=spec.licence,
            light_alternative=spec.light_alternative,
            onnx_sha256=exported.sha256,
            onnx_bytes=exported.path.stat().st_size,
            inputs={
                tensor.name: f"{'x'.join(str(size) for size in tensor.shape)} {tensor.dtype}"
                for tensor in exported.inputs
            },
            provenance=dict(exported.provenance),
            notes=(*exported.notes, *self.notes, *(self.evaluation.data.notes if self.evaluation else ())),
            steps=_steps(exported),
            parameters=exported.parameters,
            zero_share=exported.zeros / exported.parameters if exported.parameters else None,
        )


def resolve_models(suite: Suite) -> dict[str, ModelSpec]:
    """The spec of each model of *suite*, by the name that the suite uses. Raises UserError for the first unknown."""
    wanted = [*suite.matrix.models, *(pattern.model for pattern in suite.include if pattern.model)]
    return {name: resolve(name) for name in wanted}


def model_request(spec: ModelSpec, suite: Suite, name: str, batch: int) -> ModelRequest:
    """The request for model *name* of *suite* at *batch*."""
    settings = suite.models.get(name)
    weights = settings.weights if settings and settings.weights else spec.default_weights
    shapes = tuple(settings.shapes.items()) if settings else ()
    return ModelRequest(spec=spec, weights=weights, batch=batch, seed=suite.measure.seed, shapes=shapes)


def variant_request(spec: ModelSpec, suite: Suite, name: str, variant: str, batch: int) -> VariantRequest:
    """The request for *variant* of model *name* of *suite* at *batch*.

    Raises UserError where data is asked for a model whose weights are random.
    """
    settings = suite.models.get(name)
    model = model_request(spec, suite, name, batch)
    given = settings.data if settings else None
    if given is not None and model.weights == "random":
        raise UserError(
            f"{name}: --data {given} asks for accuracy, which random weights do not have; give --weights pretrained "
            "or a file, or leave the data out"
        )
    return VariantRequest(
        model=model,
        recipe=parse_variant(variant),
        data=None if model.weights == "random" else given or spec.data,
        calibration_images=suite.measure.calibration_images,
    )


def prepare_subject(name: str, request: VariantRequest, suite: Suite, cache: Path, scratch: Path) -> Subject:
    """Build the variant of the model that the suite calls *name*, make its inputs, and compute the reference outputs.

    What is in the cache is taken from there; the inputs and references go to one file in *scratch*. Raises UserError if
    the model, its weights or its data are not to be had, CellError if the exporter or a step fails, or if the exported
    graph computes something else than its source.
    """
    build = build_variant(request, cache)
    _check_export(build, cache)
    exported = build.exported
    evaluation = prepare_evaluation(request, build, suite.measure, cache)
    feeds = _feeds(request, exported, evaluation, suite)
    reference = compute_reference(build.plain, feeds, cache)
    io = (
        scratch
        / f"io-{hash_mapping({'model': name, 'variant': request.recipe.name, 'batch': request.model.batch})}.npz"
    )
    arrays = {f"input_{index}_{place}": array for index, row in enumerate(feeds) for place, array in enumerate(row)}
    for index, row in enumerate(reference.outputs):
        arrays.update({f"output_{index}_{place}": array for place, array in enumerate(row)})
    with disk_errors(scratch):
        np.savez(io, allow_pickle=False, **arrays)
    return Subject(
        name=name,
        request=request,
        build=build,
        io=io,
        input_count=len(feeds),
        reference=reference.engine,
        tolerance=_tolerance(build, request.recipe.precision, feeds, reference, cache),
        evaluation=evaluation,
        notes=reference.notes,
    )


def _feeds(
    request: VariantRequest, exported: ExportedModel, evaluation: Evaluation, suite: Suite
) -> list[tuple[Array, ...]]:
    """Inputs to time and to check with: of the suite's folder, else of the model's own data, else random images."""
    measure = suite.measure
    if measure.images is None and request.data is not None:
        batches = feeds_of(evaluation.data.path, exported.inputs[0].shape[0])
        return [feeds for _, feeds in islice(batches, measure.inputs)]
    images = Path(measure.images) if measure.images else None
    return make_inputs(exported.inputs, exported.input, count=measure.inputs, seed=measure.seed, images=images)


def _tolerance(
    build: VariantBuild, precision: str, feeds: Sequence[tuple[Array, ...]], reference: Reference, cache: Path
) -> float:
    """How far outputs may lie from *reference*; where that is the graph before rounding, the rounded one is asked."""
    if build.plain.sha256 == build.exported.sha256:
        return tolerance_for(precision)
    rounded = compute_reference(build.exported, feeds, cache)
    pairs = zip(rounded.outputs, reference.outputs, strict=True)
    worst = max((compare(ours, theirs) for ours, theirs in pairs), key=lambda found: found.max_rel_error)
    return tolerance_beside(precision, worst)


def _check_export(build: VariantBuild, cache: Path) -> None:
    """Compare what was exported with the module that it came from, before any step from ONNX to ONNX."""
    source = build.before or build.plain
    for exported in {model.sha256: model for model in (build.fp32, source)}.values():
        probe = check_probe(exported, cache)
        if probe is not None and not probe.passed:
            raise MismatchError(
                f"the exported graph differs from its source by {probe.comparison.max_rel_error:.3g} of the largest "
                f"value (allowed: {probe.tolerance:.3g})",
                blame="exporter",
                stage="export",
            )


def _steps(exported: ExportedModel) -> tuple[StepFacts, ...]:
    return tuple(
        StepFacts(
            step=record.step,
            parameters=dict(record.parameters),
            seed=record.seed,
            versions=dict(record.versions),
            input_sha256=record.input_sha256,
            output_sha256=record.output_sha256,
            facts=dict(record.facts),
            notes=record.notes,
        )
        for record in exported.records
    )
