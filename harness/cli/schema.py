"""`bakeoff schema`."""

from __future__ import annotations

import json

import click

__all__ = ["schema"]


@click.command()
@click.argument("what", type=click.Choice(["run", "suite"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a run (as `show --json` prints it) or of a suite file."""
    if what == "run":
        from ...reports.results import Run

        content = Run.model_json_schema()
    else:
        from ..suite import Suite

        content = Suite.model_json_schema()
    click.echo(json.dumps(content, indent=2, sort_keys=True))
