"""Constants, shapes as values, casts, and nodes that pass their input on."""

from __future__ import annotations

from typing import Any

from .dtypes import torch_dtype
from .node import Converter, OnnxNode, Step, Tensor, call, unsupported

__all__ = ["converters"]


def converters() -> dict[str, Converter]:
    """The operators of this group."""
    return {
        "Cast": _cast,
        "CastLike": _cast_like,
        "Constant": _constant,
        "ConstantOfShape": _constant_of_shape,
        "Dropout": _dropout,
        "Identity": lambda node: call(node, _same, 0),
        "Range": _range,
        "Shape": _shape,
        "Size": _size,
    }


def _same(x: Tensor) -> Tensor:
    return x


def _given(node: OnnxNode, value: Tensor) -> Step:
    """A step without inputs, which the importer folds to *value*."""
    return call(node, lambda: value)


def _cast(node: OnnxNode) -> Step:
    try:
        dtype = torch_dtype(node.attribute("to", 0))
    except ValueError as error:
        raise unsupported(node, str(error)) from error
    return call(node, lambda x: x.to(dtype), 0)


def _cast_like(node: OnnxNode) -> Step:
    return call(node, lambda x, like: x.to(like.dtype), 0, 1)


def _constant(node: OnnxNode) -> Step:
    import torch

    (kind, value), *_ = node.attributes.items()
    if kind == "value":
        return _given(node, value)
    dtypes: dict[str, Any] = {
        "value_float": torch.float32,
        "value_floats": torch.float32,
        "value_int": torch.int64,
        "value_ints": torch.int64,
    }
    if kind not in dtypes:
        raise unsupported(node, f"a constant given as {kind}")
    return _given(node, torch.tensor(value, dtype=dtypes[kind]))


def _constant_of_shape(node: OnnxNode) -> Step:
    import torch

    shape = node.ints(0, "shape")
    return _given(node, node.attribute("value", torch.zeros(1)).reshape(()).expand(shape).clone())


def _dropout(node: OnnxNode) -> Step:
    import torch

    if node.has(2) and bool(node.constant(2, "training_mode")):
        raise unsupported(node, "training mode")
    if node.wants(1):
        return call(node, lambda x: (x, torch.ones_like(x, dtype=torch.bool)), 0, many=True)
    return call(node, _same, 0)


def _range(node: OnnxNode) -> Step:
    import torch

    start, limit, delta = (node.constant(i, what) for i, what in enumerate(("start", "limit", "delta")))
    return _given(node, torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype))


def _shape(node: OnnxNode) -> Step:
    import torch

    sizes = list(node.shape(0))[node.attribute("start", 0) : node.attributes.get("end")]
    return _given(node, torch.tensor(sizes, dtype=torch.int64))


def _size(node: OnnxNode) -> Step:
    import math

    import torch

    return _given(node, torch.tensor(math.prod(node.shape(0)), dtype=torch.int64))
