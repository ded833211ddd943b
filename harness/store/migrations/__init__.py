"""Alembic migrations of the store; `database` runs them, with no configuration file."""

__all__ = ["HEAD", "VERSION_TABLE"]

HEAD = "r0001"
"""The newest revision in `versions`. A test compares the two."""

VERSION_TABLE = "bakeoff_schema"
"""Own name, so that a store may share a PostgreSQL database with another program's tables."""
