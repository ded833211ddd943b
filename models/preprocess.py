"""From a picture on disk to what a model takes: one reading, one resize rule, one normalisation for all of bakeoff."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .spec import InputSpec

__all__ = [
    "SUFFIXES",
    "centred",
    "image_files",
    "normalise",
    "open_image",
    "pixels_of",
    "resized",
    "sampling",
    "stretched",
]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
"""Names of files that count as images."""


def image_files(folder: Path) -> list[Path]:
    """The image files right in *folder*, in the order of their names; hidden ones are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def open_image(path: Path, channels: int) -> Any:
    """*path* as a PIL image in grey (1 channel) or RGB (else).

    Raises `UserError` naming the file where it is not to be read, cut short, or absurdly large.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as an image ({reason}); repair or remove it") from error


def sampling(spec: InputSpec) -> Any:
    """The interpolation of *spec* as PIL calls it."""
    from PIL import Image

    return Image.Resampling.BICUBIC if spec.resize.interpolation == "bicubic" else Image.Resampling.BILINEAR


def centred(image: Any, spec: InputSpec, height: int, width: int) -> Any:
    """A PIL *image* by the resize rule of *spec*: shorter side resized, then the centre of *height* x *width*."""
    image = resized(image, spec, height, width)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def resized(image: Any, spec: InputSpec, height: int, width: int) -> Any:
    """A PIL *image* with the margins that the resize rule of *spec* leaves around *height* x *width*."""
    rule = spec.resize
    # A model at another size than its rule's crop keeps the rule's share of the picture.
    shorter = max(round(rule.resize * min(height, width) / rule.crop), height, width)
    scale = shorter / min(image.size)
    size = (max(round(image.width * scale), width), max(round(image.height * scale), height))
    return image.resize(size, sampling(spec))


def stretched(image: Any, spec: InputSpec) -> Any:
    """A PIL *image* at the size of *spec*, whole, its proportions not kept: no box or mask is cut off."""
    return image.resize((spec.width, spec.height), sampling(spec))


def pixels_of(image: Any) -> NDArray[np.float32]:
    """A grey or RGB PIL *image* as (channels, height, width), values 0..1."""
    pixels = np.asarray(image, dtype=np.float32) / 255.0
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def normalise(pixels: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """*pixels* (..., channels, height, width), 0..1, less the mean of *spec*, over its deviation; float32."""
    channels = pixels.shape[-3]
    mean, std = _per_channel(spec.mean, channels), _per_channel(spec.std, channels)
    return ((pixels - mean) / std).astype(np.float32, copy=False)


def _per_channel(values: Sequence[float], channels: int) -> NDArray[np.float32]:
    fitted = values if len(values) == channels else [float(np.mean(values))] * channels
    return np.asarray(fitted, dtype=np.float32)[:, None, None]
