"""`bakeoff report`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("run_ids", nargs=-1, metavar="[RUN...]")
@click.option(
    "--out", type=click.Path(path_type=Path), default="bakeoff-report", show_default=True, help="Report folder."
)
@click.option("--open", "open_it", is_flag=True, help="Open the report in the browser.")
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def report(run_ids: tuple[str, ...], out: Path, open_it: bool, store_url: str | None) -> None:
    """Write the HTML report of one or more runs. They may be imported ones; the latest run is the default."""
    from ...reports.write import write_report
    from ..store import Store

    store = Store.open(store_url)
    runs = [store.load_run(run_id) for run_id in run_ids or ("latest",)]
    written = write_report(runs, out)
    for path in written:
        click.echo(f"wrote {path}")
    if open_it:
        page = next(path for path in written if path.suffix == ".html")
        click.launch(page.resolve().as_uri())
