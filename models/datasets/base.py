"""What every kind of data set is asked for, and what it gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..preprocess import centred, normalise, open_image, pixels_of
from ..spec import InputSpec, ModelSpec, Task

__all__ = ["Dataset", "Samples", "Split", "Want", "fitting", "package_folder", "photographs", "shuffled"]

Split = Literal["evaluation", "calibration", "training"]
"""What images are for. What is evaluated on is never calibrated or trained on."""

_MOST_BYTES = 1 << 30

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Want:
    """Images asked for."""

    model: ModelSpec
    input: InputSpec
    split: Split
    count: int
    """The most that are wanted."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images as the model takes them, and their answers."""

    images: NDArray[np.float32]
    """(N, C, H, W), normalised."""
    task: Task = "classification"
    labels: NDArray[np.int64] | None = None
    """(N,)."""
    classes: int | None = None
    """Classes that *labels* are numbered in; None where nobody says."""
    masks: NDArray[np.uint8] | None = None
    """(N, H, W), the class of each pixel; 255: not to be judged."""
    annotations: Mapping[str, Any] | None = None
    """Other answers, as JSON values."""
    pictures: int | None = None
    """How many pictures are behind the images, where several are views of one: the first so many images are of
    different ones. None where each image is of its own."""
    notes: tuple[str, ...] = ()


class Dataset(Protocol):
    """A module of this package. *argument* is what stands behind the colon of its name, "" if nothing does."""

    def files(self, argument: str, want: Want) -> Sequence[Path]:
        """The files that `load` will read, whose bytes go into the cache key. Runs in the parent: nothing heavy.

        Raises `UserError` where they are not there.
        """
        ...

    def load(self, argument: str, want: Want) -> Samples:
        """Read and prepare. Runs in a child process. Raises `UserError` for what a person can mend."""
        ...


def shuffled(items: Sequence[T], want: Want) -> list[T]:
    """The first *want.count* of *items* in the order that the seed gives them."""
    order = np.random.default_rng([want.seed, len(items)]).permutation(len(items))
    return [items[place] for place in order[: fitting(want)]]


def fitting(want: Want) -> int:
    """Images of *want*, as many as fit into 1 GiB."""
    return min(want.count, max(1, _MOST_BYTES // (4 * int(np.prod(want.input.shape(1))))))


def photographs(paths: Sequence[Path], want: Want) -> NDArray[np.float32]:
    """The photographs *paths* by the model's own resize rule, (N, C, H, W).

    Raises `UserError` naming the first that cannot be read.
    """
    spec = want.input
    images = np.empty(spec.shape(len(paths)), dtype=np.float32)
    for place, path in enumerate(paths):
        picture = centred(open_image(path, spec.channels), spec, spec.height, spec.width)
        images[place] = normalise(pixels_of(picture), spec)
    return images


def package_folder(package: str, name: str, install: str) -> Path:
    """The folder of the installed *package*, which is not imported.

    Raises `UserError` with the pip command *install* where the data set *name* lacks it.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        raise UserError(f"data {name}: needs package {package}; install it with: python -m pip install {install}")
    return Path(found.origin).parent
