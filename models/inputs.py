"""Inputs to measure and compare with: several different ones, from a seed or from a folder of photographs.

Random images have the 1/f amplitude spectrum of natural scenes (Field, 1987), because white noise is an input that no
vision model was made for: its activations are unlike those of photographs, and so is the sparsity after ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import UserError
from .preprocess import SUFFIXES, centred, image_files, normalise, open_image, pixels_of
from .spec import InputSpec, TensorSpec

__all__ = ["make_inputs", "natural_image"]

_IMAGENET = InputSpec()


def make_inputs(
    tensors: Sequence[TensorSpec], spec: InputSpec | None, count: int, seed: int, images: Path | None
) -> list[tuple[NDArray[np.generic], ...]]:
    """Make *count* different inputs for a graph whose inputs are *tensors*; each is one C-contiguous array a tensor.

    Images (rank 4, floating, 1 or 3 channels in second place) come from the folder *images*, in the order of their
    names and over again if there are too few, or are drawn from *seed*; both pass through the mean and standard
    deviation of *spec* (ImageNet's where it is None). Other floating tensors are standard normal; 8-bit
    integers span their range; wider integers are 0 or 1, which is valid as an index or a mask; booleans are coins.

    Raises `UserError` for a folder without images, an unreadable image, or *images* for a model that takes none.
    """
    photos = _photos(images) if images is not None else []
    if photos and not any(_channels(tensor) for tensor in tensors):
        raise UserError(f"{images}: the model has no image input (N x 1 or 3 x H x W, floating); leave the folder out")
    return [
        tuple(
            _one(tensor, spec or _IMAGENET, np.random.default_rng([seed, index, place]), photos, index)
            for place, tensor in enumerate(tensors)
        )
        for index in range(count)
    ]


def natural_image(rng: np.random.Generator, channels: int, height: int, width: int) -> NDArray[np.float32]:
    """One random image, (channels, height, width), values 0..1, with a 1/f amplitude spectrum.

    Channels share most of their structure, as those of photographs do; brightness, contrast and tint vary.
    """
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = 1.0 / np.maximum(radius, 1.0 / max(height, width))
    phases = rng.standard_normal((2, channels + 1, height, width // 2 + 1), dtype=np.float32)
    fields = np.fft.irfft2((phases[0] + 1j * phases[1]) * amplitude, s=(height, width))
    fields -= fields.mean(axis=(1, 2), keepdims=True)
    fields /= np.maximum(fields.std(axis=(1, 2), keepdims=True), 1e-12)
    contrast = rng.uniform(0.15, 0.3)
    tint = 0.5 + rng.normal(0.0, 0.1, (channels, 1, 1))
    return np.clip(tint + contrast * (0.9 * fields[:1] + 0.4 * fields[1:]), 0.0, 1.0).astype(np.float32)


def _channels(tensor: TensorSpec) -> int:
    """Channels of an image tensor; 0 where *tensor* is none."""
    is_image = len(tensor.shape) == 4 and tensor.shape[1] in (1, 3) and "float" in tensor.dtype
    return tensor.shape[1] if is_image else 0


def _one(
    tensor: TensorSpec, spec: InputSpec, rng: np.random.Generator, photos: Sequence[Path], index: int
) -> NDArray[np.generic]:
    if _channels(tensor):
        made = _images(tensor.shape, spec, rng, photos, index)
    elif "float" in tensor.dtype:
        made = rng.standard_normal(tensor.shape)
    elif tensor.dtype in ("int8", "uint8"):
        low = -128 if tensor.dtype == "int8" else 0
        made = rng.integers(low, low + 256, tensor.shape)
    else:
        made = rng.integers(0, 2, tensor.shape)
    return np.asarray(made, dtype=tensor.dtype, order="C")


def _images(
    shape: tuple[int, ...], spec: InputSpec, rng: np.random.Generator, photos: Sequence[Path], index: int
) -> NDArray[np.generic]:
    batch, channels, height, width = shape
    if photos:
        first = index * batch
        pixels = [_photo(photos[(first + i) % len(photos)], spec, channels, (height, width)) for i in range(batch)]
    else:
        pixels = [natural_image(rng, channels, height, width) for _ in range(batch)]
    return normalise(np.stack(pixels), spec)


def _photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images; give a folder that holds JPEG or PNG files")
    found = image_files(folder)
    if not found:
        raise UserError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); give a folder that does")
    return found


def _photo(path: Path, spec: InputSpec, channels: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """*path* by the resize rule of *spec*, (channels, height, width), values 0..1."""
    return pixels_of(centred(open_image(path, channels), spec, *size))
