"""Leaves a small script that reproduces a failed cell with its backend alone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from ..models.errors import CellError
from ..models.variant_build import VariantBuild
from .artifacts import quantization_message
from .plan import CellSpec
from .protocol import Message
from .subjects import Subject

__all__ = ["quantization_beside", "write_reproducer"]

# In the cache the float model and the quantized one have the same name; beside each other they cannot.
_FLOAT_MODEL, _CALIBRATION = "float_model.onnx", "calibration.npz"

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
        count = sum(name.startswith("input_0_") for name in stored.files)
        outputs = run([np.ascontiguousarray(stored[f"input_0_{{place}}"]) for place in range(count)])
        for place, output in enumerate(outputs):
            expected = stored[f"output_0_{{place}}"]
            difference = np.abs(np.asarray(output, dtype=np.float64) - expected).max()
            largest = np.abs(expected).max()
            print(f"output {{place}}: largest difference {{difference:.6g}}, largest value {{largest:.6g}}")


if __name__ == "__main__":
    main()
'''


def quantization_beside(build: VariantBuild) -> Message | None:
    """What a backend with a quantizer of its own is told for its script: the files that `write_reproducer` places."""
    message = quantization_message(build)
    if message is None:
        return None
    return {**message, "float_model": _FLOAT_MODEL, "calibration": _CALIBRATION if build.calibration else None}


def write_reproducer(cell: CellSpec, error: CellError, subject: Subject, source: str, folder: Path) -> Path:
    """Write script, model, inputs and reference outputs to a new folder below *folder*; return the script's path.

    *source* defines `build(model, threads)`, as the backend's `reproducer` gives it for `quantization_beside`. What a
    runtime quantizes by itself, and the images that it calibrates on, are placed beside a quantized model.
    """
    home = folder / _folder_name(cell.key)
    home.mkdir(parents=True, exist_ok=True)
    _place(subject.exported.path, home / "model.onnx")
    _place(subject.io, home / "io.npz")
    if subject.build.float_model is not None:
        _place(subject.build.float_model.path, home / _FLOAT_MODEL)
    if subject.build.calibration is not None:
        _place(subject.build.calibration.path, home / _CALIBRATION)
    text = _SCRIPT.format(
        key=_inert(cell.key),
        status=error.status,
        reason=_inert(error.reason),
        blame=_inert(error.blame),
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


def _folder_name(key: str) -> str:
    """*key* as a file name; long ones, of models given by path, keep their end and get a hash of the whole."""
    name = re.sub(r"[^A-Za-z0-9_.@+-]+", "_", key)
    return (
        name if len(name) <= 150 else f"{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:12]}-{name[-130:]}"
    )


def _inert(text: str) -> str:
    """*text* such that it can stand in a docstring, neither ending it nor making the file unreadable."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
    return shown.replace("\\", "/").replace('"""', "'''")
