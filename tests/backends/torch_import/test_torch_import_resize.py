"""Resize and Upsample in all their modes, against onnx's reference evaluator or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

_X = np.random.default_rng(3).standard_normal((1, 2, 5, 6)).astype(np.float32)

_COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
_SCALES = ((2.0, 2.0), (0.6, 1.5), (1.3, 0.5))


def _graph(graph_type: Any, x: np.ndarray, constants: dict[str, np.ndarray], op: str, opset: int, **attrs: Any) -> Any:
    names = ["x", *constants]
    inputs = ["x", "", "scales"] if opset >= 11 and "scales" in constants else names
    if "sizes" in constants:
        inputs = ["x", "", "", "sizes"]
    node = helper.make_node(op, inputs, ["y"], name="resize", **attrs)
    return graph_type(nodes=[node], feeds={"x": x}, constants=constants, opset=opset)


def _same(expected: np.ndarray, got: np.ndarray, atol: float = 5e-6) -> None:
    assert expected.shape == got.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.fixture(scope="session")
def compare(graph_type: Any, reference: Callable[..., Any], imported: Callable[..., Any]) -> Callable[..., None]:
    """Build a graph of one node, run it both ways, compare."""

    def run(op: str, constants: dict[str, np.ndarray], by: str, opset: int = 19, x: np.ndarray = _X, **a: Any) -> None:
        graph = _graph(graph_type, x, constants, op, opset, **a)
        _same(reference(graph, by)[0], imported(graph)[0])

    return run


def _authority(coordinates: str) -> str:
    # Here the reference evaluator departs from the specification's formulas, where sizes are not multiples or are 1.
    return "onnxruntime" if coordinates in ("align_corners", "pytorch_half_pixel") else "onnx"


@pytest.mark.parametrize("scales", _SCALES)
@pytest.mark.parametrize("coordinates", _COORDINATES)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_scales(mode: str, coordinates: str, scales: tuple[float, float], compare: Any) -> None:
    """Each mode in each coordinate system, up and down, by scales that do not divide the sizes."""
    constants = {"scales": np.array([1.0, 1.0, *scales], np.float32)}

    compare("Resize", constants, _authority(coordinates), mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("sizes", [(10, 12), (3, 4), (7, 6), (1, 1)])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_sizes(mode: str, coordinates: str, sizes: tuple[int, int], compare: Any) -> None:
    """Each mode by the output's sizes."""
    constants = {"sizes": np.array([1, 2, *sizes], np.int64)}

    compare("Resize", constants, _authority(coordinates), mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_nearest_rounding(rounding: str, coordinates: str, compare: Any) -> None:
    """Each way of rounding to the nearest pixel."""
    constants = {"scales": np.array([1.0, 1.0, 2.0, 1.6], np.float32)}

    compare("Resize", constants, "onnx", nearest_mode=rounding, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("attributes", [{"exclude_outside": 1}, {"cubic_coeff_a": -0.5}, {"antialias": 1}], ids=str)
def test_cubic_settings(attributes: dict[str, Any], compare: Any) -> None:
    """The cubic kernel's coefficient, its edge and its stretching."""
    constants = {"scales": np.array([1.0, 1.0, 0.6, 0.5], np.float32)}

    compare("Resize", constants, "onnx", mode="cubic", **attributes)


def test_linear_antialias(compare: Any) -> None:
    """Antialiasing averages over all pixels that shrink into one."""
    constants = {"scales": np.array([1.0, 1.0, 0.4, 0.5], np.float32)}

    compare("Resize", constants, "onnx", mode="linear", antialias=1)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_named_axes(mode: str, compare: Any) -> None:
    """Scales for named axes only."""
    constants = {"scales": np.array([2.0], np.float32)}

    compare("Resize", constants, "onnx", mode=mode, axes=[3])


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_forms(op: str, opset: int, mode: str, compare: Any) -> None:
    """Upsample, and Resize as it was before opset 11."""
    constants = {"scale": np.array([1.0, 1.0, 2.0, 2.0], np.float32)}

    compare(op, constants, "onnxruntime", opset, mode=mode)


def test_one_spatial_axis(compare: Any) -> None:
    """A signal of one axis is interpolated like an image."""
    constants = {"scales": np.array([1.0, 1.0, 2.0], np.float32)}

    compare("Resize", constants, "onnx", x=_X[:, :, 0], mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_torch_interpolates_what_it_can(mode: str, graph_type: Any, imported_module: Any) -> None:
    """Doubling an image is left to torch's own kernel, which compilers know."""
    constants = {"scales": np.array([1.0, 1.0, 2.0, 2.0], np.float32)}
    graph = _graph(graph_type, _X, constants, "Resize", 19, mode=mode)

    function = imported_module(graph).module.get_submodule("resize").function

    assert "_interpolate" == function.func.__name__
