"""`bakeoff explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...models.errors import UserError

if TYPE_CHECKING:
    from ...reports.profiles import BackendProfile, ProfileReport
    from ..profiling.cells import AskedCell

__all__ = ["explain"]


@click.command()
@click.argument("cell", metavar="CELL")
@click.option("--against", metavar="CELL", help="Say why CELL takes longer than this one.")
@click.option(
    "--profile",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Explain what `bakeoff profile --json` found, instead of profiling now.",
)
@click.option("--weights", metavar="pretrained|random|FILE", help="Weights of the models.")
@click.option("--data", metavar="NAME", help="Data to calibrate int8 on; see `bakeoff list data`.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input of an ONNX file."
)
@click.option("--time-limit", "time_limit_s", type=float, metavar="SECONDS", help="Longest sampling time of one cell.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many findings to show.")
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def explain(cell: str, *, against: str | None, file: Path | None, top: int, as_json: bool, **how: Any) -> None:
    """Say what holds a cell back, or why it is slower than another.

    CELL is MODEL@VARIANT/BACKEND (resnet50@int8/onnxruntime), and /tN for N threads where it is not one; then the same
    cell is profiled with one thread, too, to tell whether threads scale.
    """
    from rich.console import Console

    from ...reports.explain_text import explanation_report
    from ...reports.profiles import read_profile
    from ..profiling.against import compare, explain_cell
    from ..profiling.cells import parse_cell, suite_of, with_one_thread
    from .profile import profiled

    asked = [parse_cell(text) for text in (cell, against) if text is not None]
    report = read_profile(file) if file is not None else profiled(suite_of(with_one_thread(asked), how), together=True)
    profiles = [_find(report, wanted) for wanted in asked]
    found = explain_cell(report, profiles[0]) if against is None else compare(report, *profiles)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        Console().print(explanation_report(found, top))


def _find(report: ProfileReport, asked: AskedCell) -> BackendProfile:
    for profile in report.profiles:
        if asked.matches(profile.variant, profile.backend, profile.threads, profile.batch, profile.device):
            return profile
    for missing in report.not_profiled:
        if asked.matches(missing.variant, missing.backend, missing.threads, missing.batch, missing.device):
            raise UserError(f"{asked.text} has no profile: {missing.reason}")
    known = ", ".join(f"{profile.variant}/{profile.backend}/t{profile.threads}" for profile in report.profiles)
    raise UserError(f"{asked.text} is not in it; there are: {known or 'none'}")
