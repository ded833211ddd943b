"""Profiles for other tools: a trace that Perfetto and Chrome open, and collapsed stacks for flame graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .layer_words import main_node
from .profiles import BackendProfile, ProfileReport, RowTime

__all__ = ["chrome_trace", "collapsed_stacks"]

_CLOCK, _ROWS = 1, 2
"""Tracks of each process."""


def chrome_trace(report: ProfileReport) -> dict[str, Any]:
    """One profiled inference of every backend as Chrome's trace event format (JSON object form).

    Each backend is a process with two tracks: the inference by bakeoff's own clock, and its rows. Runtimes tell how
    long a row took, not when it began, so the rows stand one behind the other.
    """
    events: list[dict[str, Any]] = []
    for pid, profile in enumerate(report.profiles, start=1):
        events += _events(profile, pid)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"bakeoff": report.bakeoff_version, "target": report.target_id, "command": report.command},
    }


def collapsed_stacks(report: ProfileReport) -> str:
    """Median nanoseconds of every row as collapsed stacks, "cell;module;submodule;operator;row 12345" each."""
    lines = []
    for profile in report.profiles:
        for row in profile.rows:
            frames = [_title(profile), *_scope(row), _operator(row), row.name]
            lines.append(f"{';'.join(map(_frame, frames))} {round(row.median_ms * 1e6)}\n")
    return "".join(lines)


def _title(profile: BackendProfile) -> str:
    threads = f"{profile.threads} thread{'' if profile.threads == 1 else 's'}"
    return f"{profile.variant} {profile.backend}, {threads}, batch {profile.batch}"


def _operator(row: RowTime) -> str:
    """In ONNX's words; in the runtime's where no node is known."""
    node = main_node(row)
    return node.op if node else f"{row.standing}: {row.kind}"


def _scope(row: RowTime) -> list[str]:
    node = main_node(row)
    return node.scope.split(".") if node and node.scope else []


def _frame(text: str) -> str:
    return "".join(letter if letter.isprintable() and letter != ";" else ":" for letter in text)


def _events(profile: BackendProfile, pid: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": _title(profile)}}
    for tid, name in ((_CLOCK, "inference"), (_ROWS, f"rows of {profile.backend}")):
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
    facts = {"median_ms_unprofiled": profile.median_ms, "overhead": profile.overhead, "refused": profile.refused}
    clock = {"name": "inference", "cat": "inference", "pid": pid, "tid": _CLOCK, "args": facts}
    yield clock | _times(0.0, profile.typical_ms)
    start = 0.0
    for row in profile.rows:
        told = {
            "kind": row.kind,
            "precision": row.precision,
            "nodes": [f"{node.name} ({node.op}, {node.evidence})" for node in row.nodes],
            "median_ms": row.median_ms,
        }
        shown = {"name": row.name, "cat": row.standing, "pid": pid, "tid": _ROWS, "args": told}
        yield shown | _times(start, row.typical_ms)
        start += row.typical_ms


def _times(start_ms: float, length_ms: float) -> dict[str, Any]:
    """A complete event's; the format counts in microseconds."""
    return {"ph": "X", "ts": round(start_ms * 1e3, 3), "dur": round(length_ms * 1e3, 3)}
