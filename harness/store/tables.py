"""The tables of the store. A change here needs a new file in `migrations/versions`; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = ["METADATA", "UtcDateTime", "cells", "controls", "phases", "runs", "states", "targets"]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: stored in UTC, read back in UTC, also where the database (SQLite) keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """In UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


targets = Table(
    "targets",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("facts", JSON, nullable=False),  # results.Target, as last seen
)

runs = Table(
    "runs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("finished_at", UtcDateTime),
    Column("status", String, nullable=False),
    Column("suite", String, nullable=False),
    Column("suite_fingerprint", String, nullable=False, index=True),
    Column("target_id", String, ForeignKey("targets.id"), nullable=False),
    Column("manifest", JSON, nullable=False),  # results.Run without what the other tables hold
)

cells = Table(
    "cells",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String, ForeignKey("runs.id"), nullable=False),
    Column("key", String, nullable=False),
    Column("facts", JSON, nullable=False),  # results.Cell without blocks_ms
    Column("samples", LargeBinary, nullable=False),
    UniqueConstraint("run_id", "key"),
)


def _details(name: str) -> Table:
    """A table of records of one kind that belong to a run, in the order in which they were added."""
    return Table(
        name,
        METADATA,
        Column("id", Integer, primary_key=True, autoincrement=True),
        Column("run_id", String, ForeignKey("runs.id"), nullable=False, index=True),
        Column("facts", JSON, nullable=False),
    )


controls = _details("controls")
states = _details("states")
phases = _details("phases")
