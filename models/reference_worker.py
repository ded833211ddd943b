"""The reference process: `python -m bakeoff.models.reference_worker SCRATCH PARENT_PID` (see `child`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .child import serve
from .engine import run_graph
from .errors import StageError
from .reference import load_arrays, save_arrays
from .walk_bfloat import widen

__all__ = ["work"]


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the request's `model` on its `inputs` and write the outputs to its file `out`.

    The engines have no bfloat16 kernels: such a graph runs in float32 with every value rounded to bfloat16.
    """
    inputs = load_arrays(Path(request["inputs"]), request["width"])
    try:
        outputs = list(run_graph(_runnable(Path(request["model"]), Path(request["inputs"]).parent), inputs))
    # The engine raises classes of its own for whatever it cannot load or run.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        raise StageError(f"no reference can be computed: {reason}", stage="reference") from error
    save_arrays(Path(request["out"]), outputs)
    return {}


def _runnable(path: Path, scratch: Path) -> Path:
    import onnx

    model = onnx.load(path)
    if not widen(model):
        return path
    wide = scratch / "wide.onnx"
    onnx.save(model, wide)
    return wide


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
