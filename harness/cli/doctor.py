"""`bakeoff doctor`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

__all__ = ["doctor"]


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
        facts = list(advisers.facts.values())
    for found in facts:
        if found.available:
            devices = ", ".join(device.name for device in found.devices)
            click.echo(f"ok       {found.name} {found.version} (devices: {devices})")
            for name, value in {**found.packages, **found.details}.items():
                click.echo(f"           {name}: {value}")
        else:
            click.echo(f"missing  {found.name}: {found.reason}; install it with: {found.install}")
    for name, programs, why in (
        (
            "C++ compiler",
            ("g++", "c++", "clang++"),
            "inductor and tvm need it to compile; on Debian: apt-get install g++",
        ),
    ):
        path = next((path for program in programs if (path := shutil.which(program))), None)
        click.echo(f"ok       {name}: {path}" if path else f"missing  {name}: {why}")
    if not any(found.available for found in facts):
        raise SystemExit(1)
