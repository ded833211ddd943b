"""What the nodes that Inductor compiles are of the ONNX file, looked up while it compiles.

Each node of the ONNX file is a module of its name in what is exported, and torch notes for each node of its graphs of
which module it is. Where Inductor fuses a convolution with what follows, only the last one's name is left; then the
convolution is known by its weight, which was its own before.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from .profile_graph import ProfiledGraph

__all__ = ["Nodes", "Weight", "load_nodes", "save_nodes", "watching"]

_FILE = "nodes.json"

_HEAVY = re.compile(r"conv|linear|mm|matmul")
"""In the names of operators that multiply with a weight."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant that a convolution or product multiplies with."""

    onnx_node: str
    shape: tuple[int, ...]
    dtype: str
    """As torch calls it: "float32"."""


@dataclass(kw_only=True)
class Nodes:
    """What is known of the graph that Inductor generates code for."""

    weights: dict[str, Weight] = field(default_factory=dict)
    """By the name of the constant."""
    takers: dict[str, str] = field(default_factory=dict)
    """Node of the graph by the weight that it multiplies with."""
    onnx_nodes: dict[str, str] = field(default_factory=dict)
    """Node of the ONNX file by node of the graph, in order; "" for what the importer adds to the file."""
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of the result, by node of the graph."""


def watching(onnx_names: Mapping[str, str], graph: ProfiledGraph) -> tuple[dict[str, Any], Nodes]:
    """Settings with which Inductor compiles what can be profiled, and what will have been seen after that.

    *onnx_names* as in `torch_import.Imported`, of the ONNX file *graph*.
    """
    from torch._inductor.custom_graph_pass import CustomGraphPass

    seen = Nodes()
    onnx_names = {module: name if name in graph.nodes else "" for module, name in onnx_names.items()}
    multiplying = _multiplying(graph)

    class Before(CustomGraphPass):  # type: ignore[misc]
        """Sees weights that are packed already, and nothing that is fused."""

        def __call__(self, graph: Any) -> None:
            seen.weights = _weights(graph, onnx_names, multiplying)

        def uuid(self) -> None:
            return None

    class After(CustomGraphPass):  # type: ignore[misc]
        """Sees what code is generated for."""

        def __call__(self, graph: Any) -> None:
            for node in graph.nodes:
                if (name := _onnx_node(node, onnx_names)) is not None:
                    seen.onnx_nodes[node.name] = name
                for constant in _constants(node):
                    if constant in seen.weights:
                        seen.takers[constant] = node.name
                if (shape := getattr(node.meta.get("val"), "shape", None)) is not None:
                    seen.shapes[node.name] = tuple(int(extent) for extent in shape)

        def uuid(self) -> None:
            return None

    settings = {
        "cpp.enable_kernel_profile": True,
        "trace.provenance_tracking_level": 1,
        "post_grad_custom_pre_pass": Before(),
        "post_grad_custom_post_pass": After(),
    }
    return settings, seen


def save_nodes(folder: Path, nodes: Nodes) -> None:
    """Keep *nodes* in the artifact in *folder*."""
    (folder / _FILE).write_text(json.dumps(asdict(nodes)) + "\n")


def load_nodes(folder: Path) -> Nodes:
    """What `save_nodes` kept."""
    found = json.loads((folder / _FILE).read_text())
    return Nodes(
        weights={name: Weight(**{**it, "shape": tuple(it["shape"])}) for name, it in found["weights"].items()},
        takers=found["takers"],
        onnx_nodes=found["onnx_nodes"],
        shapes={name: tuple(shape) for name, shape in found["shapes"].items()},
    )


def _multiplying(graph: ProfiledGraph) -> dict[str, str]:
    """Convolution or product by what is its own in the ONNX file: the node itself, or what dequantizes its weight."""
    found = {name: name for name in graph.heavy}
    makers = [(name, maker) for name in graph.heavy for maker in graph.sources(name) if not _depends(graph, maker)]
    shared = Counter(maker for _, maker in makers)
    return found | {maker: name for name, maker in makers if shared[maker] == 1}


def _depends(graph: ProfiledGraph, name: str) -> bool:
    """Whether the result of a node is more than another form of a constant."""
    return graph.op_type(name) != "DequantizeLinear" or bool(graph.sources(name))


def _weights(graph: Any, onnx_names: Mapping[str, str], multiplying: Mapping[str, str]) -> dict[str, Weight]:
    """Weights of *graph* that one node of the ONNX file multiplies with, by the name that they have in C++.

    An int8 convolution is named for the rounding behind it; then its bias or its scales tell which it is.
    """
    found: dict[str, set[Weight]] = {}
    for node in graph.nodes:
        if not _HEAVY.search(str(node.target)):
            continue
        constants = _constants(node)
        modules = [target.rpartition(".")[0] for target in constants.values()]
        names = [_onnx_node(node, onnx_names), *map(onnx_names.get, modules)]
        owners = {multiplying[name] for name in names if name is not None and name in multiplying}
        if len(owners) != 1:
            continue
        (owner,) = owners
        for constant, target in constants.items():
            tensor = attrgetter(target)(graph.owning_module)
            if tensor.dim() > 1:
                dtype = str(tensor.dtype).removeprefix("torch.")
                found.setdefault(constant, set()).add(Weight(onnx_node=owner, shape=tuple(tensor.shape), dtype=dtype))
    return {name: weights.pop() for name, weights in found.items() if len(weights) == 1}


def _constants(node: Any) -> dict[str, str]:
    """The constants that *node* takes, as they are called in the graph, by the name that they have in C++."""
    targets = [source.target for source in node.all_input_nodes if source.op == "get_attr"]
    return {re.sub(r"\W", "_", target): target for target in targets}


def _onnx_node(node: Any, onnx_names: Mapping[str, str]) -> str | None:
    """The ONNX node that *node* is of, "" for one that the file lacks; None where torch does not tell."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    return onnx_names.get(modules[-1][0]) if modules else None
