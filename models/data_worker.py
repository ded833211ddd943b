"""The process that prepares data: `python -m bakeoff.models.data_worker SCRATCH PARENT_PID` (see `child`)."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .child import serve
from .datasets.base import Samples, Want
from .datasets.registry import find
from .spec import ModelSpec
from .wire import decode_input

__all__ = ["work"]


def work(request: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare the data of the request and write it into its folder `out` (see `data`)."""
    entry, argument = find(request["name"])
    image = decode_input(request["input"])
    assert image is not None
    want = Want(
        model=ModelSpec(**{**request["model"], "input": decode_input(request["model"]["input"])}),
        input=image,
        split=request["split"],
        count=request["count"],
        seed=request["seed"],
    )
    samples = entry.load_module().load(argument, want)
    write(samples, want, Path(request["out"]))
    return {}


def write(samples: Samples, want: Want, out: Path) -> None:
    """Write `data.npz`, `facts.json` and where there are any `annotations.json` into the folder *out*."""
    arrays: dict[str, NDArray[np.generic]] = {"images": np.ascontiguousarray(samples.images, dtype=np.float32)}
    if samples.labels is not None:
        arrays["labels"] = np.asarray(samples.labels, dtype=np.int64)
    if samples.masks is not None:
        arrays["masks"] = samples.masks
    np.savez(out / "data.npz", allow_pickle=False, **arrays)
    text = ""
    if samples.annotations is not None:
        text = json.dumps(samples.annotations, sort_keys=True)
        (out / "annotations.json").write_text(text, encoding="utf-8")
    count = len(samples.images)
    pictures = count if samples.pictures is None else samples.pictures
    short = (f"{count} images: the data set has no more for {want.split}",) if count < want.count else ()
    views = (f"{count} images are views of {pictures} pictures",) if pictures < count else ()
    facts = {
        "count": count,
        "labelled": samples.labels is not None,
        "sha256": _digest(arrays, text),
        "task": samples.task,
        "classes": samples.classes,
        "pictures": pictures,
        "notes": [*samples.notes, *views, *short],
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def _digest(arrays: Mapping[str, NDArray[np.generic]], text: str) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(text.encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(serve(work, sys.argv))
