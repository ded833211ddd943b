"""`bakeoff export`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click

__all__ = ["export"]


@click.command()
@click.argument("model", metavar="MODEL[@VARIANT]")
@click.option("--weights", metavar="pretrained|random|FILE", help="Pretrained where they need no network, else random.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Static batch size.")
@click.option("--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights.")
@click.option("--data", metavar="NAME", help="Data to calibrate and fine-tune on; see `bakeoff list data`.")
@click.option(
    "--calibration-images", type=click.IntRange(min=1), default=64, show_default=True, help="Images for static int8."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The ONNX file; MODEL.onnx by default.")
def export(
    *,
    model: str,
    weights: str | None,
    batch: int,
    shapes: tuple[str, ...],
    seed: int,
    data: str | None,
    calibration_images: int,
    out: Path | None,
) -> None:
    """Export a model to the ONNX file that every backend compiles.

    A variant of it as well: resnet50@int8, efficientnet_lite0@channel50+int8, ... The file is static, checked,
    simplified and stamped.
    """
    from ...models.cache import default_cache
    from ...models.errors import CellError, UserError
    from ...models.shapes import parse_shape
    from ...models.spec import ModelRequest
    from ...models.variant_build import VariantRequest, build_variant
    from ...models.variants import split_variant
    from ...models.zoo import resolve

    name, recipe = split_variant(model)
    spec = resolve(name)
    request = ModelRequest(
        spec=spec,
        weights=weights or spec.default_weights,
        batch=batch,
        seed=seed,
        shapes=tuple(parse_shape(text) for text in shapes),
    )
    own = None if request.weights == "random" else data or spec.data
    asked = VariantRequest(model=request, recipe=recipe, data=own, calibration_images=calibration_images)
    try:
        exported = build_variant(asked, default_cache(), settle=False).exported
    except CellError as error:
        raise UserError(f"{model}: {error.reason}") from error
    target = out or Path(f"{_file_name(spec.name if recipe.name == 'fp32' else f'{spec.name}@{recipe.name}')}.onnx")
    try:
        shutil.copyfile(exported.path, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); choose another place with --out") from error
    click.echo(f"wrote {target} (weights: {request.weights}, sha256 {exported.sha256})")
    for record in exported.records:
        changed = ", ".join(f"{what} {how}" for what, how in record.facts.items())
        click.echo(f"step {record.step}: {changed}")
    for note in [*exported.notes, *(note for record in exported.records for note in record.notes)]:
        click.echo(f"note: {note}")


def _file_name(text: str) -> str:
    return re.sub(r"[/:|=]", "_", text)
