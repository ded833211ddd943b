"""Writes the report's files, each whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..models.errors import UserError
from .html import render_html
from .markdown import summary_markdown
from .profile_html import render_profile_html
from .profiles import ProfileReport
from .results import Run
from .tables import cells_csv

__all__ = ["write_profile", "write_report"]


def _slug(text: str) -> str:
    """*text* as part of a file name: letters, digits, dot, dash and underscore, at most 80 of them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "unnamed"


def _unique(stem: str, taken: set[str]) -> str:
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _write(path: Path, text: str) -> None:
    """Replace *path* in one step: a reader finds the old file or the new one, never half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _pages(runs: Sequence[Run], profiles: Sequence[ProfileReport]) -> list[tuple[str, str]]:
    """(file name, HTML): `index.html` on all runs, and a page for each target where there are several."""
    targets: dict[str, list[Run]] = {}
    for run in runs:
        targets.setdefault(run.target_id, []).append(run)
    pages = [("index.html", render_html(runs, profiles))]
    if len(targets) > 1:
        taken: set[str] = set()
        for ident, own in targets.items():
            pages.append((f"target-{_unique(_slug(ident), taken)}.html", render_html(own, profiles)))
    return pages


def _files(runs: Sequence[Run], profiles: Sequence[ProfileReport]) -> list[tuple[str, str]]:
    taken: set[str] = set()
    names = ["run" if len(runs) == 1 else f"run-{_unique(_slug(run.id), taken)}" for run in runs]
    data = [(f"{name}.json", _json(run)) for name, run in zip(names, runs, strict=True)]
    for number, profile in enumerate(profiles, start=1):
        data.append((f"profile{f'-{number}' if len(profiles) > 1 else ''}.json", _json(profile)))
    return [*_pages(runs, profiles), ("summary.md", summary_markdown(runs)), ("cells.csv", cells_csv(runs)), *data]


def _json(record: Run | ProfileReport) -> str:
    return f"{record.model_dump_json(indent=1)}\n"


def write_report(runs: Sequence[Run], out: Path, profiles: Sequence[ProfileReport] = ()) -> list[Path]:
    """Write the report on *runs* into the folder *out* (made if missing) and return the paths, `index.html` first.

    `index.html` shows all runs; where they come from several targets it puts them side by side and each target has a
    `target-<id>.html` of its own. `summary.md` and `cells.csv` cover all runs; each run is kept as JSON. *profiles* of
    the runs' targets stand with them, and are kept as JSON. Raises `UserError` where *out* cannot be written,
    ValueError for no runs.
    """
    return _write_all(_files(runs, profiles), out)


def write_profile(report: ProfileReport, out: Path) -> list[Path]:
    """Write `profile.html` and `profile.json` on *report* into the folder *out* (made if missing); the paths.

    A run's report in the same folder stays as it is. Raises `UserError` where *out* cannot be written.
    """
    return _write_all([("profile.html", render_profile_html(report)), ("profile.json", _json(report))], out)


def _write_all(files: Sequence[tuple[str, str]], out: Path) -> list[Path]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files:
            _write(out / name, text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{out}: cannot write the report here ({reason}); name another folder with --out") from error
    return [out / name for name, _ in files]
