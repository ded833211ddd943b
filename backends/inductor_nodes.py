"""What the nodes that Inductor compiles are of the ONNX file, looked up while it compiles.

Each node of the ONNX file is a module of its name in what is exported, and torch notes for each node of its graphs which
module it is of. Where Inductor fuses a convolution with what follows, only the name of the last is left; the convolution
is known by its weight, which was its own before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

__all__ = ["GraphNode", "Watched", "watching"]


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """A node of the graph, after all of Inductor's passes over it."""

    name: str
    onnx_nodes: tuple[str, ...]
    """The nodes of the ONNX file that it is of, a convolution or product first."""
    shape: tuple[int, ...] | None
    weight_shape: tuple[int, ...] | None
    """Of the constant that it multiplies with."""
    dtype: str
    """Of that constant, as torch calls it; "" without one."""


@dataclass(kw_only=True)
class Watched:
    """What was seen."""

    owners: dict[str, str] = field(default_factory=dict)
    """ONNX node by the constant that it multiplies with."""
    nodes: list[GraphNode] = field(default_factory=list)
    """In order."""


def watching(onnx_names: Mapping[str, str]) -> tuple[dict[str, Any], Watched]:
    """Settings for Inductor, and what is seen by them; *onnx_names* as in `torch_import.Imported`."""
    from torch._inductor.custom_graph_pass import CustomGraphPass

    seen = Watched()

    class Before(CustomGraphPass):  # type: ignore[misc]
        def __call__(self, graph: Any) -> None:
            for node in graph.nodes:
                name, weight = _onnx_name(node, onnx_names), _weight(node)
                if name and weight is not None:
                    seen.owners[weight.target] = name

        def uuid(self) -> None:
            return None

    class After(CustomGraphPass):  # type: ignore[misc]
        def __call__(self, graph: Any) -> None:
            seen.nodes = [_described(node, seen.owners, onnx_names) for node in graph.nodes if _calls(node)]

        def uuid(self) -> None:
            return None

    settings = {
        "cpp.enable_kernel_profile": True,
        "trace.provenance_tracking_level": 1,
        "post_grad_custom_pre_pass": Before(),
        "post_grad_custom_post_pass": After(),
    }
    return settings, seen


def _described(node: Any, owners: Mapping[str, str], onnx_names: Mapping[str, str]) -> GraphNode:
    weight = _weight(node)
    constant = None if weight is None else attrgetter(weight.target)(node.graph.owning_module)
    names = [owners.get(weight.target, "")] if weight is not None else []
    value = node.meta.get("val")
    return GraphNode(
        name=node.name,
        onnx_nodes=tuple(dict.fromkeys(name for name in (*names, _onnx_name(node, onnx_names)) if name)),
        shape=_shape(value),
        weight_shape=_shape(constant),
        dtype="" if constant is None else str(constant.dtype).removeprefix("torch."),
    )
