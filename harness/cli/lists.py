"""`bakeoff list`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

__all__ = ["list_"]


@click.group(name="list")
def list_() -> None:
    """List models, backends, variants, data, scenarios, suites or runs."""


@list_.command()
def models() -> None:
    """The models of the zoo, where their weights come from, and the lighter model to try instead."""
    from ...models import zoo

    rows = []
    for name in zoo.names():
        spec = zoo.resolve(name)
        size = f"{spec.input.height}x{spec.input.width}" if spec.input else ""
        rows.append((name, spec.family, size, spec.default_weights, spec.licence, spec.light_alternative or ""))
    _table(("model", "family", "input", "weights by default", "licence", "light alternative"), rows)
    click.echo("\nAlso: timm:NAME, package.module:function (your torch module), and the path of an .onnx file.")


@list_.command()
def backends() -> None:
    """The registered backends and how to install them; `bakeoff doctor` says which of them run here."""
    from ...backends import registry

    rows = []
    for name in registry.names():
        backend = registry.get(name)
        rows.append((name, backend.role, registry.install_command(backend)))
    _table(("backend", "role", "install"), rows)


@list_.command()
def variants() -> None:
    """The steps that variants are made of."""
    from ...models.variants import CATALOGUE

    _table(("step", "what it does"), CATALOGUE.items())
    click.echo("\nSteps are joined by +, in this order: channel50+int8. `bakeoff diff` names layers for keep=.")


@list_.command()
def data() -> None:
    """The data sets that accuracy can be measured on."""
    from ...models.data import known_data

    _table(("data", "what it is"), known_data().items())


@list_.command()
def scenarios() -> None:
    """How load can be offered."""
    from ..vocabulary import SCENARIOS

    _table(("scenario", "what it is"), SCENARIOS.items())


@list_.command()
def suites() -> None:
    """The built-in suites."""
    from ..suite import BUILT_IN, load_suite

    _table(("suite", "what it is"), [(name, load_suite(name).description) for name in BUILT_IN])


@list_.command()
def runs() -> None:
    """The runs in the store, newest first."""
    from ..store import Store

    store = Store.open()
    rows = [
        (
            entry.id,
            f"{entry.created_at:%Y-%m-%d %H:%M}",
            entry.suite,
            entry.status,
            str(entry.cells),
            entry.target_id,
        )
        for entry in store.list_runs()
    ]
    if not rows:
        click.echo("no runs yet; `bakeoff run` makes one")
        return
    _table(("run", "created (UTC)", "suite", "status", "cells", "target"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns padded to their widest entry; Rich would cost more time than everything else here."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
