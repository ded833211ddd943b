"""Resize and Upsample.

Where torch's own interpolation computes the same weights it is used, because compilers know it; all else is done axis
by axis with an index (nearest) or a matrix product (linear, cubic).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .node import Converter, Function, OnnxNode, Step, Tensor, call, unsupported
from .resample import Axis, nearest_places, weights

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {"Resize": _resize, "Upsample": _upsample}


def _upsample(node: OnnxNode) -> Step:
    scales = node.attributes.get("scales") or _floats(node, 1)
    axes = _axes(node, scales, None, "asymmetric")
    mode = node.attribute("mode", "nearest")
    if mode == "nearest":
        return call(node, _nearest(axes, "floor"), 0)
    return call(node, _blend(node, axes, "linear"), 0)


def _resize(node: OnnxNode) -> Step:
    coordinates = node.attribute("coordinate_transformation_mode", "half_pixel")
    # Opset 10 had the input's place for scales where later ones have the region of interest.
    scales_at, default = (1, "asymmetric") if node.opset < 11 else (2, coordinates)
    sizes = node.ints(3, "sizes") if node.has(3) else None
    scales = _floats(node, scales_at) if sizes is None else None
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise unsupported(node, f"keep_aspect_ratio_policy {node.attribute('keep_aspect_ratio_policy', '')!r}")
    mode = node.attribute("mode", "nearest")
    try:
        axes = _axes(node, scales, sizes, default)
        if mode == "nearest":
            rounding = "floor" if node.opset < 11 else node.attribute("nearest_mode", "round_prefer_floor")
            return call(node, _nearest(axes, rounding), 0)
        return call(node, _blend(node, axes, mode), 0)
    except ValueError as error:
        raise unsupported(node, str(error)) from error


def _floats(node: OnnxNode, position: int) -> list[float]:
    return [float(value) for value in node.constant(position, "scales").reshape(-1).tolist()]


def _axes(node: OnnxNode, scales: list[float] | None, sizes: list[int] | None, coordinates: str) -> dict[int, Axis]:
    """The axes that change, by number."""
    shape = node.shape(0)
    numbers = [axis % len(shape) for axis in node.attribute("axes", list(range(len(shape))))]
    found: dict[int, Axis] = {}
    for i, number in enumerate(numbers):
        size = shape[number]
        target = sizes[i] if sizes is not None else math.floor(size * (scales or [])[i])
        scale = target / size if scales is None else scales[i]
        if target != size or scale != 1.0:
            found[number] = Axis(size=size, target=target, scale=scale, coordinates=coordinates)
    return found


def _nearest(axes: dict[int, Axis], rounding: str) -> Function:
    import torch

    places = {number: nearest_places(axis, rounding) for number, axis in axes.items()}
    for mode in ("nearest", "nearest-exact"):
        if _spatial(axes) and all(np.array_equal(places[n], _torch_nearest(axes[n], mode)) for n in axes):
            return partial(_interpolate, axes=axes, mode=mode)
    indices = {number: torch.from_numpy(place) for number, place in places.items()}

    def pick(x: Tensor) -> Tensor:
        for number, index in indices.items():
            x = x.index_select(number, index)
        return x

    return pick


def _torch_nearest(axis: Axis, mode: str) -> Any:
    import torch
    from torch.nn import functional

    ramp = torch.arange(axis.size, dtype=torch.float64).reshape(1, 1, -1)
    return functional.interpolate(ramp, size=axis.target, mode=mode).reshape(-1).long().numpy()


def _blend(node: OnnxNode, axes: dict[int, Axis], mode: str) -> Function:
    import torch

    if mode not in ("linear", "cubic"):
        raise unsupported(node, f"mode {mode!r}")
    matrices = {
        number: weights(
            axis,
            mode,
            cubic=node.attribute("cubic_coeff_a", -0.75),
            antialias=bool(node.attribute("antialias", 0)),
            exclude_outside=bool(node.attribute("exclude_outside", 0)),
        )
        for number, axis in axes.items()
    }
    names = {"linear": {3: "linear", 4: "bilinear", 5: "trilinear"}, "cubic": {4: "bicubic"}}[mode]
    native = names.get(len(node.shape(0)))
    for corners in (False, True):
        if native and _spatial(axes) and all(_same_weights(axes[n], matrices[n], mode, corners) for n in axes):
            return partial(_interpolate, axes=axes, mode=native, align_corners=corners)
    tensors = {number: torch.from_numpy(matrix) for number, matrix in matrices.items()}

    def mix(x: Tensor) -> Tensor:
        for number, matrix in tensors.items():
            x = (x.movedim(number, -1) @ matrix.t().to(x.dtype)).movedim(-1, number)
        return x

    return mix


def _spatial(axes: dict[int, Axis]) -> bool:
    return all(number >= 2 for number in axes)


def _same_weights(axis: Axis, matrix: Any, mode: str, corners: bool) -> bool:
    """Whether torch's interpolation of this axis has the weights *matrix*; found by interpolating unit vectors."""
    import torch
    from torch.nn import functional

    units = torch.eye(axis.size).reshape(1, axis.size, axis.size, 1)
    size = (axis.target, 1)
    torch_mode = "bilinear" if mode == "linear" else "bicubic"
    found = functional.interpolate(units, size=size, mode=torch_mode, align_corners=corners)
    return bool(np.allclose(found.reshape(axis.size, axis.target).t().numpy(), matrix, rtol=0, atol=1e-6))


def _interpolate(x: Tensor, *, axes: dict[int, Axis], mode: str, align_corners: bool | None = None) -> Tensor:
    from torch.nn import functional

    sizes = [axes[number].target if number in axes else x.shape[number] for number in range(2, x.dim())]
    return functional.interpolate(x, size=sizes, mode=mode, align_corners=align_corners)
