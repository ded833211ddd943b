"""Graphs cut out and wired anew so that every value of interest can be seen, and run one image at a time.

Child processes only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import run_graph
from .walk_align import Alignment
from .walk_graph import Net, element_types, extract, rewired
from .walk_sites import Site

__all__ = ["Array", "Bench", "Program", "slices"]

Array = NDArray[np.generic]

_BUDGET_BYTES = 128 * 2**20
"""Values of one graph that are held for one image at a time."""


class Program:
    """A graph that is asked one question at a time; its session lives on between them."""

    def __init__(self, model: Any, targets: Sequence[str], path: Path) -> None:
        path.write_bytes(model.SerializeToString())
        self.inputs = tuple(value.name for value in model.graph.input)
        self._targets = tuple(targets)
        self._feeds: deque[list[Array]] = deque()
        self._answers = run_graph(path, self._asked())

    def ask(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Values of all targets by name, in float32, for *feeds* (more names than inputs do no harm)."""
        self._feeds.append([feeds[name] for name in self.inputs])
        return dict(zip(self._targets, next(self._answers), strict=True))

    def _asked(self) -> Iterator[list[Array]]:
        while self._feeds:
            yield self._feeds.popleft()


def slices(sites: Sequence[Site]) -> Iterator[list[Site]]:
    """*sites* in order, in parts whose values fit in memory together."""
    part: list[Site] = []
    held = 0
    for site in sites:
        needed = 4 * int(np.prod(site.shape, dtype=np.int64)) * len({site.ours, site.ours_raw})
        if part and held + needed > _BUDGET_BYTES:
            yield part
            part, held = [], 0
        part.append(site)
        held += needed
    if part:
        yield part


class Bench:
    """Makes the programs of one walk; their files lie in *folder*."""

    def __init__(self, alignment: Alignment, sites: Sequence[Site], folder: Path) -> None:
        self.alignment = alignment
        self._folder = folder
        self._made = 0
        self._types = element_types(alignment.variant.model)
        self._reference_types = element_types(alignment.reference.model)
        self._seen = {site.value: site for site in sites}
        self._forced, self._fed, self.sources = self._force()

    def plain(self, net: Net, targets: Iterable[str]) -> Program:
        """*net* as it is, with *targets* to be seen."""
        names = list(dict.fromkeys(targets))
        return self._program(extract(net.model, net.model.graph.node, names), names)

    def forced(self, part: Sequence[Site]) -> Program:
        """The variant, in which every operator reads the reference's values (`sources`) as far as they are known."""
        names = list(dict.fromkeys(name for site in part for name in (site.ours, site.ours_raw)))
        return self._program(extract(self.alignment.variant.model, self._forced, names, self._fed), names)

    def patched(self, part: Sequence[Site]) -> tuple[Program, list[str]]:
        """The reference with `delta::VALUE` added to the value of each site, and the names of its outputs."""
        net = self.alignment.reference
        places = {site.theirs: len(site.shape) for site in part}
        patched = {name: f"patched::{name}" for name in places}
        nodes: list[Any] = []
        for name in net.inputs:
            if name in places:
                nodes.extend(self._addition(name))
        for node in net.model.graph.node:
            nodes.append(rewired(node, patched))
            for name in node.output:
                if name in places:
                    nodes.extend(self._addition(name))
        fed = {f"delta::{name}": rank for name, rank in places.items()}
        outputs = [patched.get(name, name) for name in net.outputs]
        return self._program(extract(net.model, nodes, outputs, fed), outputs), outputs

    def _program(self, model: Any, targets: Sequence[str]) -> Program:
        self._made += 1
        return Program(model, targets, self._folder / f"{self._made}.onnx")

    def _force(self) -> tuple[list[Any], dict[str, int], dict[str, str]]:
        """The variant's nodes rewired; the inputs they read and their ranks; and the reference's value for each."""
        net, nodes = self.alignment.variant, []
        fed: dict[str, int] = {}
        sources: dict[str, str] = {}
        operators = {id(node) for node in net.nodes}
        for node in net.model.graph.node:
            if id(node) not in operators:
                nodes.append(node)
                continue
            names: dict[str, str] = {}
            for name in dict.fromkeys(node.input):
                site = self._seen.get(self.alignment.back.get(net.origin(name), "")) if net.live(name) else None
                if site is None:
                    continue
                source = f"fed::{name}"
                fed[source], sources[source] = len(site.shape), site.theirs
                names[name] = _as(source, self._types.get(name), nodes)
            nodes.append(rewired(node, names))
        return nodes, fed, sources

    def _addition(self, name: str) -> list[Any]:
        import onnx

        nodes: list[Any] = []
        delta = _as(f"delta::{name}", self._reference_types.get(name), nodes)
        return [*nodes, onnx.helper.make_node("Add", [name, delta], [f"patched::{name}"], name=f"patch::{name}")]


def _as(name: str, element: int | None, nodes: list[Any]) -> str:
    """*name*, which is float32, as *element*; a cast is appended to *nodes* where it takes one."""
    import onnx

    if element in (None, 0, onnx.TensorProto.FLOAT):
        return name
    cast = f"cast::{name}"
    if not any(cast in node.output for node in nodes):
        nodes.append(onnx.helper.make_node("Cast", [name], [cast], name=cast, to=element))
    return cast
