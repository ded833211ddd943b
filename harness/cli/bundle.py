"""`bakeoff bundle` and `bakeoff import`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["bundle", "import_"]


@click.command()
@click.argument("run_id", default="latest", metavar="[RUN]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; RUN.bakeoff.zip by default.")
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def bundle(run_id: str, out: Path | None, store_url: str | None) -> None:
    """Write a run into one file, to move it to another machine."""
    from ..store import Store
    from ..store.bundle import export_bundle

    store = Store.open(store_url)
    found = store.load_run(run_id)
    scripts = {
        f"reproducers/{path.parent.name}/{path.name}": path
        for cell in found.cells
        if cell.reproducer and (path := Path(cell.reproducer)).exists()
    }
    target = out or Path(f"{found.id}.bakeoff.zip")
    export_bundle(found, target, scripts)
    click.echo(f"wrote {target}")


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def import_(file: Path, store_url: str | None) -> None:
    """Take in a run from a file that `bundle` wrote. The JSON of `bakeoff show --json` is taken too."""
    from ..store import Store
    from ..store.bundle import import_bundle

    found = import_bundle(file)
    store = Store.open(store_url)
    store.import_run(found)
    click.echo(f"imported run {found.id} of {found.target.name} ({len(found.cells)} cells)")
