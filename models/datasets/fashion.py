"""Fashion-MNIST as Debian packages it (`dataset-fashion-mnist`), or in a folder of the user's (arXiv:1708.07747)."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..preprocess import normalise, pixels_of, sampling
from ..spec import InputSpec
from .base import Samples, Want, shuffled
from .labels import check_labels

__all__ = ["files", "load"]

_LISTING = Path("/var/lib/dpkg/info/dataset-fashion-mnist.list")
"""Where Debian writes down which files the package has."""
_CALIBRATION = 10_000
"""The last training images are for calibration, the others for training."""


def files(argument: str, want: Want) -> Sequence[Path]:
    """The file of images and that of labels. Raises `UserError` where they are not there."""
    stem = "t10k" if want.split == "evaluation" else "train"
    return [_find(argument, f"{stem}-images"), _find(argument, f"{stem}-labels")]


def load(argument: str, want: Want) -> Samples:
    """The 10,000 test images for evaluation, the 60,000 others for calibration and training; in seeded order.

    Raises `UserError` for a model of other labels, and for files that are not in the IDX format.
    """
    notes = check_labels(want.model, "fashion-mnist", "fashion-mnist")
    pictures, answers = files(argument, want)
    images, labels = _idx(pictures, 3), _idx(answers, 1)
    if len(images) != len(labels):
        raise UserError(f"{answers}: holds {len(labels)} labels for {len(images)} images; get both files anew")
    places = range(len(labels))
    if want.split != "evaluation":
        cut = len(labels) - min(_CALIBRATION, len(labels) // 6)
        places = places[cut:] if want.split == "calibration" else places[:cut]
    chosen = np.asarray(shuffled(places, want), dtype=np.intp)
    prepared = np.stack([_prepare(image, want.input) for image in images[chosen]])
    return Samples(images=prepared, labels=labels[chosen].astype(np.int64), classes=10, notes=notes)


def _find(argument: str, stem: str) -> Path:
    if argument:
        folder = Path(argument).expanduser()
        found = sorted(folder.glob(f"{stem}-idx*-ubyte*")) if folder.is_dir() else []
        if not found:
            raise UserError(f"{folder}: holds no {stem}-idx?-ubyte.gz; give the folder with Fashion-MNIST's four files")
        return found[0]
    listed = _LISTING.read_text(encoding="utf-8").splitlines() if _LISTING.is_file() else []
    for line in listed:
        if Path(line).name.startswith(f"{stem}-idx") and Path(line).is_file():
            return Path(line)
    raise UserError(
        "data fashion-mnist: Debian's package dataset-fashion-mnist is not installed; install it, "
        "or say fashion-mnist:DIR with the folder of the four files"
    )


def _idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format: magic, sizes (big-endian), data."""
    data = path.read_bytes()
    try:
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        kind, dimensions = struct.unpack_from(">HBB", data)[1:]
        sizes = struct.unpack_from(f">{rank}I", data, 4)
        if (kind, dimensions) != (8, rank):
            raise UserError(f"{path}: holds no {rank}-dimensional bytes; get the file anew")
        return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank).reshape(sizes)
    except (struct.error, ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: is no whole IDX file ({error}); get the file anew") from error


def _prepare(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    from PIL import Image

    picture = Image.fromarray(image).resize((spec.width, spec.height), sampling(spec))
    return normalise(np.repeat(pixels_of(picture), spec.channels, axis=0), spec)
