"""The nodes of an ONNX file as a graph of who reads whom, without their weights: for whoever maps time to nodes.

The file is read in a process of its own (see `nodes_worker`), so the parent never imports onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .child import call

__all__ = ["Node", "decode_nodes", "encode_nodes", "read_nodes"]

_LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node that depends on the graph's inputs; what is computed from weights or static shapes alone is none."""

    name: str
    """As in the file; unique."""
    op: str
    """Its operator, as ONNX calls it."""
    reads: tuple[int, ...]
    """Places, in the graph's order, of the nodes whose results it takes; each once."""
    output_shape: tuple[int, ...] | None
    """Of its first output; None where it is not static."""
    weight_shape: tuple[int, ...] | None
    """Of what it multiplies with, as stored, where that is constant; None for all others."""
    heavy: bool
    """A convolution or a product with constant weights: what holds nearly all of the arithmetic."""
    output: bool
    """Whether one of its results is an output of the graph."""
    repeats: int | None = None
    """Place of the first node that computes the very same, by its inputs, weights and attributes; None: it is the
    first."""
    resembles: int | None = None
    """Place of the first node that computes nearly the same: from the same input, by weights that hardly differ."""
    scope: str = ""
    """The module that it was exported from, "layer1.0.conv1"; "" where the file does not tell."""


def read_nodes(model: Path) -> tuple[Node, ...]:
    """The nodes of the ONNX file *model* in topological order.

    Raises `StageError` where the file cannot be read, or takes too long.
    """
    request = {"model": str(model), "cache": str(model.parent)}
    return decode_nodes(call("bakeoff.models.nodes_worker", request, timeout_s=_LIMIT_S, stage="profile"))


def encode_nodes(nodes: tuple[Node, ...]) -> dict[str, Any]:
    """*nodes* as JSON values."""
    return {"nodes": [asdict(node) for node in nodes]}


def decode_nodes(data: Mapping[str, Any]) -> tuple[Node, ...]:
    """The nodes that `encode_nodes` wrote."""
    return tuple(
        Node(
            **{
                **item,
                "reads": tuple(item["reads"]),
                "output_shape": _shape(item["output_shape"]),
                "weight_shape": _shape(item["weight_shape"]),
            }
        )
        for item in data["nodes"]
    )


def _shape(sizes: list[int] | None) -> tuple[int, ...] | None:
    return None if sizes is None else tuple(sizes)
