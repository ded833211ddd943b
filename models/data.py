"""Data sets as the rest of bakeoff asks for them: prepared for one model, from the cache or in a process of its own.

Entries lie in `<cache>/data/<key>/` as `data.npz`, `facts.json` and, where answers are more than one class for each
image, `annotations.json`. The key is the hash of all that goes in: the name, the model's labels and input, split,
count, seed, the bytes of every file that is read, the versions of the packages, and our own code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cache import commit, hash_file, hash_mapping, lookup, staging
from .child import call
from .datasets.base import Split, Want
from .datasets.registry import DATASETS, find
from .errors import UserError
from .spec import InputSpec, ModelSpec, Task
from .wire import encode

__all__ = ["PreparedData", "Split", "check_calibration", "known_data", "load_labels", "prepare_data", "trainable"]

_PACKAGES = ("numpy", "pillow", "scikit-learn", "timm", "torchvision", "datasets")


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """Images as one model takes them, with their answers where they are known."""

    name: str
    """As a user spells it: "digits", "imagefolder:/data/val"."""
    split: Split
    path: Path
    """.npz with `images` (N, C, H, W) float32, normalised for the model, and `labels` (N,) int64 if *labelled*; for
    segmentation also `masks` (N, H, W) uint8, where 255 means "not to be judged"."""
    count: int
    """Images; fewer than were asked for where the data set has no more."""
    labelled: bool
    """Whether each image has one class."""
    sha256: str
    """Of the arrays and annotations: equal data has equal hashes, whatever it is called."""
    task: Task
    annotations: Path | None
    """Answers that are no class, as JSON: boxes (`datasets.coco`), texts and characters (`datasets.words`)."""
    notes: tuple[str, ...]
    """What a reader of the figures must know: fewer images than asked, ..."""
    classes: int | None = None
    """Classes that the labels are numbered in; None where nobody says."""
    pictures: int | None = None
    """How many pictures are behind the images, the first so many being of different ones; None: as many as images.
    Views of one picture are not independent, so that intervals rest on pictures."""


def known_data() -> Mapping[str, str]:
    """How each kind of data set is spelt, and what it is."""
    return {entry.form: entry.summary for entry in DATASETS}


def trainable(name: str) -> bool:
    """Whether the data set *name* has labelled images beside those that it evaluates on.

    Raises `UserError` for an unknown one.
    """
    return find(name)[0].trainable


def prepare_data(
    name: str,
    spec: ModelSpec,
    input: InputSpec,
    *,
    split: Split,
    count: int,
    seed: int,
    cache: Path,
    timeout_s: float = 1800.0,
) -> PreparedData:
    """At most *count* images of the data set *name*, as the model *spec* takes them at *input*.

    Splits never share an image file, and a larger *count* only adds images: *seed* chooses their order, not which split
    they belong to. Raises `UserError` and its kin for an unknown name, data that is not there or cannot be read, and
    labels that are not the model's; `StageError` (stage "data") where preparing crashes or takes longer than
    *timeout_s* seconds.
    """
    if count < 1:
        raise UserError(f"data {name!r}: {count} images asked for; ask for at least one")
    entry, argument = find(name)
    want = Want(model=spec, input=input, split=split, count=count, seed=seed)
    module = entry.load_module()
    files = module.files(argument, want)
    key = hash_mapping({**_facts(name, want), "files": [["/".join(path.parts[-2:]), _hash(path)] for path in files]})
    found = lookup(cache, "data", key)
    if found is None:
        found = _make(name, want, cache, key, timeout_s)
    facts = json.loads((found / "facts.json").read_text(encoding="utf-8"))
    annotations = found / "annotations.json"
    return PreparedData(
        name=name,
        split=split,
        path=found / "data.npz",
        count=facts["count"],
        labelled=facts["labelled"],
        sha256=facts["sha256"],
        task=facts["task"],
        annotations=annotations if annotations.is_file() else None,
        notes=tuple(facts["notes"]),
        classes=facts["classes"],
        pictures=facts["pictures"],
    )


def load_labels(data: PreparedData) -> NDArray[np.int64]:
    """The class of each image, (N,). Raises `UserError` where *data* has none."""
    if not data.labelled:
        raise UserError(f"data {data.name!r}: has no labels; accuracy needs a labelled data set")
    with np.load(data.path, allow_pickle=False) as stored:
        return np.asarray(stored["labels"], dtype=np.int64)


def check_calibration(array: NDArray[np.generic], input: InputSpec) -> None:
    """Raise `UserError`, one line, where *array* is no (N, C, H, W) float32 of finite images as *input* wants them."""
    expected = f"(N, {input.channels}, {input.height}, {input.width})"
    shape = tuple(array.shape)
    if array.dtype != np.float32:
        raise UserError(f"calibration data is {array.dtype}, not float32; convert it as the model's inputs are")
    if len(shape) != 4 or shape[1:] != input.shape(1)[1:]:
        raise UserError(f"calibration data has the shape {shape}, not {expected}; prepare it for this model's input")
    if shape[0] == 0:
        raise UserError("calibration data holds no image; give at least one")
    odd = int(np.sum(~np.isfinite(array).reshape(shape[0], -1).all(axis=1)))
    if odd:
        raise UserError(f"calibration data holds NaN or infinite values in {odd} of {shape[0]} images; remove these")


def _facts(name: str, want: Want) -> dict[str, Any]:
    folder = Path(__file__).parent
    code = [*sorted((folder / "datasets").glob("*.py")), folder / "preprocess.py", folder / "digits" / "split.py"]
    return {
        "name": name,
        # Of the model: what decides which number a class has, and (for text) which characters there are.
        "model": {"labels": want.model.labels, "source": want.model.source, "reference": want.model.reference},
        "task": want.model.task,
        "input": encode(want.input),
        "split": want.split,
        "count": want.count,
        "seed": want.seed,
        "packages": {package: _version(package) for package in _PACKAGES},
        "code": [hash_file(path) for path in code if path.is_file()],
    }


def _make(name: str, want: Want, cache: Path, key: str, timeout_s: float) -> Path:
    with staging(cache) as work:
        made = work / "entry"
        made.mkdir()
        request = {
            "name": name,
            "model": encode(want.model),
            "input": encode(want.input),
            "split": want.split,
            "count": want.count,
            "seed": want.seed,
            "out": str(made),
            "cache": str(cache),
        }
        call("bakeoff.models.data_worker", request, timeout_s=timeout_s, stage="data")
        return commit(made, cache, "data", key)


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror}; check that it is there and its permissions"
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
