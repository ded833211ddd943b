"""`bakeoff show`."""

from __future__ import annotations

import click

__all__ = ["show"]


@click.command()
@click.argument("run_id", default="latest", metavar="[RUN]")
@click.option("--json", "as_json", is_flag=True, help="The whole run, by the schema that `bakeoff schema run` prints.")
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def show(run_id: str, as_json: bool, store_url: str | None) -> None:
    """Show a run in the terminal, or as JSON. RUN is an id, its beginning, or `latest`."""
    from ..store import Store

    store = Store.open(store_url)
    found = store.load_run(run_id)
    if as_json:
        click.echo(found.model_dump_json(indent=2))
        return
    from rich.console import Console

    from ...reports.terminal import run_report

    Console().print(run_report(found))
