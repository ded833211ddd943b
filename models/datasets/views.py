"""Ten views of each photograph, as classifiers of ImageNet are tested: "we extract five 224 x 224 patches (the four
corner patches and the center patch) as well as their horizontal reflections" of the picture, resized so that the
shorter side is 256, and cut to its central square (Krizhevsky et al., "ImageNet Classification with Deep Convolutional
Neural Networks", NIPS 2012). Sizes are those of the model's own resize rule.

They show all of a photograph but its margins, so that a net knows what it sees wherever it would know the whole. Ten
views of one photograph are far from independent: `Samples.pictures` says how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..preprocess import normalise, open_image, pixels_of, resized
from ..spec import InputSpec
from .base import Want, fitting

__all__ = ["ten_views"]

_CENTRE = (0, 0)
_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))


def ten_views(paths: Sequence[Path], want: Want) -> NDArray[np.float32]:
    """At most *want.count* views of the photographs *paths*, (N, C, H, W), normalised.

    First the centre of each, which is what `photographs` gives, then the mirror image of each, and so on: image i is
    of photograph i modulo their number. Only those two where the model's rule leaves no margin. Raises `UserError`
    naming the first that cannot be read.
    """
    spec = want.input
    places = _places(spec)
    count = min(fitting(want), len(places) * len(paths))
    images = np.empty(spec.shape(count), dtype=np.float32)
    for number, path in enumerate(paths[:count]):
        picture = resized(open_image(path, spec.channels), spec, spec.height, spec.width)
        for row, place in zip(range(number, count, len(paths)), places, strict=False):
            images[row] = normalise(pixels_of(_cut(picture, spec, *place)), spec)
    return images


def _places(spec: InputSpec) -> list[tuple[int, int, bool]]:
    """Where each view lies, from -1 (left, top) to 1, and whether it is mirrored."""
    spots = [_CENTRE, *_CORNERS] if spec.resize.resize > spec.resize.crop else [_CENTRE]
    return [(*spot, mirrored) for spot in spots for mirrored in (False, True)]


def _cut(picture: Any, spec: InputSpec, across: int, down: int, mirrored: bool) -> Any:
    from PIL import Image

    # The central square: what a rule cuts off the longer side of a photograph is no part of any view.
    shorter = min(spec.height, spec.width)
    margin = (round(spec.resize.resize * shorter / spec.resize.crop) - shorter) // 2
    spare_x, spare_y = picture.width - spec.width, picture.height - spec.height
    left = spare_x // 2 + across * min(margin, spare_x // 2)
    top = spare_y // 2 + down * min(margin, spare_y // 2)
    part = picture.crop((left, top, left + spec.width, top + spec.height))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else part
