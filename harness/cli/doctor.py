"""`bakeoff doctor`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
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
    yield from _pins(name, found.packages)
    if name == "tvm":
        yield from _records(found.version)


def _pins(name: str, installed: Mapping[str, str]) -> Iterator[str]:
    """Versions that the backend's extra insists on, because others were seen to crash or to clash."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    for text in requires("bakeoff") or ():
        wanted = Requirement(text)
        exact = str(wanted.specifier).startswith("==")
        if (
            not exact
            or wanted.marker is None
            or not wanted.marker.evaluate({"extra": name})
            or wanted.name == "bakeoff"
        ):
            continue
        there = installed.get(wanted.name)
        if there is not None and not wanted.specifier.contains(there, prereleases=True):
            yield f"           pinned: {wanted.name}{wanted.specifier}, but {there} is installed and was never tried"
        else:
            yield f"           pinned: {wanted.name}{wanted.specifier}"


def _records(version: str) -> Iterator[str]:
    """The tuning records that are here, and those that another version of TVM cannot use."""
    from ...backends.tvm.tuning.pack import read_folder, read_pack
    from ...backends.tvm.tuning.shelf import databases, shipped
    from ...models.cache import default_cache

    found = [("own", read_folder(folder)) for folder in databases(default_cache())]
    found += [("shipped", read_pack(file)) for file in shipped()]
    for whose, pack in found:
        kernels = len({trial.task for trial, kept in zip(pack.trials, pack.records, strict=True) if kept is not None})
        other = f", of no use: they are of TVM {pack.meta.tvm}" if pack.meta.tvm != version else ""
        yield f"           records: {whose}, {pack.meta.target_id}, {kernels} kernels, {len(pack.trials)} trials{other}"
    if not found:
        yield "           records: none; `bakeoff tune` makes them"
