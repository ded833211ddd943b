"""Pictures with a class for each pixel, for segmentation: `images/NAME.*` and `masks/NAME.png` of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..preprocess import image_files, normalise, open_image, pixels_of, stretched
from .base import Samples, Want, shuffled

__all__ = ["files", "load"]

_SPLIT_SEED = 20


def files(argument: str, want: Want) -> Sequence[Path]:
    """The pictures of *want*, each followed by its mask. Raises `UserError` where a folder or a mask is missing."""
    root = Path(argument).expanduser()
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise UserError(f"{root / name}: no such folder; put pictures into images/ and their masks into masks/")
    images = image_files(root / "images")
    order = np.random.default_rng([_SPLIT_SEED, len(images)]).permutation(len(images))
    half = (len(images) + 1) // 2
    part = order[:half] if want.split == "evaluation" else order[half:]
    if len(part) == 0:
        raise UserError(f"{root / 'images'}: no image is left for {want.split}; add images")
    chosen = shuffled([images[place] for place in sorted(part)], want)
    pairs = [(image, root / "masks" / f"{image.stem}.png") for image in chosen]
    missing = next((mask for _, mask in pairs if not mask.is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: no such mask; each image needs one of its name, a PNG of class indices")
    return [path for pair in pairs for path in pair]


def load(argument: str, want: Want) -> Samples:
    """Pictures and masks stretched to the input, masks without mixing of classes.

    Half of the pictures (by their names, not by the run's seed) are for evaluation, the others for calibration. Raises
    `UserError` for a picture or mask that cannot be read, or a mask of another size or kind.
    """
    paths, spec = files(argument, want), want.input
    pixels = np.empty(spec.shape(len(paths) // 2), dtype=np.float32)
    masks = np.empty((len(paths) // 2, spec.height, spec.width), dtype=np.uint8)
    for place, (image, mask) in enumerate(zip(paths[::2], paths[1::2], strict=True)):
        picture = open_image(image, spec.channels)
        pixels[place] = normalise(pixels_of(stretched(picture, spec)), spec)
        masks[place] = _mask(mask, picture.size, (spec.width, spec.height))
    return Samples(images=pixels, task="segmentation", masks=masks)


def _mask(path: Path, size: tuple[int, int], wanted: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            opened.load()
            mask = opened.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); repair or remove it") from error
    # A palette holds indices too; what it looks like in colour says nothing.
    if mask.mode not in ("L", "P"):
        raise UserError(
            f"{path}: is a picture of mode {mask.mode}, not of class indices; save it with one byte a pixel"
        )
    if mask.size != size:
        raise UserError(f"{path}: is {mask.width}x{mask.height}, its image {size[0]}x{size[1]}; make them equal")
    return np.asarray(mask.resize(wanted, Image.Resampling.NEAREST), dtype=np.uint8)
