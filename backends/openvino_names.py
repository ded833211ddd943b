"""Names under which OpenVINO gets the nodes of an ONNX file.

It calls a layer after its node, or after the node's result where that is one of the model's, and constants and inputs
after themselves. A name that two of them share it gives to one, and the others get numbers, which its runtime graph
tells without saying whose they are: so nodes that share theirs with a value of another origin go in under names of
their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["own_names", "readable"]

_MOST_BYTES = 2**31 - 1
"""Of a file that goes in by its content: the format's own limit. Of larger ones nodes keep their names."""


def own_names(model: Any) -> Mapping[str, str]:
    """By the name of a node of the ONNX *model* that cannot keep it: the name that it goes in under."""
    graph = model.graph
    makers = {value: place for place, node in enumerate(graph.node) for value in node.output if value}
    given = {item.name for item in (*graph.input, *graph.initializer)}
    taken = {*makers, *given, *(node.name for node in graph.node)}
    found: dict[str, str] = {}
    for place, node in enumerate(graph.node):
        if node.name in given or makers.get(node.name, place) != place:
            new = next(name for number in range(len(taken) + 1) if (name := f"{node.name}/node{number}") not in taken)
            taken.add(new)
            found[node.name] = new
    # With external data left out this is small, with all of it read the size of what would go in.
    return found if model.ByteSize() <= _MOST_BYTES else {}


def readable(model: Path) -> Path | bytes:
    """What OpenVINO is to read of the ONNX file *model*: the file itself, or one with other names of nodes."""
    import onnx

    if not own_names(onnx.load(model, load_external_data=False)):
        return model
    renamed = onnx.load(model)
    names = own_names(renamed)
    for node in renamed.graph.node:
        node.name = names.get(node.name, node.name)
    return bytes(renamed.SerializeToString()) if names else model
