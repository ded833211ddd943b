"""`bakeoff schema`."""

from __future__ import annotations

import json

import click

__all__ = ["schema", "suite_schema"]


@click.command()
@click.argument("what", type=click.Choice(["profile", "run", "suite"]))
def schema(what: str) -> None:
    """Print the JSON Schema of a run, a suite or a profile.

    A run is what `show --json` prints, a suite a TOML file, a profile what `profile --json` prints.
    """
    if what == "profile":
        from ...reports.profiles import profile_schema

        click.echo(profile_schema(), nl=False)
    elif what == "run":
        from ...reports.schema import run_schema

        click.echo(run_schema(), nl=False)
    else:
        click.echo(suite_schema())


def suite_schema() -> str:
    """The JSON Schema of a suite file; it ships as `harness/schema/suite.schema.json`."""
    from ..suite import Suite

    return json.dumps(Suite.model_json_schema(), indent=2, sort_keys=True)
