"""Static shapes as users type them: `input=1x3x224x224`."""

from __future__ import annotations

import re

from .errors import UserError

__all__ = ["format_shape", "parse_shape"]

_SHAPE = re.compile(r"[1-9][0-9]{0,9}(?:[xX][1-9][0-9]{0,9})*")


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Split `NAME=AxBxC` into the input's name and its shape. Names may hold any character, `=` too.

    Raises `UserError` where there is no name, no shape, or a dimension that is no positive integer.
    """
    name, equals, dims = text.rpartition("=")
    if not equals or not name.strip() or not _SHAPE.fullmatch(dims.strip()):
        raise UserError(f"shape {text!r}: not of the form NAME=AxBxC with positive integers; say input=1x3x224x224")
    return name.strip(), tuple(int(dim) for dim in re.split("[xX]", dims.strip()))


def format_shape(name: str, shape: tuple[int, ...]) -> str:
    """What `parse_shape` reads: `input=1x3x224x224`."""
    return f"{name}={'x'.join(str(dim) for dim in shape)}"
