"""Where bakeoff keeps its own files."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import platformdirs

__all__ = ["cache_folder", "data_folder", "write_atomically"]


def cache_folder() -> Path:
    """bakeoff's folder for what can be made again; it may not exist yet."""
    return Path(platformdirs.user_cache_dir("bakeoff", appauthor=False))


def data_folder() -> Path:
    """bakeoff's folder for what must not be lost; it may not exist yet."""
    return Path(platformdirs.user_data_dir("bakeoff", appauthor=False))


def write_atomically(path: Path, content: bytes) -> None:
    """Write *content* to *path*, making its folder, so that a reader sees all of it or the old file.

    Raises OSError that names *path* or its folder if it cannot be written; then no part of it is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:  # it names a file that nobody has heard of
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
