"""Counts an ONNX file's work: `python -m bakeoff.models.work_worker SCRATCH PARENT_PID` (see `child`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .child import serve
from .errors import StageError
from .work import count_work
from .work_reading import encode_work

__all__ = ["work"]


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """The work of the file `model` of *request*, encoded."""
    import onnx

    path = Path(request["model"])
    try:
        model = onnx.load(path, load_external_data=False)
    # Whatever protobuf and onnx raise on a file that they cannot read.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        raise StageError(f"{path}: cannot be read as ONNX: {reason}", stage="profile") from error
    return encode_work(count_work(model, batches=True))


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
