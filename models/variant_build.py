"""From a model and a recipe to the ONNX file of the variant, with all that was needed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .data import PreparedData, Split, prepare_data, trainable
from .errors import UnsupportedError, UserError
from .export import export
from .natural import natural_data
from .refactor import refactor
from .spec import PORTABLE, SCALES, ExportedModel, InputSpec, ModelRequest, ResizeRule
from .variants import Recipe, Step
from .zoo import resolve

__all__ = [
    "FILES",
    "SETTLING_IMAGES",
    "TRAINING_IMAGES",
    "VariantBuild",
    "VariantRequest",
    "build_variant",
    "evaluation_data",
    "is_portable",
    "module_requests",
    "scaled_twin",
]

_QUANTIZING = ("int8", "int8-dynamic", "int8-weights", "int4-weights")
_CALIBRATED = ("int8",)
_ROUNDING = ("fp16", "bf16")

FILES = ("onnx", "rapidocr")
"""Sources whose models are ONNX files."""

TRAINING_IMAGES = 4096
"""Most images to fine-tune on."""

SETTLING_IMAGES = 256
"""Most images to take the statistics of a pruned model's batch norms from."""


@dataclass(frozen=True, kw_only=True)
class VariantRequest:
    """A variant asked for."""

    model: ModelRequest
    """The model without any refactoring."""
    recipe: Recipe
    data: str | None = None
    """Data set to calibrate, fine-tune and evaluate on; None: seeded random images, and no fine-tuning."""
    calibration_images: int = 64

    @property
    def random(self) -> bool:
        """Whether weights are random, so that accuracy means nothing."""
        return "random" in {request.weights for request in module_requests(self)}


@dataclass(frozen=True, kw_only=True)
class VariantBuild:
    """A variant's ONNX file and what it has to be seen beside."""

    exported: ExportedModel
    fp32: ExportedModel
    """The model without any refactoring: what accuracy and fidelity are measured against."""
    plain: ExportedModel
    """What every backend's outputs are compared with before they are timed: the variant itself, for fp16 and bf16
    the graph before that step, since its rounding is what the tolerance is for."""
    quantizing: Step | None = None
    before: ExportedModel | None = None
    """The graph before the quantizing step."""
    float_model: ExportedModel | None = None
    """What a runtime with a quantizer of its own starts from: that graph, for static int8 with settled weights (see
    `steps.settled`)."""
    calibration: PreparedData | None = None


def module_requests(request: VariantRequest) -> tuple[ModelRequest, ModelRequest]:
    """What has to be exported: the model as it is, and the one that the recipe's first steps ask for (maybe the same).

    Raises `UnsupportedError` where the zoo has no lighter alternative.
    """
    base, recipe = request.model, request.recipe
    own = base
    if recipe.light:
        light = base.spec.light_alternative
        if light is None:
            raise UnsupportedError(f"the zoo has no lighter alternative for {base.spec.name}", stage="refactor")
        spec = resolve(light)
        own = replace(base, spec=spec, weights=spec.default_weights)
    # An ONNX file is pruned as a graph.
    pruning = () if own.spec.source in FILES else tuple(step.text for step in recipe.pruning)
    return base, replace(own, pruning=pruning, simplify=not recipe.raw)


def build_variant(request: VariantRequest, cache: Path, *, settle: bool = True) -> VariantBuild:
    """Export, prune and refactor as the recipe says; what is in *cache* is taken from there.

    Without *settle*, for callers that want the ONNX file alone, the weights of `float_model` are left as they are.
    Raises `UserError` and its kin for what a person can mend, `CellError` and its kin where a step does not apply or
    fails.
    """
    base, own = module_requests(request)
    fp32 = export(base, cache)
    if own.pruning:
        training = _training(request, own, fp32, cache)
        own = replace(own, training=training, settling=_settling(request, own, fp32, training, cache))
    current = fp32 if own == base else export(own, cache)
    steps = request.recipe.graph
    if own.spec.source in FILES:
        steps = (*request.recipe.pruning, *steps)
    quantizing = next((step for step in steps if step.kind in _QUANTIZING), None)
    rounding = next((step for step in steps if step.kind in _ROUNDING), None)
    before = _refactor([step for step in steps if step not in (quantizing, rounding)], current, None, request, cache)
    if quantizing is None and rounding is None:
        return VariantBuild(exported=before, fp32=fp32, plain=before)
    if quantizing is None:
        exported = _refactor([step for step in (rounding,) if step], before, None, request, cache)
        return VariantBuild(exported=exported, fp32=fp32, plain=before)
    calibration = None
    if quantizing.kind in _CALIBRATED:
        calibration = _images(request, own, before, split="calibration", count=request.calibration_images, cache=cache)
    exported = _refactor([quantizing], before, calibration, request, cache)
    settled = [_settled(quantizing)] if quantizing.kind in _CALIBRATED and settle else []
    return VariantBuild(
        exported=exported,
        fp32=fp32,
        plain=exported,
        quantizing=quantizing,
        before=before,
        float_model=_refactor(settled, before, calibration, request, cache),
        calibration=calibration,
    )


def evaluation_data(request: VariantRequest, build: VariantBuild, count: int, cache: Path) -> PreparedData:
    """Images to evaluate *build* on: of the request's data set, else seeded random ones.

    For a lighter model in the place of the one asked for, the same images as that one's, as the lighter one takes them.
    """
    _, own = module_requests(request)
    return _images(request, own, build.exported, split="evaluation", count=count, cache=cache)


def is_portable(build: VariantBuild) -> bool:
    """Whether the values inside *build*'s graph are multiplied by factors of their own (see `steps.portable`)."""
    return any(record.parameters.get(SCALES) == PORTABLE for record in build.exported.records)


def scaled_twin(request: VariantRequest, build: VariantBuild, cache: Path) -> ExportedModel:
    """The graph before the quantizing step of *build*, with its values multiplied as those of *build* are.

    *build*, which *request* asked for, `is_portable`. Raises what `build_variant` raises.
    """
    if build.before is None or build.quantizing is None:
        raise ValueError(f"{build.exported.path}: nothing quantizes it")
    quantizing = build.quantizing
    step = Step(kind="scaled", text=f"scaled as for {quantizing.text}", parameters=quantizing.parameters)
    return _refactor([step], build.before, build.calibration, request, cache)


def _settled(step: Step) -> Step:
    """The step that settles the weights which the quantizing *step* rounds; no variant is spelled so."""
    return Step(kind="settled", text=f"settled for {step.text}", parameters={"keep": "|".join(step.keep)})


def _refactor(
    steps: Sequence[Step],
    model: ExportedModel,
    calibration: PreparedData | None,
    request: VariantRequest,
    cache: Path,
) -> ExportedModel:
    if not steps:
        return model
    return refactor(model, steps, calibration=calibration, seed=request.model.seed, cache=cache)


def _images(
    request: VariantRequest, own: ModelRequest, model: ExportedModel, *, split: Split, count: int, cache: Path
) -> PreparedData:
    seed = request.model.seed
    if request.data is None:
        return natural_data(model, split=split, count=count, seed=seed, cache=cache)
    return prepare_data(request.data, own.spec, _input_of(model), split=split, count=count, seed=seed, cache=cache)


def _training(request: VariantRequest, own: ModelRequest, fp32: ExportedModel, cache: Path) -> Path | None:
    """What to fine-tune on after pruning; None where there is nothing to learn from, or nothing learnt to restore."""
    if request.data is None or request.random or not trainable(request.data):
        return None
    return _images(request, own, fp32, split="training", count=TRAINING_IMAGES, cache=cache).path


def _settling(
    request: VariantRequest, own: ModelRequest, fp32: ExportedModel, training: Path | None, cache: Path
) -> Path | None:
    """What batch norms are settled on where a pruning step is not fine-tuned; random images would mislead them."""
    tuned = training is not None and all(step.parameters.get("ft") != "0" for step in request.recipe.pruning)
    if tuned or request.data is None or request.random:
        return None
    return _images(request, own, fp32, split="calibration", count=SETTLING_IMAGES, cache=cache).path


def _input_of(model: ExportedModel) -> InputSpec:
    """What the model expects of an image; of an ONNX file that says nothing, its size with ImageNet's statistics."""
    if model.input is not None:
        return model.input
    shape = model.inputs[0].shape
    if len(model.inputs) > 1 or len(shape) != 4 or shape[1] not in (1, 3):
        raise UserError(f"{model.path.name}: takes no images (N x 1 or 3 x H x W); leave --data out for it")
    _, channels, height, width = shape
    shorter = min(height, width)
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        resize=ResizeRule(resize=round(shorter * 256 / 224), crop=shorter),
        mean=InputSpec.mean if channels == 3 else (0.45,),
        std=InputSpec.std if channels == 3 else (0.226,),
    )
