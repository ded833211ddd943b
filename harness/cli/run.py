"""`bakeoff run`."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...models.errors import UserError

__all__ = ["command_line", "make_writable", "run"]


def _list_option(name: str, words: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes comma lists and repetition."""
    return click.option(f"--{name}", name.replace("-", "_"), multiple=True, metavar="NAME[,NAME...]", help=words)


@click.command()
@click.argument("suite", default="quick", metavar="[SUITE.toml]")
@_list_option("model", "Models instead of the suite's: zoo names, timm:NAME, module:function, files.onnx.")
@_list_option(
    "variant", "Variants instead of the suite's: fp32, int8, channel50+int8, ...; see `bakeoff list variants`."
)
@_list_option("backend", "Backends instead of the suite's; `all` for every installed one.")
@_list_option("scenario", "Scenarios instead of the suite's.")
@_list_option("threads", "Thread counts instead of the suite's: numbers, or `all` for all cores.")
@_list_option("batch", "Batch sizes instead of the suite's.")
@_list_option("device", "Devices instead of the suite's: cpu, cuda, gpu, npu, ...")
@click.option("--weights", metavar="pretrained|random|FILE", help="Weights of every model named by --model.")
@click.option(
    "--data", metavar="NAME", help="Data to evaluate and calibrate on: imagefolder:DIR, ...; see `bakeoff list data`."
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input of an ONNX file."
)
@click.option("--time-limit", "time_limit_s", type=float, metavar="SECONDS", help="Longest sampling time of one cell.")
@click.option("--target-interval", type=float, metavar="FRACTION", help="Stop when the median's interval is narrower.")
@click.option("--evaluation-images", type=int, metavar="N", help="Most images to evaluate each cell on.")
@click.option("--calibration-images", type=int, metavar="N", help="Images to calibrate int8 on.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of real images to take the inputs from.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="bakeoff-report", show_default=True, help="Report folder."
)
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
@click.option(
    "--profile", "profile_it", is_flag=True, help="Afterwards, profile its cells layer by layer for the report."
)
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of the same suite and options.")
def run(suite: str, *, out: Path, store_url: str | None, profile_it: bool, resume: bool, **chosen: Any) -> None:
    """Measure a suite on this machine and write its report.

    Without arguments it takes the built-in quick suite. Each finished cell is kept at once: after an interruption,
    the same command with --resume goes on where it stopped.
    """
    from rich.console import Console

    from ...models.cache import default_cache
    from ...reports.terminal import run_report
    from ...reports.write import write_report
    from ..folders import data_folder
    from ..launch import Launch, launch
    from ..override import override
    from ..profiling.cells import without_judging
    from ..progress import rich_progress
    from ..store import Store
    from ..suite import load_suite
    from .profile import profiled

    wanted = override(load_suite(suite), chosen)
    make_writable(out)
    command = command_line()
    try:
        with rich_progress() as listener:
            result = launch(
                Launch(
                    suite=wanted,
                    command=command,
                    store=Store.open(store_url),
                    cache=default_cache(),
                    reproducers=data_folder() / "reproducers",
                    listener=listener,
                    resume=resume,
                )
            )
    except KeyboardInterrupt:
        click.echo(f"what was finished is kept; go on with: {command} --resume", err=True)
        raise
    written = write_report([result], out)
    Console().print(run_report(result))
    failed = any(cell.status in ("failed", "mismatch") for cell in result.cells)
    if profile_it:
        profile = profiled(without_judging(wanted))
        written = write_report([result], out, [profile])
        failed = failed or profile.failed
    for path in written:
        click.echo(f"wrote {path}")
    if failed:
        sys.exit(1)


def command_line() -> str:
    """The command line that reproduces this one; whether it was resumed does not matter."""
    return shlex.join(["bakeoff", *(word for word in sys.argv[1:] if word != "--resume")])


def make_writable(folder: Path) -> None:
    """Find out before the measuring, not after it, that the report has no place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"--out: {folder}: cannot be written ({error.strerror}); choose another folder") from error
