"""What a worker does to take a profile, and how rows travel to the parent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...backends import registry
from ...backends.base import LoadRequest
from ...backends.profile import Claim, Profiled, ProfiledSession, Row
from ...models.errors import UnsupportedError
from ..timing import Rotation

__all__ = ["decode_rows", "encode_rows", "open_profiled", "profile_block"]


def open_profiled(backend: str, request: LoadRequest, model: Path) -> ProfiledSession:
    """A session of *backend* with its profiler on; *model* is the ONNX file. Raises CellError."""
    found = registry.get(backend)
    if not isinstance(found, Profiled):
        raise UnsupportedError(f"{backend} has no profiler that bakeoff can read", blame="harness", stage="profile")
    return found.load_profiled(request, model)


def profile_block(session: ProfiledSession, rotation: Rotation, *, settle: int, calls: int) -> list[int]:
    """Nanoseconds of each of *calls* calls, after *settle* that do not count; account is taken outside the clock."""
    clock = time.perf_counter_ns
    for _ in range(settle):
        session.infer(rotation.feeds[rotation.take()])
    times: list[int] = []
    for _ in range(calls):
        feed = rotation.feeds[rotation.take()]
        start = clock()
        session.infer(feed)
        end = clock()
        session.collect()
        times.append(end - start)
    return times


def encode_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """*rows* as JSON values."""
    return [asdict(row) for row in rows]


def decode_rows(data: Sequence[dict[str, Any]]) -> tuple[Row, ...]:
    """The rows that `encode_rows` wrote."""
    return tuple(
        Row(
            **{
                **item,
                "times_ms": tuple(item["times_ms"]),
                "claims": tuple(Claim(**claim) for claim in item["claims"]),
                **{name: _optional(item[name]) for name in ("reads", "output_shape", "weight_shape")},
            }
        )
        for item in data
    )


def _optional(numbers: list[int] | None) -> tuple[int, ...] | None:
    return None if numbers is None else tuple(numbers)
