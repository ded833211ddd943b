"""`bakeoff tune`: MODEL by itself stands for `bakeoff tune run MODEL`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ...models.errors import UserError

if TYPE_CHECKING:
    from ..suite import Suite

__all__ = ["parse_budget", "parse_target", "tune"]


class _Defaulting(click.Group):
    """A group whose command `run` needs not be named."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(context, args)

    def collect_usage_pieces(self, _context: click.Context) -> list[str]:
        return ["MODEL[@VARIANT]|SUITE.toml", "[OPTIONS]"]


@click.group(name="tune", cls=_Defaulting)
def tune() -> None:
    """Search for a model's fastest schedules, and keep them.

    `bakeoff tune resnet18 --budget 30m` tunes TVM's kernels for this CPU with MetaSchedule, the successor of TVM's
    auto-scheduler; from then on `bakeoff run` uses what was found. Its options: `bakeoff tune run --help`.
    """


@tune.command()
@click.argument("what", metavar="MODEL[@VARIANT][,MODEL...]|SUITE.toml|quick")
@click.option("--backend", default="tvm", show_default=True, help="The backend whose schedules are searched for.")
@click.option("--budget", metavar="TIME", help="Wall-clock time of the search: 90s, 30m, 1h30m.")
@click.option("--trials", type=int, metavar="N", help="Most candidates to try.")
@click.option("--threads", metavar="N", help="Threads to tune for, or `all`; 1, or the suite's, by default.")
@click.option(
    "--space",
    type=click.Choice(["bakeoff", "stock"]),
    default="bakeoff",
    show_default=True,
    help="bakeoff: register tiles and Winograd; stock: MetaSchedule's own, what a user of TVM gets.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
@click.option("--resume", is_flag=True, help="Spend what an interrupted command of the same words left of its budget.")
@click.option("--target", metavar="CPU|JSON", help="LLVM's name of a CPU (x86-64-v3, znver3, ...) or TVM's target.")
@click.option(
    "--database",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the records; by default one for each target in the artifact cache, which `bakeoff run` finds.",
)
@click.option("--weights", metavar="pretrained|random|FILE", help="Weights of the models.")
@click.option("--data", metavar="NAME", help="Data that a variant is calibrated and fine-tuned on.")
@click.option("--batch", metavar="N", help="Batch size; 1, or the suite's, by default.")
@click.option("--shape", "shapes", multiple=True, metavar="INPUT=1x3x224x224", help="Static shape for an input.")
@click.option("--check/--no-check", default=True, show_default=True, help="Time the net untuned and tuned at the end.")
def run(
    what: str,
    *,
    backend: str,
    budget: str | None,
    trials: int | None,
    space: Literal["bakeoff", "stock"],
    seed: int,
    resume: bool,
    target: str | None,
    database: Path | None,
    check: bool,
    **chosen: Any,
) -> None:
    """Tune MODEL, or every model of a suite; the default command of `bakeoff tune`.

    The budget is that of the whole command. Every finished trial is kept at once: after Ctrl-C or a crash nothing is
    lost, and the same command with --resume goes on where it stopped.
    """
    from rich.console import Console

    from ...models.cache import default_cache
    from ..tuning import TuneOrder, tune_suite
    from ..tuning_progress import rich_tuning
    from ..tuning_words import outcome_report

    order: dict[str, Any] = {
        "suite": _suite(what, chosen),
        "backend": backend,
        "seconds": None if budget is None else parse_budget(budget),
        "trials": trials,
        "space": space,
        "seed": seed,
        "resume": resume,
        "target": None if target is None else parse_target(target),
        "database": database,
        "check": check,
        "cache": default_cache(),
    }
    failed = interrupted = False
    with rich_tuning() as listener:
        for outcome in tune_suite(TuneOrder(**order, listener=listener)):
            Console().print(outcome_report(outcome))
            failed |= outcome.error is not None
            interrupted |= outcome.result is not None and outcome.result.interrupted
    if interrupted:
        click.echo("every finished trial is kept; go on with the same command and --resume", err=True)
        raise KeyboardInterrupt
    if failed:
        sys.exit(1)


@tune.command()
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file; .json.gz compresses it."
)
@click.option(
    "--database", metavar="NAME|DIR", help="Which one, as `bakeoff tune list` names it; needed if there are several."
)
@click.option(
    "--best", type=click.IntRange(min=1), default=1, show_default=True, help="Schedules to keep of each kernel."
)
def export(out: Path, database: str | None, best: int) -> None:
    """Write a database into one file: every trial, and the best schedules."""
    from ...backends.tvm.tuning.pack import read_folder, reduced, write_pack

    folder = _named(database)
    pack = reduced(read_folder(folder), best)
    try:
        write_pack(pack, out)
    except OSError as error:
        raise UserError(f"--out: {out}: cannot be written ({error.strerror}); choose another place") from error
    kept = sum(record is not None for record in pack.records)
    click.echo(f"wrote {out}: {kept} schedules of {len(pack.workloads)} kernels for {pack.meta.target_id}")


@tune.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
def import_(file: Path) -> None:
    """Take in records that `bakeoff tune export` wrote, and merge them into the database of their target."""
    import tempfile

    from ...backends.tvm.tuning.pack import read_pack, write_folder
    from ...backends.tvm.tuning.records import merge
    from ...backends.tvm.tuning.shelf import database_folder
    from ...models.cache import default_cache

    pack = read_pack(file)
    folder = database_folder(default_cache(), pack.meta)
    with tempfile.TemporaryDirectory(prefix="bakeoff-tune-") as scratch:
        unpacked = Path(scratch) / "records"
        write_folder(pack, unpacked)
        added = merge([unpacked], folder)
    click.echo(f"added {added:,} of {len(pack.trials):,} trials for {pack.meta.target_id} to {folder}")


@tune.command(name="list")
def list_() -> None:
    """The databases here: for which target they hold, and what is in them."""
    from ...backends.tvm.tuning.pack import read_folder, read_pack
    from ...backends.tvm.tuning.shelf import databases, shipped
    from ...models.cache import default_cache
    from ..tuning_words import database_table

    found = [("own", folder.name, read_folder(folder)) for folder in databases(default_cache())]
    found += [("shipped", file.name, read_pack(file)) for file in shipped()]
    for line in database_table(found):
        click.echo(line)


def parse_budget(text: str) -> float:
    """Seconds of a time such as 90s, 30m or 1h30m; raises UserError for anything else, and for none at all."""
    found = re.fullmatch(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", text.strip())
    parts = [int(part or 0) for part in found.groups()] if found and text.strip() else []
    if not parts:
        raise UserError(f"--budget: {text!r} is no time; write it as 90s, 30m or 1h30m")
    return float(3600 * parts[0] + 60 * parts[1] + parts[2])


def parse_target(text: str) -> dict[str, Any]:
    """TVM's target as a dict from its JSON, or from LLVM's name of a CPU; raises UserError for anything else."""
    if not text.lstrip().startswith("{"):
        if re.fullmatch(r"[A-Za-z0-9][\w.+-]*", text):
            return {"kind": "llvm", "mcpu": text}
        raise UserError(f"--target: {text!r} is neither a CPU's name, such as x86-64-v3, nor TVM's target as JSON")
    try:
        target = json.loads(text)
    except ValueError as error:
        raise UserError(f'--target: is no JSON ({error}); write it as {{"kind": "llvm", "mcpu": ...}}') from error
    if target.get("kind") != "llvm" or not isinstance(target.get("mcpu"), str):
        raise UserError('--target: only CPUs can be tuned for; write it as {"kind": "llvm", "mcpu": ...}')
    return dict(target)


def _suite(what: str, chosen: dict[str, Any]) -> Suite:
    """The suite that *what* names, or one of the models that it lists."""
    from ...models.variants import split_variant
    from ..override import override, split_names
    from ..suite import BUILT_IN, load_suite

    options = {name: (value,) if isinstance(value, str) else value for name, value in chosen.items() if value}
    options |= {name: chosen[name] for name in ("weights", "data") if chosen.get(name)}
    if what in BUILT_IN or what.endswith(".toml"):
        return override(load_suite(what), options)
    named = [split_variant(name) for name in split_names([what])]
    recipes = list(dict.fromkeys(recipe.name for _, recipe in named))
    if len(recipes) > 1:
        raise UserError(f"{what}: names several variants; tune them one after the other, or write a suite")
    asked = {
        "model": [name for name, _ in named],
        "variant": recipes,
        "backend": ("tvm",),
        "threads": ("1",),
        "batch": ("1",),
    }
    return override(load_suite("quick"), asked | options)


def _named(database: str | None) -> Path:
    """The database folder that *database* names; without a name, the only one there is."""
    from ...backends.tvm.tuning.shelf import databases
    from ...models.cache import default_cache

    found = {folder.name: folder for folder in databases(default_cache())}
    if database is None:
        if len(found) == 1:
            return next(iter(found.values()))
        known = ", ".join(found)
        raise UserError(
            f"--database: there are several; name one of {known}"
            if found
            else "nothing was tuned yet; see `bakeoff tune`"
        )
    return found.get(database, Path(database))
