"""A profiler for onnx's reference evaluator: one row for each node, timed from within."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bakeoff.backends.profile import Claim, Row

from .adapter import NumpyReferenceSession
from .faults import Fault

__all__ = ["NumpyProfiledSession"]


class NumpyProfiledSession(NumpyReferenceSession):
    """The evaluator, each of whose nodes keeps its last time."""

    def __init__(self, artifact: Path, threads: int, fault: Fault) -> None:
        super().__init__(artifact, threads, fault)
        self._last = [0.0] * len(self._evaluator.rt_nodes_)
        self._kept: list[list[float]] = []
        self._confused = fault.kind == "confused"
        for place, node in enumerate(self._evaluator.rt_nodes_):
            node.run = self._timed(place, node.run)

    def collect(self) -> None:
        """Keep the times of the last inference."""
        self._kept.append(list(self._last))

    def rows(self) -> tuple[Row, ...]:
        """One row for each node, by its name."""
        nodes = [node.onnx_node for node in self._evaluator.rt_nodes_]
        live = {spec.name for spec in self.inputs}
        maker: dict[str, int] = {}
        rows = []
        for place, node in enumerate(nodes):
            depends = not live.isdisjoint(node.input)
            live.update(node.output if depends else ())
            told = nodes[-1 - place] if self._confused else node
            rows.append(
                Row(
                    name=node.name,
                    kind=node.op_type,
                    role="compute" if depends else "runtime",
                    times_ms=tuple(times[place] for times in self._kept),
                    claims=(Claim(node=told.name, evidence="name"),),
                    reads=tuple(sorted({maker[name] for name in node.input if name in maker})),
                )
            )
            maker.update(dict.fromkeys(node.output, place))
        return tuple(rows)

    def _timed(self, place: int, run: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*inputs: Any, **more: Any) -> Any:
            start = time.perf_counter()
            outputs = run(*inputs, **more)
            self._last[place] = (time.perf_counter() - start) * 1e3
            return outputs

        return timed
