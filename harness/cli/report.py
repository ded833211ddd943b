"""`bakeoff report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...models.errors import UserError

if TYPE_CHECKING:
    from ...reports.profiles import ProfileReport

__all__ = ["report"]


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN...]")
@click.option(
    "--out", type=click.Path(path_type=Path), default="bakeoff-report", show_default=True, help="Report folder."
)
@click.option(
    "--profile",
    "profile_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Show what `bakeoff profile --json` found, too.",
)
@click.option("--open", "open_it", is_flag=True, help="Open the report in the browser.")
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def report(
    run_ids: tuple[str, ...], out: Path, profile_files: tuple[Path, ...], open_it: bool, store_url: str | None
) -> None:
    """Write the HTML report of one or more runs. They may be imported ones; the latest run is the default."""
    from ...reports.write import write_report
    from ..store import Store

    store = Store.open(store_url)
    runs = [store.load_run(run_id) for run_id in run_ids or ("latest",)]
    written = write_report(runs, out, _profiles(profile_files, {run.target_id: run.target.name for run in runs}))
    for path in written:
        click.echo(f"wrote {path}")
    if open_it:
        page = next(path for path in written if path.suffix == ".html")
        click.launch(page.resolve().as_uri())


def _profiles(files: Sequence[Path], targets: Mapping[str, str]) -> list[ProfileReport]:
    """The profiles in *files*, each of one of *targets* (names by id)."""
    from ...reports.profiles import read_profile

    found = []
    for file in files:
        profile = read_profile(file)
        if profile.target_id not in targets:
            raise UserError(
                f"{file}: is a profile of target {profile.target_id!r}, the run is of {', '.join(map(repr, targets))}; "
                "profile on the machine that was measured"
            )
        found.append(profile)
    return found
