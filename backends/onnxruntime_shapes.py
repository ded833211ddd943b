"""Shapes of what ONNX Runtime's kernels make, in the ONNX file's order of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .profile_axes import CHANNELS_LAST, Axes, kept, onnx_shape, plain, transposed
from .profile_graph import ProfiledGraph

__all__ = ["Shapes"]

_BLOCKED = "com.microsoft.nchwc"
"""Domain of the operators on channels in blocks."""

_REARRANGING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


class Shapes:
    """Follows through the optimized graph which axis of a value is which of the ONNX file's, node by node."""

    def __init__(self, graph: ProfiledGraph) -> None:
        self._graph = graph
        self._axes: dict[str, Axes] = {}
        """By value; absent where they are as in the ONNX file."""
        self._channels: dict[str, int] = {}
        """Channels of a value in blocks, less those that pad it."""

    def output_of(
        self, node: Any, shapes: Sequence[tuple[int, ...]], weight_shape: tuple[int, ...] | None
    ) -> tuple[int, ...] | None:
        """Shape of the first output of *node*, which the profiler saw make *shapes*; None where it cannot be told.

        Nodes have to come in order of execution.
        """
        attributes = {item.name: item for item in node.attribute}
        if not shapes:
            return None
        if node.domain == _BLOCKED:
            return self._from_blocks(node, shapes[0], attributes, weight_shape)
        axes = self._axes_of(node, len(shapes[0]), attributes)
        for value in node.output:
            # A value that kept its name kept its meaning too.
            if axes != plain(len(shapes[0])) and value not in self._graph.maker:
                self._axes[value] = axes
        if node.output[0] not in self._axes:
            return shapes[0]
        return onnx_shape(shapes[0], axes)

    def _from_blocks(
        self, node: Any, shape: tuple[int, ...], attributes: Mapping[str, Any], weight_shape: tuple[int, ...] | None
    ) -> tuple[int, ...] | None:
        if node.op_type == "ReorderOutput":
            if "channels_last" in attributes and attributes["channels_last"].i:
                self._axes[node.output[0]] = CHANNELS_LAST
                return (shape[0], shape[3], shape[1], shape[2])
            return shape
        channels = weight_shape[0] if node.op_type == "Conv" and weight_shape else self._channels.get(node.input[0])
        if channels is None:
            return None
        self._channels[node.output[0]] = channels
        return (shape[0], channels, *shape[2:])

    def _axes_of(self, node: Any, rank: int, attributes: Mapping[str, Any]) -> Axes:
        if (attributes["channels_last"].i if "channels_last" in attributes else 0) or node.op_type.startswith("Nhwc"):
            return CHANNELS_LAST if rank == len(CHANNELS_LAST) else None
        if node.op_type == "Transpose":
            permutation = tuple(attributes["perm"].ints) if "perm" in attributes else None
            before = self._axes.get(node.input[0], plain(rank))
            return transposed(before, permutation, of_the_file=node.name in self._graph.nodes)
        given = [self._axes[value] for value in node.input if value in self._axes]
        return kept(given, rank, arranges=node.op_type in _REARRANGING)
