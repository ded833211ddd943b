"""`bakeoff diff`."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...models.variant_build import VariantRequest

__all__ = ["diff"]


@click.command()
@click.argument("reference", metavar="A")
@click.argument("variant", metavar="B")
@click.option("--data", metavar="NAME", help="Images to compare on; the model's own data, else random ones.")
@click.option("--images", type=click.IntRange(min=1), help="How many images; 500 of a data set, else 64.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many layers to show.")
@click.option(
    "--threshold", "threshold_db", type=float, default=20.0, show_default=True, help="Departed below this many dB."
)
@click.option(
    "--repair/--no-repair", default=True, help="Rebuild B with its worst layers in fp32 and say what that brings."
)
@click.option("--calibration-images", type=click.IntRange(min=1), default=64, show_default=True, help="To calibrate.")
@click.option("--weights", metavar="pretrained|random|FILE", help="Pretrained where they need no network, else random.")
@click.option("--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights and images.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def diff(
    reference: str,
    variant: str,
    *,
    images: int | None,
    top: int,
    threshold_db: float,
    repair: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Find the first layers where one variant departs from another.

    A is the reference, B the variant: MODEL@VARIANT (efficientnet_lite0@fp32, efficientnet_lite0@int8; without @VARIANT
    fp32 is meant) or ONNX files.
    """
    from rich.console import Console

    from ...models.cache import default_cache
    from ...models.errors import CellError, UserError
    from ...models.variant_diff import diff_variants
    from ...reports.diff_text import diff_advice, diff_data, diff_report

    requests = [_request(text, **how) for text in (reference, variant)]
    errors = Console(stderr=True)
    status = errors.status("preparing") if sys.stderr.isatty() else nullcontext()
    try:
        with status as shown:
            found = diff_variants(
                *requests,
                names=(reference, variant),
                images=images,
                cache=default_cache(),
                threshold_db=threshold_db,
                repair=repair,
                listener=shown.update if shown is not None else lambda _words: None,
            )
    except CellError as error:
        raise UserError(f"{reference} and {variant} cannot be compared: {error.reason}") from error
    if as_json:
        click.echo(json.dumps(diff_data(found), indent=2, allow_nan=False))
        return
    console = Console()
    console.print(diff_report(found, top))
    advice = diff_advice(found)
    if advice is not None:
        console.print(advice, soft_wrap=True)


def _request(
    text: str,
    *,
    data: str | None,
    calibration_images: int,
    weights: str | None,
    shapes: tuple[str, ...],
    seed: int,
) -> VariantRequest:
    """What MODEL@VARIANT or a file's name asks for."""
    from ...models.shapes import parse_shape
    from ...models.spec import ModelRequest
    from ...models.variant_build import VariantRequest
    from ...models.variants import parse_variant
    from ...models.zoo import resolve

    name, steps = text, ""
    if "@" in text and not text.lower().endswith(".onnx"):
        name, _, steps = text.rpartition("@")
    spec = resolve(name)
    model = ModelRequest(
        spec=spec,
        weights=weights or spec.default_weights,
        seed=seed,
        shapes=tuple(parse_shape(shape) for shape in shapes),
    )
    return VariantRequest(
        model=model,
        recipe=parse_variant(steps or "fp32"),
        data=data or spec.data,
        calibration_images=calibration_images,
    )
