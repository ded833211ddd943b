"""Strict reading of what a user may set for a backend: devices and options.

A misspelt option that is ignored in silence would give a figure for something that was not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..models.errors import OptionError, UnsupportedError

__all__ = ["FOLDER", "SHARE", "check_device", "read_options"]

SHARE = "a share from 0 to 1"
"""Allowed value, in the place of the others, of an option that takes any number from 0 to 1."""

FOLDER = "a folder"
"""The same of an option that takes the path of a folder."""


def read_options(backend: str, options: Mapping[str, str], allowed: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """All options of *backend* with their values; *allowed* maps each name to its values, the default first.

    Raises `OptionError` for an unknown name or a value that is not allowed.
    """
    for name, value in options.items():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise OptionError(f"{backend} has no option {name!r}; known options: {known}", stage="compile")
        free = (SHARE in allowed[name] and _is_share(value)) or FOLDER in allowed[name]
        if value not in allowed[name] and not free:
            known = ", ".join(choice if choice in (SHARE, FOLDER) else repr(choice) for choice in allowed[name])
            raise OptionError(f"{backend}: option {name}={value!r} is not one of {known}", stage="compile")
    return {name: options.get(name, choices[0]) for name, choices in allowed.items()}


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def check_device(backend: str, device: str, present: Iterable[str]) -> None:
    """Raises `UnsupportedError` that names the devices that are *present* if *device* is not among them."""
    known = sorted(present)
    if device not in known:
        raise UnsupportedError(f"{backend} has no device {device!r} here; present: {', '.join(known)}", stage="compile")
