"""Finds backends: entry points of the group `bakeoff.backends`, bakeoff's own among them.

Names are listed without importing anything; an adapter's module is imported when it is asked for.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import cast

from ..models.errors import BakeoffError, UnknownNameError
from .base import Backend

__all__ = ["BUILT_IN", "GROUP", "get", "install_command", "names"]

GROUP = "bakeoff.backends"

BUILT_IN = ("eager", "onnxruntime", "openvino", "inductor", "litert", "tvm")
"""Order in which bakeoff's own backends are listed; third parties follow by name."""


def _points() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        known = found.get(point.name)
        if known is not None and known.value != point.value:
            raise BakeoffError(
                f"two packages register a backend called {point.name!r}: {known.value} and {point.value}; "
                "uninstall one of them"
            )
        found[point.name] = point
    return found


def names() -> tuple[str, ...]:
    """Names of all registered backends, installed or not."""
    found = _points()
    own = [name for name in BUILT_IN if name in found]
    return (*own, *sorted(set(found) - set(own)))


def get(name: str) -> Backend:
    """The backend called *name*. Raises `UnknownNameError`."""
    found = _points()
    if name not in found:
        raise UnknownNameError("backend", name, found)
    return cast(Backend, found[name].load()())


def install_command(backend: Backend) -> str:
    """The pip command that installs the packages of *backend*."""
    return f"python -m pip install 'bakeoff[{backend.extra}]'"
