"""The artifact cache: sealed folders under content hashes, published atomically.

Layout: `<cache>/<kind>/<key>/...` for entries, `<cache>/tmp/` for folders in the making. *key* is the hash of all
that went into an entry, so an entry is never changed. `seal.json` lists every file with its size and sha256: an
entry whose files do not match its seal (killed writer, bad disk, edited by hand) counts as absent and is rebuilt.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import platformdirs

from .errors import UserError

__all__ = [
    "commit",
    "default_cache",
    "disk_errors",
    "hash_file",
    "hash_mapping",
    "lookup",
    "publish",
    "staging",
]

_SEAL = "seal.json"
_STALE_AFTER_S = 24 * 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)


def default_cache() -> Path:
    """The folder for artifacts: `$BAKEOFF_CACHE`, else the user's cache folder of this system."""
    chosen = os.environ.get("BAKEOFF_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("bakeoff"))


def hash_file(path: Path) -> str:
    """sha256 of the bytes of *path*, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_mapping(mapping: Mapping[str, object]) -> str:
    """sha256 of *mapping* written as canonical JSON (sorted keys, no spaces); its values must be JSON values."""
    text = json.dumps(mapping, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn "disk full", and "permission denied" below *folder*, into a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"{folder}: the disk is full; free some space, delete this cache folder, or set BAKEOFF_CACHE"
            ) from error
        if error.errno in _FORBIDDEN and Path(str(error.filename)).is_relative_to(folder):
            raise UserError(f"{folder}: {error.strerror}; set BAKEOFF_CACHE to a folder you may write to") from error
        if error.errno in _NO_FOLDER and not folder.is_dir():
            raise UserError(f"{folder}: is no folder; set BAKEOFF_CACHE to a folder you may write to") from error
        raise


@contextlib.contextmanager
def staging(cache: Path) -> Iterator[Path]:
    """An empty folder inside *cache*, for an entry in the making; what is left of it is removed at the end."""
    parent = cache / "tmp"
    with disk_errors(cache):
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        with disk_errors(cache):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit(made: Path, cache: Path, kind: str, key: str) -> Path:
    """Seal the folder *made* (inside *cache*) and move it to its place; return that place.

    Where another process published the same entry first, its copy is kept and ours is dropped; an entry that does
    not match its seal is replaced.
    """
    final = cache / kind / key
    with disk_errors(cache):
        _seal(made)
        final.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                os.rename(made, final)
                return final
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            if _intact(final):
                shutil.rmtree(made)
                return final
            _discard(final, cache)


def lookup(cache: Path, kind: str, key: str) -> Path | None:
    """The entry's folder, or None where there is none or it is damaged. Reads every byte of it."""
    entry = cache / kind / key
    return entry if _intact(entry) else None


def publish(cache: Path, kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The entry's folder, made by *build* (which fills the empty folder it is given) unless it is there already."""
    found = lookup(cache, kind, key)
    if found is not None:
        return found
    with staging(cache) as work:
        made = work / "entry"
        made.mkdir()
        build(made)
        return commit(made, cache, kind, key)


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _SEAL
    }


def _seal(folder: Path) -> None:
    listing = {name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for name, path in _files(folder).items()}
    (folder / _SEAL).write_text(json.dumps(listing, indent=1, sort_keys=True), encoding="utf-8")


def _intact(folder: Path) -> bool:
    try:
        listing = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
        files = _files(folder)
        return set(listing) == set(files) and all(
            path.stat().st_size == listing[name]["bytes"] and hash_file(path) == listing[name]["sha256"]
            for name, path in files.items()
        )
    except (OSError, ValueError, TypeError, KeyError):
        return False  # no seal, or one that says nothing: not an entry


def _discard(entry: Path, cache: Path) -> None:
    grave = Path(tempfile.mkdtemp(dir=cache / "tmp"))
    with contextlib.suppress(FileNotFoundError):  # another process was quicker
        os.rename(entry, grave / "damaged")
    shutil.rmtree(grave, ignore_errors=True)


def _sweep(parent: Path) -> None:
    limit = time.time() - _STALE_AFTER_S
    for folder in parent.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < limit:
                shutil.rmtree(folder, ignore_errors=True)
