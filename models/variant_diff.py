"""Two variants, or two ONNX files, held against each other: built, walked through, and the second one mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .data import PreparedData
from .errors import UserError
from .mend import Mend, mend
from .spec import ExportedModel
from .steps.layers import HEAVY
from .variant_build import (
    VariantBuild,
    VariantRequest,
    build_variant,
    evaluation_data,
    is_portable,
    module_requests,
    scaled_twin,
)
from .variants import Recipe, parse_variant
from .walk import THRESHOLD_DB, Walk, walk

__all__ = ["DATA_IMAGES", "MENDABLE", "RANDOM_IMAGES", "VariantDiff", "diff_variants", "keep_in"]

MENDABLE = ("int8", "int8-dynamic", "int8-weights", "int4-weights", "fp16")
"""Steps that can leave layers in fp32."""

DATA_IMAGES = 500
RANDOM_IMAGES = 64

_UNRELATED = "{} and {} are different models: only their outputs can be held against each other"

_SCALED = (
    "{} multiplies the values inside the graph by factors of its own, so only outputs are compared; layer by layer it "
    "can be held against the variant that it was made from"
)

Listener = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class VariantDiff:
    """Where the second variant departs from the first, and what would help."""

    reference: str
    """As asked for: "efficientnet_lite0@fp32", or the name of a file."""
    variant: str
    data: PreparedData
    found: Walk
    threshold_db: float
    random_weights: bool
    notes: tuple[str, ...] = ()
    mended: Mend | None = None
    suggestion: str | None = None
    """The mended variant, spelled as --variant takes it."""


def diff_variants(
    reference: VariantRequest,
    variant: VariantRequest,
    *,
    names: tuple[str, str],
    images: int | None,
    cache: Path,
    threshold_db: float = THRESHOLD_DB,
    repair: bool = True,
    listener: Listener = lambda _words: None,
) -> VariantDiff:
    """Build both, walk through them on *images* images of the first one's data, and try to mend the second.

    None: `DATA_IMAGES` of a data set, where agreement is to be told in parts of a hundred, `RANDOM_IMAGES` random ones.
    *names* is what a person calls them; *listener* is told what is going on. Mending is tried where the second
    variant quantizes, and its outputs lie below *threshold_db* or choose other classes. Raises `UserError` where the
    two do not take the same inputs or the second one's values are not finite (the layer is named), and what
    `build_variant` and `walk` raise.
    """
    listener(f"building {names[0]}")
    before = build_variant(reference, cache, settle=False)
    listener(f"building {names[1]}")
    after = build_variant(variant, cache, settle=False)
    _check_inputs(names, before.exported, after.exported)
    usual = DATA_IMAGES if reference.data is not None else RANDOM_IMAGES
    data = evaluation_data(reference, before, images or usual, cache)
    listener(f"walking through both on {data.count} images")
    models = [module_requests(request)[1].spec for request in (reference, variant)]
    # A file has no other name than its own, so for files only the graphs can tell.
    related = models[0].name == models[1].name or "onnx" in {model.source for model in models}
    reference_path, by_layer = _counterpart(before, after, variant, cache)
    found = walk(reference_path, after.exported.path, data.path, cache=cache, layers=related and by_layer)
    _check_finite(names[1], found)
    diff = VariantDiff(
        reference=names[0],
        variant=names[1],
        data=data,
        found=found,
        threshold_db=threshold_db,
        random_weights=reference.random or variant.random,
        notes=(
            *(_notes(before, after, found) if related else [_UNRELATED.format(*(model.name for model in models))]),
            *([] if by_layer else [_SCALED.format(names[is_portable(after)])]),
        ),
    )
    if not repair or not by_layer or not _mendable(variant.recipe) or not _ailing(found, threshold_db):
        return diff

    def rebuild(keep: tuple[str, ...]) -> Walk:
        recipe = keep_in(variant.recipe, keep)
        listener(f"trying {recipe.name}")
        asked = replace(variant, recipe=recipe)
        built = build_variant(asked, cache, settle=False)
        return walk(_counterpart(before, built, asked, cache)[0], built.exported.path, data.path, cache=cache)

    mended = mend(found, rebuild, kinds=None if variant.recipe.steps[-1].kind == "fp16" else HEAVY)
    suggestion = keep_in(variant.recipe, mended.keep).name if mended else None
    return replace(diff, mended=mended, suggestion=suggestion)


def _counterpart(before: VariantBuild, after: VariantBuild, request: VariantRequest, cache: Path) -> tuple[Path, bool]:
    """What to hold *after*, built as *request* asks, against in place of *before*, and whether layer by layer.

    Where int8 multiplies the values of a graph, only the graph that it started from can be multiplied alike.
    """
    if not is_portable(after):
        return before.exported.path, not is_portable(before)
    if after.before is None or after.before.sha256 != before.exported.sha256:
        return before.exported.path, False
    return scaled_twin(request, after, cache).path, True


def keep_in(recipe: Recipe, names: tuple[str, ...]) -> Recipe:
    """*recipe* with the nodes *names*, besides those it keeps already, left in fp32 by its last step."""
    words = [step.text for step in recipe.steps]
    last = recipe.steps[-1]
    settings = [part for part in last.text.split(":")[1:] if not part.startswith("keep=")]
    kept = "|".join(sorted({*last.keep, *names}))
    words[-1] = ":".join([last.kind, *settings, f"keep={kept}"])
    return parse_variant("+".join(words))


def _mendable(recipe: Recipe) -> bool:
    return bool(recipe.steps) and recipe.steps[-1].kind in MENDABLE


def _ailing(found: Walk, threshold_db: float) -> bool:
    ratio, agreement = found.output_snr_db, found.top1_agreement
    return (ratio is not None and ratio < threshold_db) or (agreement is not None and agreement < 1.0)


def _check_inputs(names: tuple[str, str], left: ExportedModel, right: ExportedModel) -> None:
    ours, theirs = ([(tensor.shape, tensor.dtype) for tensor in model.inputs] for model in (left, right))
    if ours != theirs:
        words = [
            " and ".join(f"{'x'.join(map(str, tensor.shape))} {tensor.dtype}" for tensor in model.inputs)
            for model in (left, right)
        ]
        raise UserError(
            f"{names[0]} takes {words[0]}, {names[1]} takes {words[1]}: diff needs two models with the same inputs"
        )


def _check_finite(name: str, found: Walk) -> None:
    broken = next((row for row in found.layers if row.broken), None)
    if broken is not None:
        where = f"from {broken.node!r} ({broken.op}) on" if broken.node else "from its input on"
        raise UserError(
            f"{name}: holds NaN or infinite values {where} (value {broken.variant_value!r}); "
            "keep this layer in fp32 or calibrate it on other data"
        )
    output = next((output for output in found.outputs if output.broken), None)
    if output is not None:
        raise UserError(f"{name}: its output {output.name!r} holds NaN or infinite values; it cannot be compared")


def _notes(before: VariantBuild, after: VariantBuild, found: Walk) -> list[str]:
    notes = [note for build in (before, after) for note in build.exported.notes]
    if found.reshaped:
        notes.append(
            f"{len(found.reshaped)} layers have another shape in the variant, from {found.reshaped[0]!r} on: "
            "their values cannot be compared, only what has the same shape in both"
        )
    return list(dict.fromkeys(notes))
