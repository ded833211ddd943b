"""Warm starts: the best candidates of other databases, for tasks of the same kind and shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .records import open_database, read_meta
from .search import key_of
from .tiles import Candidate

__all__ = ["warm_candidates"]


def warm_candidates(folders: Sequence[Path]) -> dict[tuple[str, str], list[Candidate]]:
    """Candidates by kind and shape (as `key_of` writes it), of databases whatever their target: what fits is tried.

    Raises `UserError` for a folder that is no tuning database.
    """
    found: dict[tuple[str, str], list[Candidate]] = {}
    for folder in folders:
        records = open_database(folder, read_meta(folder), create=False)
        for facts in records.best().values():
            found.setdefault((facts.kind, key_of(facts.shape)), []).append(facts.candidate)
    return found
