"""The values that two aligned graphs have in common, and where to see them. Child processes only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .walk_align import Alignment
from .walk_graph import Net, element_types

__all__ = ["Site", "find_sites"]

_MOVES = frozenset({"Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that compute no new figures."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A value that both graphs have, and where to see it."""

    position: int
    node: str
    op: str
    value: str
    """The reference's raw value."""
    ours: str
    """Where it is read in the variant, after roundings."""
    theirs: str
    """Where it is read in the reference."""
    ours_raw: str
    """Before the rounding of the variant."""
    theirs_raw: str
    """The same in the reference; before the activation, if that is left to the rounding."""
    readers: tuple[str, ...]
    """Reference nodes that read it rounded in the variant."""
    shape: tuple[int, ...] = ()


def find_sites(alignment: Alignment) -> list[Site]:
    """All pairs of floating values, in topological order of the reference; shapes are not known yet."""
    ours, theirs = alignment.variant, alignment.reference
    types = element_types(theirs.model)
    merged = set(alignment.folded.values())
    grids = {item.name: _content(item) for item in ours.model.graph.initializer if sum(item.dims) <= 1}
    places = {name: index for index, node in enumerate(theirs.nodes) for name in node.output}
    names = [*theirs.inputs, *(name for node in theirs.nodes for name in node.output if name)]
    found = []
    for name in names:
        twin = alignment.values.get(name)
        rounded = twin is not None and ours.settled(twin) != twin
        if twin is None or name in merged or not _floating(types.get(name)) or (name in theirs.inputs and not rounded):
            continue
        before = alignment.folded.get(name, name)
        ours_end = twin if _rounded_again(ours, twin, grids) else ours.settled(twin)
        layer, last = theirs.maker.get(before), theirs.maker.get(name)
        readers = [node for node in ours.operators(twin) if twin not in node.input]
        found.append(
            Site(
                position=places.get(before, -1),
                node=layer.name if layer is not None else "",
                op=_op(layer, last),
                value=name,
                ours=ours_end,
                theirs=theirs.settled(name),
                ours_raw=twin,
                theirs_raw=before,
                readers=tuple(alignment.nodes[node.name] for node in readers if node.name in alignment.nodes),
            )
        )
    return sorted(found, key=lambda site: site.position)


def _rounded_again(net: Net, name: str, grids: Mapping[str, bytes]) -> bool:
    """Whether *name* is a rounded value moved about and rounded to the same grid once more, which changes nothing."""
    node = net.maker.get(name)
    if node is None or node.op_type not in _MOVES:
        return False
    before, after = (_grids_of(net, raw, grids) for raw in (net.origin(node.input[0]), name))
    return len(before) == 1 and before == after


def _grids_of(net: Net, raw: str, grids: Mapping[str, bytes]) -> set[tuple[bytes, ...]]:
    """Scale and zero point of every rounding of the value *raw*."""
    readers = [node for node in net.readers.get(raw, ()) if node.op_type == "QuantizeLinear"]
    return {tuple(grids.get(item, item.encode()) for item in node.input[1:]) for node in readers}


def _content(tensor: Any) -> bytes:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    return f"{array.dtype} ".encode() + array.tobytes()


def _floating(element: int | None) -> bool:
    import onnx

    real = onnx.TensorProto
    return element in (None, 0, real.FLOAT, real.FLOAT16, real.BFLOAT16, real.DOUBLE)


def _op(layer: Any, last: Any) -> str:
    if layer is None:
        return "Input"
    return str(layer.op_type) if last is layer else f"{layer.op_type}+{last.op_type}"
