"""`bakeoff profile`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...models.errors import UserError

if TYPE_CHECKING:
    from ...reports.profiles import ProfileReport
    from ..suite import Suite

__all__ = ["profile", "profiled"]


def _list_option(name: str, words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes comma lists and repetition."""
    return click.option(f"--{name}", multiple=True, metavar="NAME[,NAME...]", help=words)


@click.command()
@click.argument("suite", required=False, metavar="[SUITE.toml]")
@_list_option("model", "Models: zoo names, timm:NAME, module:function, files.onnx.")
@_list_option("variant", "Variants, as `bakeoff list variants` has them; fp32, or the suite's, by default.")
@_list_option("backend", "Backends; `all`, every installed one, or the suite's, by default.")
@_list_option("threads", "Thread counts: numbers, or `all` for all cores; 1, or the suite's, by default.")
@_list_option("batch", "Batch sizes; 1, or the suite's, by default.")
@click.option("--weights", metavar="pretrained|random|FILE", help="Weights of the models.")
@click.option("--data", metavar="NAME", help="Data to calibrate int8 on; see `bakeoff list data`.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input of an ONNX file."
)
@click.option("--time-limit", "time_limit_s", type=float, metavar="SECONDS", help="Longest sampling time of one cell.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a page on it, and the JSON, into this folder.")
@click.option("--top", type=click.IntRange(min=1), default=15, show_default=True, help="How many layers to show.")
@click.option("--json", "as_json", is_flag=True, help="Everything, by the schema that `bakeoff schema profile` prints.")
@click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), help="Write one inference of each for Perfetto."
)
@click.option(
    "--stacks", type=click.Path(path_type=Path, dir_okay=False), help="Write collapsed stacks for flame graphs."
)
def profile(
    suite: str | None,
    *,
    out: Path | None,
    top: int,
    as_json: bool,
    trace: Path | None,
    stacks: Path | None,
    **chosen: Any,
) -> None:
    """Show where the time goes, layer by layer, in every backend.

    Each runtime's own profiler tells its rows; they are mapped to the nodes of the one ONNX file, on evidence, so that
    backends can be compared. This is a pass of its own: what `bakeoff run` times is never profiled.
    """
    from rich.console import Console

    from ...reports.profile_text import profile_report
    from ...reports.traces import chrome_trace, collapsed_stacks
    from ...reports.write import write_profile
    from .run import make_writable

    wanted = _suite(suite, chosen)
    if out is not None:
        make_writable(out)
    for file in (trace, stacks):
        _make_writable(file)
    report = profiled(wanted)
    written = [] if out is None else write_profile(report, out)
    if trace is not None:
        trace.write_text(json.dumps(chrome_trace(report)), encoding="utf-8")
    if stacks is not None:
        stacks.write_text(collapsed_stacks(report), encoding="utf-8")
    if as_json:
        click.echo(report.model_dump_json(indent=2))
    else:
        Console().print(profile_report(report, top))
        for file in (*written, *(file for file in (trace, stacks) if file is not None)):
            click.echo(f"wrote {file}")
    if report.failed:
        sys.exit(1)


def profiled(suite: Suite, *, together: bool = False) -> ProfileReport:
    """The cells of *suite*, profiled under a progress bar; *together* as in `ProfileOrder`."""
    from ...models.cache import default_cache
    from ..profiling.sitting import ProfileOrder, profile_suite
    from ..progress import rich_progress
    from .run import command_line

    with rich_progress() as listener:
        return profile_suite(
            ProfileOrder(
                suite=suite, command=command_line(), cache=default_cache(), listener=listener, together=together
            )
        )


def _suite(named: str | None, chosen: dict[str, Any]) -> Suite:
    """The cells that are asked for; without a suite, what the quick one knows of its models and backends holds, too."""
    from ..override import override
    from ..profiling.cells import without_judging
    from ..suite import load_suite

    if named is None and not chosen["model"]:
        raise UserError("name what to profile: --model resnet50, a file of yours, or a suite")
    if named is None:
        chosen = chosen | {"threads": chosen["threads"] or ("1",)}
    return without_judging(override(load_suite(named or "quick"), chosen))


def _make_writable(file: Path | None) -> None:
    """Find out before the measuring, not after it, that the file has no place."""
    if file is None:
        return
    try:
        file.touch()
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); choose another file") from error
