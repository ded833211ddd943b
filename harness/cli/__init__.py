"""The command line. Commands are imported when they are called, so that `--help` stays instant."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from ... import __version__
from ...models.errors import BakeoffError

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "bundle": ("bundle:bundle", "Write a run into one file, to move it to another machine."),
    "diff": (
        "diff:diff",
        "Find the first layers where one variant departs from another.",
    ),
    "doctor": ("doctor:doctor", "Say what can run here, and what to do about what cannot."),
    "explain": ("explain:explain", "Say what holds a cell back, or why it is slower than another."),
    "export": ("export:export", "Export a model to the ONNX file that every backend compiles."),
    "import": ("bundle:import_", "Take in a run from a file that `bundle` wrote."),
    "list": ("lists:list_", "List models, backends, variants, data, scenarios, suites or runs."),
    "profile": ("profile:profile", "Show where the time goes, layer by layer, in every backend."),
    "report": ("report:report", "Write the HTML report of one or more runs."),
    "run": ("run:run", "Measure a suite on this machine and write its report."),
    "schema": ("schema:schema", "Print the JSON Schema of a run, a suite or a profile."),
    "show": ("show:show", "Show a run in the terminal, or as JSON."),
    "target": ("target:target", "Describe this machine as a hardware target."),
    "tune": ("tune:tune", "Search for a model's fastest schedules, and keep them."),
}


class _LazyGroup(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __name__), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the short helps above; the commands themselves are not imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(context)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bakeoff")
def cli() -> None:
    """Which refactoring of your vision model, on which compiler backend, is fastest on this hardware?

    Plain `bakeoff run` measures the built-in quick suite on every installed backend and leaves an HTML report.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Exit codes: 0 done, 1 a cell failed (or nobody read the output to its end, as Click has it), 2 wrong use or input,
    130 interrupted.
    """
    try:
        code = cli.main(args=arguments, prog_name="bakeoff", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except BakeoffError as error:
        click.echo(f"bakeoff: {error}", err=True)
        code = 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("bakeoff: interrupted", err=True)
        code = 130
    sys.exit(code or 0)
