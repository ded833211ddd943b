"""`bakeoff bundle` and `bakeoff import`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...reports.results import Run

__all__ = ["bundle", "carried_files", "import_"]


@click.command()
@click.argument("run_id", default="latest", metavar="[RUN]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file; RUN.bakeoff.zip by default.")
@click.option(
    "--store", "store_url", metavar="FILE|URL", help="Where results are kept; the user's data folder by default."
)
def bundle(run_id: str, out: Path | None, store_url: str | None) -> None:
    """Write a run into one file, to move it to another machine."""
    from ..folders import data_folder
    from ..store import Store
    from ..store.bundle import export_bundle

    store = Store.open(store_url)
    found = store.load_run(run_id)
    # The paths in an imported run are somebody else's words: only what lies where our own scripts lie is taken.
    home = (data_folder() / "reproducers" / found.id).resolve()
    named = [Path(cell.reproducer).resolve() for cell in found.cells if cell.reproducer]
    folders = [script.parent for script in named if script.is_relative_to(home) and script.parent.is_dir()]
    scripts = {f"{_name(path.parent)}/{path.name}": path for path in carried_files(folders)}
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
    from ..folders import data_folder
    from ..store import Store
    from ..store.bundle import extract_files, import_bundle

    found = import_bundle(file)
    home = data_folder() / "reproducers" / found.id
    found = _with_scripts(found, home, extract_files(file, home))
    store = Store.open(store_url)
    taken = store.import_run(found)
    words = "imported run" if taken else "already there: run"
    click.echo(f"{words} {found.id} of {found.target.name} ({len(found.cells)} cells)")


def carried_files(folders: Iterable[Path]) -> Iterator[Path]:
    """The files of *folders*; those of a folder that a bundle has no room for stay where they are, and that is said."""
    from ..store.bundle import MAX_FILE_BYTES, MAX_SCRIPT_BYTES

    room = MAX_SCRIPT_BYTES
    for folder in folders:
        sizes = {path: path.stat().st_size for path in sorted(folder.iterdir())}
        taken = sum(sizes.values())
        if taken > room or max(sizes.values(), default=0) > MAX_FILE_BYTES:
            click.echo(f"left out, too large for a bundle ({taken / 2**20:.0f} MB): {folder}", err=True)
            continue
        room -= taken
        yield from sizes


def _name(folder: Path) -> str:
    """What the *folder* of a script is called in a bundle, where fewer characters are allowed."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", folder.name)


def _with_scripts(run: Run, home: Path, extracted: Collection[Path]) -> Run:
    """*run* with the places that its scripts have here; a cell whose script did not come along names none."""
    cells = []
    for cell in run.cells:
        script = home / _name(Path(cell.reproducer).parent) / "reproduce.py" if cell.reproducer else None
        here = str(script) if script in extracted else None
        cells.append(cell.model_copy(update={"reproducer": here}))
    return run.model_copy(update={"cells": tuple(cells)})
