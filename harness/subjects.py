"""Models made ready to be measured: exported to ONNX, with inputs and the fp32 reference outputs for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..models.cache import disk_errors
from ..models.compare import tolerance_for
from ..models.errors import MismatchError
from ..models.export import export
from ..models.inputs import make_inputs
from ..models.reference import check_probe, compute_reference
from ..models.spec import ExportedModel, ModelRequest, ModelSpec
from ..models.zoo import resolve
from ..reports.results import ModelFacts
from .suite import Suite

__all__ = ["Subject", "model_request", "prepare_subject", "resolve_models"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model at one batch size, ready for every backend."""

    name: str
    """What the suite calls it."""
    request: ModelRequest
    exported: ExportedModel
    io: Path
    """.npz with `input_{i}_{k}` and the reference `output_{i}_{k}`."""
    input_count: int
    reference: str
    """What computed the reference outputs."""
    tolerance: float
    notes: tuple[str, ...] = ()

    def facts(self, variant: str) -> ModelFacts:
        """What the report says of this model."""
        spec = self.request.spec
        return ModelFacts(
            model=self.name,
            variant=f"{self.name}@{variant}",
            family=spec.family,
            task=spec.task,
            source=spec.source,
            weights=self.request.weights if spec.source != "onnx" else "as in the file",
            weights_origin=spec.weights_origin if self.request.weights == "pretrained" else "",
            licence=spec.licence,
            light_alternative=spec.light_alternative,
            onnx_sha256=self.exported.sha256,
            onnx_bytes=self.exported.path.stat().st_size,
            inputs={
                tensor.name: f"{'x'.join(str(size) for size in tensor.shape)} {tensor.dtype}"
                for tensor in self.exported.inputs
            },
            provenance=dict(self.exported.provenance),
            notes=(*self.exported.notes, *self.notes),
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


def prepare_subject(name: str, request: ModelRequest, suite: Suite, cache: Path, scratch: Path) -> Subject:
    """Export the model that the suite calls *name*, make its inputs, and compute the reference outputs.

    What is in the cache is taken from there; the inputs and references go to one file in *scratch*. Raises UserError if
    the model or its weights are not to be had, CellError if the exporter fails or if the exported graph computes
    something else than its source.
    """
    exported = export(request, cache)
    probe = check_probe(exported, cache)
    if probe is not None and not probe.passed:
        raise MismatchError(
            f"the exported graph differs from its source by {probe.comparison.max_rel_error:.3g} of the largest value "
            f"(allowed: {probe.tolerance:.3g})",
            blame="exporter",
            stage="export",
        )
    images = Path(suite.measure.images) if suite.measure.images else None
    feeds = make_inputs(
        exported.inputs, exported.input, count=suite.measure.inputs, seed=suite.measure.seed, images=images
    )
    reference = compute_reference(exported, feeds, cache)
    io = scratch / f"io-{exported.sha256[:16]}.npz"
    arrays = {f"input_{index}_{place}": array for index, row in enumerate(feeds) for place, array in enumerate(row)}
    for index, row in enumerate(reference.outputs):
        arrays.update({f"output_{index}_{place}": array for place, array in enumerate(row)})
    with disk_errors(scratch):
        np.savez(io, allow_pickle=False, **arrays)
    return Subject(
        name=name,
        request=request,
        exported=exported,
        io=io,
        input_count=len(feeds),
        reference=reference.engine,
        tolerance=tolerance_for("fp32"),
        notes=reference.notes,
    )
