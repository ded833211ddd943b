"""`bakeoff export`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

__all__ = ["export"]


@click.command()
@click.argument("model")
@click.option("--weights", metavar="pretrained|random|FILE", help="Pretrained where they need no network, else random.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Static batch size.")
@click.option("--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The ONNX file; MODEL.onnx by default.")
def export(
    *, model: str, weights: str | None, batch: int, shapes: tuple[str, ...], seed: int, out: Path | None
) -> None:
    """Export a model to the ONNX file that every backend compiles. It is static, checked, simplified and stamped."""
    from ...models.cache import default_cache
    from ...models.errors import CellError, UserError
    from ...models.export import export as export_model
    from ...models.shapes import parse_shape
    from ...models.spec import ModelRequest
    from ...models.zoo import resolve

    spec = resolve(model)
    request = ModelRequest(
        spec=spec,
        weights=weights or spec.default_weights,
        batch=batch,
        seed=seed,
        shapes=tuple(parse_shape(text) for text in shapes),
    )
    try:
        exported = export_model(request, default_cache())
    except CellError as error:
        raise UserError(f"{model}: {error.reason}") from error
    target = out or Path(f"{spec.name.replace('/', '_').replace(':', '_')}.onnx")
    try:
        shutil.copyfile(exported.path, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); choose another place with --out") from error
    click.echo(f"wrote {target} (weights: {request.weights}, sha256 {exported.sha256})")
    for note in exported.notes:
        click.echo(f"note: {note}")
