"""Opening the store's database: where it is, which schema it has, and what a failure means in words.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk when it returns, so neither a killed process nor
a power cut loses a finished cell; a cell takes seconds to measure, the sync a few milliseconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from ...models.errors import UserError
from ..folders import data_folder
from .migrations import HEAD, VERSION_TABLE

__all__ = ["BUSY_TIMEOUT_S", "VARIABLE", "migrate", "open_engine", "reading", "store_url", "writing"]

VARIABLE = "BAKEOFF_STORE"
BUSY_TIMEOUT_S = 30
_BUSY_PAUSE_S = 0.02
_MIGRATION_LOCK = 0x62616B65
"""PostgreSQL's advisory lock that only one upgrading process holds; any fixed number."""
_WRITES = "bakeoff_writes"
_SQLITE_HEADER = b"SQLite format 3\x00"

_SQLITE_WORDS = {
    "SQLITE_NOTADB": "is not a SQLite database; move the file away or name another store with " + VARIABLE,
    "SQLITE_CORRUPT": "is damaged; move the file away, or save what is left of it with `sqlite3 FILE .recover`",
    "SQLITE_FULL": "the disk is full; free some space, then `bakeoff run --resume` (what was finished is safe)",
    "SQLITE_IOERR": "cannot be read or written (disk full or failing?); what was finished before is safe",
    "SQLITE_READONLY": "is read-only; make it and its folder writable or name another store with " + VARIABLE,
    "SQLITE_CANTOPEN": "cannot be opened; check the path and its rights or name another store with " + VARIABLE,
    "SQLITE_PERM": "may not be opened; check its rights or name another store with " + VARIABLE,
    "SQLITE_BUSY": f"has been locked by another process for {BUSY_TIMEOUT_S} s; try again when that has ended",
}


def store_url(place: str | None) -> URL:
    """The database URL for *place*: a URL, the path of an SQLite file, or None for `BAKEOFF_STORE` or the default.

    Raises UserError if it is no URL that can be used.
    """
    chosen = place or os.environ.get(VARIABLE) or str(data_folder() / "bakeoff.sqlite3")
    if "://" not in chosen:
        return URL.create("sqlite", database=str(Path(chosen).expanduser().absolute()))
    try:
        return make_url(chosen)
    except ArgumentError as error:
        raise UserError(
            f"{chosen}: not a database URL; write e.g. sqlite:////path/file or postgresql+psycopg://host/name"
        ) from error


def open_engine(url: URL) -> Engine:
    """An engine that opens a connection for each use and closes it again, so that none is held while measuring.

    Raises UserError for an unknown or missing driver, if the folder of an SQLite file cannot be made, and for a
    file that is something else.
    """
    try:
        engine = create_engine(url, poolclass=NullPool)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(f"{_shown(url)}: no database driver for this URL ({error}); install it with pip") from error
    if engine.dialect.name == "sqlite":
        _make_folder(url)
        _refuse_other_file(url)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection inside a transaction that only reads. Database errors come out as UserError."""
    with _in_words(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection inside a transaction that is durable when the block has ended, and undone if it raises.

    SQLite takes the write lock at its beginning, so two writers wait for each other instead of failing halfway.
    Database errors come out as UserError.
    """
    options = {_WRITES: True}
    with _in_words(engine), engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD` in one transaction; whoever comes second waits and finds it done.

    Raises UserError for a database of a newer bakeoff or of another program.
    """
    with reading(engine) as connection:
        if _revision(connection) == HEAD:
            return
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if _revision(connection) != HEAD:
            _upgrade(connection, _shown(engine.url))


def _upgrade(connection: Connection, shown: str) -> None:
    # Imported here: it takes a third of a second, and most stores need no upgrade.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    revision = _revision(connection)
    others = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
    if revision is None and others and connection.dialect.name == "sqlite":
        raise UserError(f"{shown}: is a database of another program; name another store with {VARIABLE}")
    if revision is not None and revision not in known:
        raise UserError(
            f"{shown}: was made by a newer bakeoff (schema {revision}, this one knows {HEAD}); upgrade bakeoff or name "
            f"another store with {VARIABLE}"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


@contextmanager
def _in_words(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise UserError(f"{_shown(engine.url)}: {_reason(error.orig)}") from error


def _reason(error: BaseException | None) -> str:
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        for prefix, words in _SQLITE_WORDS.items():
            if name.startswith(prefix):
                return words
    return " ".join(str(error).split())


def _shown(url: URL) -> str:
    """The path of an SQLite file, else the URL without its password."""
    return url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()


def _make_folder(url: URL) -> None:
    if url.database in (None, "", ":memory:"):
        raise UserError(f"{url}: a store in memory would forget every run; name a file with {VARIABLE}")
    if url.database.startswith("file:"):
        return
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot make the store's folder ({error.strerror}); name another store with {VARIABLE}"
        ) from error


def _refuse_other_file(url: URL) -> None:
    """SQLite says so itself only of files of 512 bytes and more; smaller ones count as empty and are written over."""
    place = Path(str(url.database))
    if not place.is_file():
        return
    try:
        with place.open("rb") as file:
            start = file.read(len(_SQLITE_HEADER))
    except OSError as error:
        raise UserError(f"{place}: {_SQLITE_WORDS['SQLITE_CANTOPEN']} ({error.strerror})") from error
    if start and start != _SQLITE_HEADER:
        raise UserError(f"{place}: {_SQLITE_WORDS['SQLITE_NOTADB']}")


def _set_up_sqlite(connection: Any, _record: object) -> None:
    # The driver shall leave transactions to _begin_sqlite, so that changes of the schema are part of them too.
    connection.isolation_level = None
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
            _enter_wal(cursor)
            for pragma in ("synchronous=FULL", "foreign_keys=ON"):
                cursor.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()  # SQLAlchemy forgets a connection whose set-up failed
        raise


def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to the write-ahead log, which is kept in the file; only the very first connections have anything to do.

    Two that do it at the same moment get SQLITE_BUSY at once, whatever the busy timeout says.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")
