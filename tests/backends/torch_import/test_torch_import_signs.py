"""Maxima of what is never negative: padded with zeros, to the same bits; others are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

_CONSTANTS = {
    "zero": np.float32(0),
    "six": np.float32(6),
    "below": np.float32(-1),
    "scale": np.float32(0.02),
    "middle": np.uint8(128),
    "first": np.uint8(0),
    "lowest": np.int8(-128),
}

_WINDOW: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def _chain(*steps: Any) -> list[Any]:
    """Nodes one behind the other: an operator, or (operator, further inputs)."""
    nodes, at = [], "x"
    for place, step in enumerate(steps):
        op, *further = step if isinstance(step, tuple) else (step,)
        nodes.append(helper.make_node(op, [at, *further], [f"v{place}"], name=f"n{place}"))
        at = f"v{place}"
    return [*nodes, helper.make_node("Identity", [at], ["source"], name="last")]


def _rounded(zero: str, after: str = "") -> list[Any]:
    return [("QuantizeLinear", "scale", zero), ("DequantizeLinear", "scale", after or zero)]


def _joined(*others: str) -> list[Any]:
    relu = helper.make_node("Relu", ["x"], ["r"], name="relu")
    return [relu, helper.make_node("Concat", ["r", *others], ["source"], name="join", axis=1)]


_NEVER_NEGATIVE = {
    "relu": _chain("Relu"),
    "clip": _chain(("Clip", "zero", "six")),
    "one bound": _chain(("Clip", "zero")),
    "rounded": _chain("Relu", *_rounded("middle")),
    "by the lowest level": _chain(*_rounded("first")),
    "by the lowest signed level": _chain(*_rounded("lowest")),
    "joined": _joined("r"),
}

_MAYBE_NEGATIVE = {
    "input": _chain(),
    "leaky": _chain("LeakyRelu"),
    "before": _chain("Relu", "Neg"),
    "clip": _chain(("Clip", "below", "six")),
    "upper bound": _chain(("Clip", "", "six")),
    "bounds in disorder": _chain(("Clip", "zero", "below")),
    "rounded": _chain(*_rounded("middle")),
    "zero points that differ": _chain("Relu", *_rounded("first", "middle")),
    "joined": _joined("x"),
}


def _model(nodes: Sequence[Any], path: Path, window: dict[str, Any], size: int = 9) -> Path:
    pool = helper.make_node("MaxPool", ["source"], ["y"], name="pool", **window)
    feeds = [helper.make_tensor_value_info("x", 1, [1, 4, size, size])]
    results = [helper.make_tensor_value_info("y", 1, None)]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in _CONSTANTS.items()]
    graph = helper.make_graph([*nodes, pool], "g", feeds, results, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def _both(path: Path, size: int = 9) -> tuple[list[np.ndarray], list[bool]]:
    """Outputs of the model as it is and with zeros for pads, and whether each pads in an operator of its own."""
    import torch
    from bakeoff.backends.torch_import import import_onnx
    from torch.utils._python_dispatch import TorchDispatchMode

    class Calls(TorchDispatchMode):
        """Notes the operators that run."""

        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    feed = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 4, size, size)).astype(np.float32))
    outputs, pads = [], []
    for zero_pads in (False, True):
        module = import_onnx(path, zero_pads=zero_pads).module
        with torch.no_grad(), Calls() as calls:
            outputs.append(module(feed)[0].numpy())
        assert any("max_pool2d" in name for name in calls.names)
        pads.append(any("constant_pad" in name for name in calls.names))
    return outputs, pads


@pytest.mark.parametrize("name", _NEVER_NEGATIVE)
def test_zeros_pad_what_is_never_negative(name: str, tmp_path: Path) -> None:
    """In an operator in front, to the same bits."""
    outputs, pads = _both(_model(_NEVER_NEGATIVE[name], tmp_path / "model.onnx", _WINDOW))

    assert [False, True] == pads
    np.testing.assert_array_equal(*outputs, strict=True)


@pytest.mark.parametrize("name", _MAYBE_NEGATIVE)
def test_what_may_be_negative_is_left_alone(name: str, tmp_path: Path) -> None:
    """Zeros would be the maximum where all else is below."""
    outputs, pads = _both(_model(_MAYBE_NEGATIVE[name], tmp_path / "model.onnx", _WINDOW))

    assert [False, False] == pads
    np.testing.assert_array_equal(*outputs, strict=True)


@pytest.mark.parametrize(
    ("window", "padded"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, False),
        ({"kernel_shape": [3, 3], "strides": [2, 2]}, False),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, True),
        ({"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, True),
        ({"kernel_shape": [3, 2], "strides": [1, 3], "pads": [0, 1, 2, 0]}, True),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [8, 9])
def test_only_what_windows_reach_is_padded(window: dict[str, Any], padded: bool, size: int, tmp_path: Path) -> None:
    """Any window gives the same bits; one that needs no padding gets none."""
    outputs, (_, pads) = _both(_model(_chain("Relu"), tmp_path / "model.onnx", window, size), size)

    np.testing.assert_array_equal(*outputs, strict=True)
    assert pads == (padded and not (window.get("ceil_mode") and size == 8))


def test_pads_with_gaps_are_left_alone(tmp_path: Path) -> None:
    """With dilation a window may miss all of the input: its maximum is no number of the input then."""
    window = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [2, 2], "pads": [1, 1, 1, 1]}
    outputs, pads = _both(_model(_chain("Relu"), tmp_path / "model.onnx", window))

    assert [False, False] == pads
    np.testing.assert_array_equal(*outputs, strict=True)
