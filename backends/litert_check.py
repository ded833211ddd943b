"""Tries LiteRT's C interface: `python -m bakeoff.backends.litert_check SCRATCH PARENT_PID` (see `models.child`).

What differs from what `litert_native` expects may well crash, so it is tried where a crash costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..models.child import call, serve
from ..models.compare import compare, tolerance_for
from ..models.errors import CellError, StageError, UnsupportedError
from .base import LoadRequest
from .host import package_versions

__all__ = ["check_native", "work"]

_LIMIT_S = 300.0


def check_native(request: LoadRequest) -> None:
    """Raises `UnsupportedError` where the C interface does not run the artifact as the Python one does, with events."""
    asked = {"artifact": str(request.artifact), "threads": request.threads, "cache": str(request.artifact)}
    try:
        call(__name__, asked, timeout_s=_LIMIT_S, stage="profile")
    except CellError as error:
        version = package_versions("ai-edge-litert").get("ai-edge-litert", "?")
        reason = f"the C interface of ai-edge-litert {version} is not what its profiler is read by: {error.reason}"
        raise UnsupportedError(reason, blame="runtime", stage="profile") from error


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the artifact by both interfaces, compare the outputs, and look at the memory that the events lie in."""
    from .litert_events import take_events
    from .litert_native import NativeError
    from .litert_profile import LiteRtProfile

    session = LiteRtProfile(LoadRequest(artifact=Path(request["artifact"]), threads=request["threads"]), Path())
    random = np.random.default_rng(0)
    feeds = [random.standard_normal(spec.shape).astype(spec.dtype) for spec in session.inputs]
    expected = session.infer_by_interpreter(feeds)
    try:
        found = compare(session.infer(feeds), expected)
        if not found.within(tolerance_for(session.executed().precision)):
            raise NativeError(f"its outputs differ: {found.problem or found.max_rel_error}")
        if not take_events(session.native, wary=True):
            raise NativeError("its profiler has no events")
    except NativeError as error:
        raise StageError(str(error), blame="runtime", stage="profile") from error
    return {}


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
