"""Calls and images: prepared data cut into the batches that a graph takes, and its outputs cut into images again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Outputs", "feeds_of", "split_images"]

Array = NDArray[np.generic]
Outputs = tuple[tuple[Array, ...], ...]
"""For each image, one array for each output of the graph, its first dimension 1."""


def feeds_of(path: Path, batch: int) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """For each call: how many images are in it, and the inputs. The last batch is filled up with its first images.

    *path* is a `PreparedData` file: `images` (N, ...), or `input_{i}_{k}` for set i of a model with several inputs,
    which counts as one image.
    """
    with np.load(path, allow_pickle=False) as stored:
        if "images" not in stored.files:
            index = 0
            while f"input_{index}_0" in stored.files:
                width = sum(1 for name in stored.files if name.startswith(f"input_{index}_"))
                yield 1, tuple(stored[f"input_{index}_{place}"] for place in range(width))
                index += 1
            return
        images = stored["images"]
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        full = part if len(part) == batch else np.resize(part, (batch, *part.shape[1:]))
        yield len(part), (np.ascontiguousarray(full),)


def split_images(outputs: Sequence[Array], images: int, batch: int) -> list[tuple[Array, ...]]:
    """The outputs of one call, image by image; outputs without a batch in front belong to a call of one image."""
    if batch == 1 or any(output.ndim == 0 or output.shape[0] != batch for output in outputs):
        return [tuple(np.array(output) for output in outputs)]
    return [tuple(np.array(output[place : place + 1]) for output in outputs) for place in range(images)]
