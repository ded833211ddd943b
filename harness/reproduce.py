"""Leaves a small script that reproduces a failed cell with its backend alone."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ..models.errors import CellError
from .plan import CellSpec
from .subjects import Subject

__all__ = ["write_reproducer"]

_SCRIPT = '''\
"""Reproduces, with one backend alone, what went wrong in the cell
{key}

{status}: {reason}
It looks like the fault of: {blame}.

Run it with: python reproduce.py
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
THREADS = {threads}


{source}

def main() -> None:
    run = build(str(HERE / "model.onnx"), THREADS)
    with np.load(HERE / "io.npz", allow_pickle=False) as stored:
        names = sorted(name for name in stored.files if name.startswith("input_0_"))
        outputs = run([np.ascontiguousarray(stored[name]) for name in names])
        for place, output in enumerate(outputs):
            expected = stored[f"output_0_{{place}}"]
            difference = np.abs(np.asarray(output, dtype=np.float64) - expected).max()
            largest = np.abs(expected).max()
            print(f"output {{place}}: largest difference {{difference:.6g}}, largest value {{largest:.6g}}")


if __name__ == "__main__":
    main()
'''


def write_reproducer(cell: CellSpec, error: CellError, subject: Subject, source: str, folder: Path) -> Path:
    """Write script, model, inputs and reference outputs to a new folder below *folder*; return the script's path.

    *source* defines `build(model, threads)`, as the backend's `reproducer` gives it.
    """
    home = folder / re.sub(r"[^A-Za-z0-9_.@+-]+", "_", cell.key)
    home.mkdir(parents=True, exist_ok=True)
    _place(subject.exported.path, home / "model.onnx")
    _place(subject.io, home / "io.npz")
    text = _SCRIPT.format(
        key=_inert(cell.key),
        status=error.status,
        reason=_inert(error.reason),
        blame=error.blame,
        threads=cell.threads,
        source=source.rstrip() + "\n",
    )
    script = home / "reproduce.py"
    script.write_text(text, encoding="utf-8")
    return script


def _place(source: Path, target: Path) -> None:
    """Link *source* at *target*, or copy it where links do not reach."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _inert(text: str) -> str:
    """*text* such that it cannot end the docstring that it is put into."""
    return text.replace("\\", "/").replace('"""', "'''")
