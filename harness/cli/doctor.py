"""`bakeoff doctor`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..advisers import Advisers

__all__ = ["doctor"]

COMPILERS = ("g++", "c++", "clang++")


@click.command()
def doctor() -> None:
    """Say what can run here, and what to do about what cannot. Exit code 1 if no backend can."""
    from ...backends import registry
    from ..advisers import Advisers
    from ..cores import usable_cores

    with (
        tempfile.TemporaryDirectory(prefix="bakeoff-doctor-") as scratch,
        Advisers(registry.names(), {}, cores=usable_cores(), scratch=Path(scratch)) as advisers,
    ):
        for name in registry.names():
            for line in _examined(name, advisers):
                click.echo(line)
        able = bool(advisers.installed)
    compiler = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    remedy = "inductor and tvm need it to compile; on Debian: apt-get install g++"
    click.echo(f"ok       C++ compiler: {compiler}" if compiler else f"missing  C++ compiler: {remedy}")
    if not able:
        raise SystemExit(1)


def _examined(name: str, advisers: Advisers) -> Iterator[str]:
    """What there is to say about backend *name*."""
    from ...models.errors import CellError

    found = advisers.facts[name]
    if not found.available:
        yield f"missing  {name}: {found.reason}; install it with: {found.install}"
        return
    try:
        advisers.smoke(name)
    except CellError as error:
        yield f"broken   {name} {found.version}: {error.reason}; reinstall it with: {found.install}"
    else:
        devices = ", ".join(device.name for device in found.devices)
        yield f"ok       {name} {found.version} (devices: {devices})"
    for fact, value in {**found.packages, **found.details}.items():
        yield f"           {fact}: {value}"
