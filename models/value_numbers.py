"""Which values of an ONNX graph are the very same: equal operators on equal values. Child processes only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

__all__ = ["number_values"]

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_GRAPHS = (5, 10)
"""Kinds of attributes that hold graphs, whose values may come from anywhere outside."""


def number_values(graph: Any) -> dict[str, bytes]:
    """A number for each value of *graph*; two that are equal stand for values that are the same for every input."""
    found = {"": b""}
    found.update({value.name: _digest(b"input", value.name.encode()) for value in graph.input})
    found.update({tensor.name: _content(tensor) for tensor in graph.initializer})
    for node in graph.node:
        number = _operator(node, [found.get(name, name.encode()) for name in node.input])
        found.update({name: _digest(number, str(place).encode()) for place, name in enumerate(node.output) if name})
    return found


def _operator(node: Any, inputs: Sequence[bytes]) -> bytes:
    if node.op_type in _RANDOM or any(attribute.type in _GRAPHS for attribute in node.attribute):
        return _digest(b"only", *(name.encode() for name in node.output))
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    return _digest(node.domain.encode(), node.op_type.encode(), *attributes, b"of", *inputs)


def _content(tensor: Any) -> bytes:
    if tensor.external_data:
        where = sorted(f"{entry.key}={entry.value}" for entry in tensor.external_data)
        return _digest(b"external", *(entry.encode() for entry in where))
    shape = f"{tensor.data_type} {tuple(tensor.dims)}".encode()
    if tensor.HasField("raw_data"):
        return _digest(shape, tensor.raw_data)
    from onnx import numpy_helper

    return _digest(shape, numpy_helper.to_array(tensor).tobytes())


def _digest(*parts: bytes) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()
