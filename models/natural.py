"""Seeded random images with the statistics of photographs, where a model has no data set of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np

from .cache import hash_file, hash_mapping, publish
from .data import PreparedData
from .inputs import make_inputs
from .spec import ExportedModel
from .wire import encode

__all__ = ["NATURAL", "natural_data"]

NATURAL = "random images"
"""What such data is called in every output."""

_SEEDS = {"evaluation": 1000, "calibration": 2000, "training": 3000}


def natural_data(
    model: ExportedModel,
    *,
    split: Literal["evaluation", "calibration", "training"],
    count: int,
    seed: int,
    cache: Path,
) -> PreparedData:
    """*count* seeded inputs for *model*, without labels; other ones for each *split*.

    Where the model has one input they are stacked as `images` (N, ...), else they are kept one by one as
    `input_{i}_{k}`, input k of set i.
    """
    code = hash_file(Path(__file__).with_name("inputs.py"))
    facts = {
        "inputs": [encode(tensor) for tensor in model.inputs],
        "spec": encode(model.input) if model.input else None,
        "split": split,
        "count": count,
        "seed": seed,
        "code": code,
    }

    def build(folder: Path) -> None:
        sets = make_inputs(model.inputs, model.input, count=count, seed=_SEEDS[split] + seed, images=None)
        if len(model.inputs) == 1:
            arrays = {"images": np.concatenate([row[0] for row in sets])[:count]}
        else:
            arrays = {f"input_{i}_{k}": array for i, row in enumerate(sets) for k, array in enumerate(row)}
        np.savez(folder / "data.npz", allow_pickle=False, **arrays)
        (folder / "facts.json").write_text(json.dumps({"sha256": hash_file(folder / "data.npz")}), encoding="utf-8")

    entry = publish(cache, "natural", hash_mapping(facts), build)
    return PreparedData(
        name=NATURAL,
        split=split,
        path=entry / "data.npz",
        count=count,
        labelled=False,
        sha256=json.loads((entry / "facts.json").read_text(encoding="utf-8"))["sha256"],
        task="unknown",
        annotations=None,
        notes=(),
    )
