"""One lock for each host around every timed part, so that two runs never measure at the same time.

The operating system gives the lock back when its holder dies, however it dies. There is a queue of one place in front
of it: whoever waits holds the queue, and whoever lets the lock go has to queue again, so of several runs none waits
for ever.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from ..models.errors import UserError

__all__ = ["hold_host", "lock_folder"]

POLL_S = 0.1
"""How often a waiting run looks; seldom, since it takes CPU time from the run that measures."""
_EVERYBODY = 0o666


@contextmanager
def hold_host(on_wait: Callable[[str], None] | None = None, folder: Path | None = None) -> Iterator[None]:
    """Hold this host's measuring lock for the length of the block.

    If another run holds it, *on_wait* is called once with a line for the user, then the call waits without limit; an
    interrupt ends the wait. *folder* is the system's folder for temporary files unless a test names another. Not
    re-entrant: a process that holds the lock and asks again waits for ever. Raises UserError if the lock file cannot
    be opened.
    """
    place = folder or lock_folder()
    queue = FileLock(place / "bakeoff-measure.queue.lock", mode=_EVERYBODY, poll_interval=POLL_S)
    lock = FileLock(place / "bakeoff-measure.lock", mode=_EVERYBODY, poll_interval=POLL_S)
    holder = place / "bakeoff-measure.holder.json"
    tell = _Once(on_wait, holder)
    with _in_words(place):
        _acquire(queue, tell)
        try:
            _acquire(lock, tell)
        finally:
            queue.release()
    try:
        _write_holder(holder, {"pid": os.getpid(), "started": psutil.Process().create_time()})
        yield
        _write_holder(holder, {})
    finally:
        lock.release()


def lock_folder() -> Path:
    """Where the lock lies: the same place for everybody on the host, whatever their TMPDIR, or $BAKEOFF_LOCK_FOLDER."""
    chosen = os.environ.get("BAKEOFF_LOCK_FOLDER")
    shared = Path("/tmp")
    return Path(chosen) if chosen else shared if shared.is_dir() else Path(tempfile.gettempdir())


class _Once:
    """Tells the user once that somebody else is measuring."""

    def __init__(self, on_wait: Callable[[str], None] | None, holder: Path) -> None:
        self._on_wait = on_wait
        self._holder = holder

    def __call__(self) -> None:
        if self._on_wait is not None:
            self._on_wait(f"another bakeoff run{_read_holder(self._holder)} is measuring on this host; waiting")
            self._on_wait = None


def _acquire(lock: FileLock, tell: _Once) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell()
        lock.acquire()


@contextmanager
def _in_words(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{place}: cannot lock this host for measuring ({error.strerror or error}); make the folder writable or "
            "name another with BAKEOFF_LOCK_FOLDER"
        ) from error


def _write_holder(path: Path, holder: dict[str, object]) -> None:
    """Leave word for whoever waits. The lock does not depend on it, so a file that cannot be written is no fault.

    The file is written in place: in a folder with the sticky bit nobody can replace another user's file, and
    O_NOFOLLOW keeps a link that somebody planted there from being followed.
    """
    with suppress(OSError):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _EVERYBODY)
            os.fchmod(handle, _EVERYBODY)
        except FileExistsError:
            handle = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(handle, "w") as stream:
            json.dump(holder, stream)


def _read_holder(path: Path) -> str:
    """ " (pid N, started ...)", or nothing if the holder has left no word yet."""
    try:
        holder = json.loads(path.read_text())
        started = datetime.fromtimestamp(float(holder["started"]), UTC).astimezone()
        return f" (pid {int(holder['pid'])}, started {started:%Y-%m-%d %H:%M:%S})"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return ""
