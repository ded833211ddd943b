"""Convolution and pooling over all kinds of geometry, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import helper

Reference = Callable[[Any, str], list[np.ndarray]]
Imported = Callable[[Any], list[np.ndarray]]

# Examples are drawn the same way each time, and none is judged by how long it takes.
_settings = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)

_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@st.composite
def _windows(draw: st.DrawFn, *, dilated: bool = True) -> dict[str, Any]:
    """Attributes of a window over 1 to 3 axes."""
    axes = draw(st.integers(1, 3))

    def each(low: int, high: int, count: int = axes) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    window: dict[str, Any] = {"kernel_shape": each(1, 4), "strides": each(1, 3)}
    if dilated:
        window["dilations"] = each(1, 2)
    auto = draw(st.sampled_from(_PADS))
    if auto != "NOTSET":
        return {**window, "auto_pad": auto}
    return {**window, "pads": each(0, 3, 2 * axes)}


def _check(
    op: str, inputs: dict[str, np.ndarray], constants: dict[str, np.ndarray], attributes: dict[str, Any], run: Any
) -> None:
    graph_type, reference, imported = run
    node = helper.make_node(op, [*inputs, *constants], ["y"], name="node", **attributes)
    graph = graph_type(nodes=[node], feeds=inputs, constants=constants)
    expected, got = reference(graph, "onnxruntime")[0], imported(graph)[0]
    assert expected.shape == got.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-6 * max(1.0, float(np.abs(expected).max(initial=0))))


@pytest.fixture(scope="session")
def run(graph_type: Any, reference: Reference, imported: Imported) -> tuple[Any, Reference, Imported]:
    """How `_check` runs a graph."""
    return graph_type, reference, imported


def _fits(window: dict[str, Any], sizes: list[int]) -> bool:
    """Whether at least one window fits on each axis."""
    axes = len(sizes)
    pads = window.get("pads", [0] * (2 * axes))
    if window.get("auto_pad", "NOTSET").startswith("SAME"):
        return True
    dilations = window.get("dilations", [1] * axes)
    spans = [d * (k - 1) + 1 for k, d in zip(window["kernel_shape"], dilations, strict=True)]
    return all(size + pads[i] + pads[i + axes] >= spans[i] for i, size in enumerate(sizes))


def _poolable(window: dict[str, Any]) -> bool:
    """Whether ONNX Runtime takes the window for pooling: each one has to overlap the input."""
    kernel = window["kernel_shape"]
    if window.get("auto_pad", "NOTSET").startswith("SAME"):
        return all(stride <= size for stride, size in zip(window["strides"], kernel, strict=True))
    return all(pad < size for pad, size in zip(window.get("pads", []), kernel * 2, strict=False))


@_settings
@given(window=_windows(), sizes=st.lists(st.integers(3, 8), min_size=3, max_size=3), groups=st.sampled_from([1, 2, 4]))
def test_convolution(window: dict[str, Any], sizes: list[int], groups: int, run: Any) -> None:
    """Any stride, dilation, padding (asymmetric and automatic too) and grouping convolves as ONNX Runtime does."""
    sizes = sizes[: len(window["kernel_shape"])]
    assume(_fits(window, sizes))
    # ONNX Runtime refuses automatic padding with dilation.
    assume("auto_pad" not in window or set(window["dilations"]) == {1} or window["auto_pad"] == "VALID")
    constants = {"w": _floats(8, 4 // groups, *window["kernel_shape"]), "b": _floats(8)}

    _check("Conv", {"x": _floats(2, 4, *sizes)}, constants, {**window, "group": groups}, run)


@_settings
@given(
    window=_windows(dilated=False),
    sizes=st.lists(st.integers(3, 8), min_size=3, max_size=3),
    ceil=st.booleans(),
)
def test_max_pool(window: dict[str, Any], sizes: list[int], ceil: bool, run: Any) -> None:
    """Any window takes the maximum as ONNX Runtime does, with output sizes rounded either way."""
    sizes = sizes[: len(window["kernel_shape"])]
    assume(_fits(window, sizes))
    assume(_poolable(window))

    _check("MaxPool", {"x": _floats(1, 2, *sizes)}, {}, {**window, "ceil_mode": int(ceil)}, run)


@_settings
@given(
    window=_windows(dilated=False),
    sizes=st.lists(st.integers(3, 8), min_size=3, max_size=3),
    ceil=st.booleans(),
    include=st.booleans(),
)
def test_average_pool(window: dict[str, Any], sizes: list[int], ceil: bool, include: bool, run: Any) -> None:
    """Any window averages as ONNX Runtime does, padding counted or not."""
    sizes = sizes[: len(window["kernel_shape"])]
    assume(_fits(window, sizes))
    assume(_poolable(window))

    attributes = {**window, "ceil_mode": int(ceil), "count_include_pad": int(include)}
    _check("AveragePool", {"x": _floats(1, 2, *sizes)}, {}, attributes, run)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_dilated_pooling(op: str, include: int, run: Any) -> None:
    """Pooling knows dilation, with padding on one side only."""
    attributes: dict[str, Any] = {"kernel_shape": [2, 3], "dilations": [2, 1], "strides": [1, 2], "pads": [1, 0, 0, 1]}
    if op == "AveragePool":
        attributes["count_include_pad"] = include

    _check(op, {"x": _floats(1, 2, 6, 7)}, {}, attributes, run)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pooling(op: str, axes: int, run: Any) -> None:
    """Global pooling keeps the axes with size 1."""
    _check(op, {"x": _floats(2, 3, *[4, 5, 3][:axes])}, {}, {}, run)


_TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"strides": [2, 3]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"strides": [2, 2], "pads": [0, 1, 1, 2]},
    {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
    {"dilations": [2, 1], "group": 2},
    {"strides": [2, 2], "output_shape": [10, 9]},
    {"strides": [2, 2], "output_shape": [9, 10], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 3], "auto_pad": "SAME_UPPER"},
    {"strides": [3, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("attributes", _TRANSPOSED, ids=str)
def test_transposed_convolution(attributes: dict[str, Any], bias: bool, run: Any) -> None:
    """Strides, pads, output_padding, output_shape, auto_pad and groups spread as ONNX Runtime does."""
    constants = {"w": _floats(4, 3, 3, 3)} | ({"b": _floats(3 * attributes.get("group", 1))} if bias else {})

    _check("ConvTranspose", {"x": _floats(2, 4, 4, 5)}, constants, attributes, run)


@pytest.mark.parametrize("axes", [1, 3])
def test_transposed_convolution_over_other_axes(axes: int, run: Any) -> None:
    """One and three spatial axes work as two do."""
    constants = {"w": _floats(2, 3, *[3] * axes)}

    _check("ConvTranspose", {"x": _floats(1, 2, *[4] * axes)}, constants, {"strides": [2] * axes}, run)


def test_convolution_with_computed_weight(run: Any) -> None:
    """A weight that is an input of the graph is convolved all the same."""
    inputs = {"x": _floats(1, 2, 5, 5), "w": _floats(3, 2, 3, 3)}

    _check("Conv", inputs, {}, {"pads": [1, 1, 1, 1]}, run)
