"""The arithmetic of ONNX's Resize: which input pixels, with which weights, make each output pixel of one axis.

Follows the specification of the operator Resize (opset 19) for each axis by itself; the axes are independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Axis", "nearest_places", "weights"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How one axis of *size* pixels becomes *target* pixels."""

    size: int
    target: int
    scale: float
    """As the model gives it; not always target over size."""
    coordinates: str
    """ONNX's coordinate_transformation_mode."""

    def source(self) -> NDArray[np.float64]:
        """Position in the input of each output pixel. Raises `ValueError` for a mode that is not known."""
        at = np.arange(self.target, dtype=np.float64)
        match self.coordinates:
            case "half_pixel":
                return (at + 0.5) / self.scale - 0.5
            case "half_pixel_symmetric":
                # Keeps the centre where it is although the output size was rounded down.
                adjust = self.target / (self.scale * self.size)
                return (self.size / 2) * (1 - adjust) + (at + 0.5) / self.scale - 0.5
            case "pytorch_half_pixel":
                return (at + 0.5) / self.scale - 0.5 if self.target > 1 else np.zeros(1)
            case "align_corners":
                return at * (self.size - 1) / (self.target - 1) if self.target > 1 else np.zeros(self.target)
            case "asymmetric":
                return at / self.scale
            case "tf_half_pixel_for_nn":
                return (at + 0.5) / self.scale
        raise ValueError(f"coordinate_transformation_mode {self.coordinates!r}")


def nearest_places(axis: Axis, rounding: str) -> NDArray[np.int64]:
    """The input pixel that each output pixel copies. Raises `ValueError` for an unknown *rounding*."""
    source = axis.source()
    match rounding:
        case "round_prefer_floor":
            rounded = np.ceil(source - 0.5)
        case "round_prefer_ceil":
            rounded = np.floor(source + 0.5)
        case "floor":
            rounded = np.floor(source)
        case "ceil":
            rounded = np.ceil(source)
        case _:
            raise ValueError(f"nearest_mode {rounding!r}")
    return np.clip(rounded, 0, axis.size - 1).astype(np.int64)


def weights(axis: Axis, mode: str, *, cubic: float, antialias: bool, exclude_outside: bool) -> NDArray[np.float32]:
    """Matrix (target, size) whose product with the pixels of an axis interpolates them, for "linear" or "cubic".

    *cubic* is the coefficient of the cubic kernel; with *antialias* the kernel is stretched when shrinking.
    """
    stretch = max(1.0, 1.0 / axis.scale) if antialias else 1.0
    reach = (1.0 if mode == "linear" else 2.0) * stretch
    matrix = np.zeros((axis.target, axis.size))
    for row, centre in enumerate(axis.source()):
        places = np.arange(math.floor(centre - reach) + 1, math.ceil(centre + reach))
        distances = np.abs(places - centre) / stretch
        kernel = np.maximum(0, 1 - distances) if mode == "linear" else _cubic(distances, cubic)
        if exclude_outside:
            kernel = np.where((places >= 0) & (places < axis.size), kernel, 0)
        if antialias or exclude_outside:
            kernel = kernel / kernel.sum()
        np.add.at(matrix[row], np.clip(places, 0, axis.size - 1), kernel)
    return matrix.astype(np.float32)


def _cubic(x: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel at distances *x* >= 0, coefficient *a* (Keys 1981)."""
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
