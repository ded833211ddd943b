"""From an ONNX file to its tasks: every fused kernel of the graph, in each variant that its convolutions admit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....models.errors import StageError, UnsupportedError
from .. import channels, lowering, operators, pipeline
from .classify import classify
from .contract import Task
from .measure import bytes_of, constants_of, shapes_of

__all__ = ["Extracted", "Graph", "Item", "extract", "extract_module", "imported"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A task, its workload as MetaSchedule writes it ([hash, base64 of the module]), and the module itself."""

    task: Task
    workload: list[str]
    module: Any


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """All tasks of one model, each workload once."""

    items: tuple[Item, ...]


class Graph:
    """The graph of one ONNX file, laid out once, from which the tasks of any variant are taken.

    Raises `UnsupportedError` naming an operator that TVM cannot import, `StageError` where it fails otherwise.
    """

    def __init__(self, model: Path, target: dict[str, Any]) -> None:
        module = imported(model)
        self.winograd = False
        """Whether any convolution admits Winograd; known once the direct items were taken."""
        self._target = target
        self._laid_out, _ = pipeline.lay_out(module, target)

    def items(self, variant: str) -> list[Item]:
        """The tasks of the graph computed directly, or of its convolutions by another *variant*."""
        lowered = pipeline.lower(
            self._laid_out, self._target, lowering.lowerings(lambda _site: self._plan(variant)), tunable=True
        )
        items = extract_module(lowered, self._target)
        return items if variant == "direct" else [item for item in items if item.task.kind == "winograd"]

    def _plan(self, variant: str) -> str:
        # It is asked only for convolutions that Winograd fits.
        self.winograd = True
        return variant


def extract(model: Path, target: dict[str, Any], *, variants: Sequence[str]) -> Extracted:
    """Tasks of the ONNX file *model* computed directly, and of its convolutions in the other *variants*.

    Raises what `Graph` raises.
    """
    graph = Graph(model, target)
    found = {item.task.hash: item for item in graph.items("direct")}
    for variant in variants if graph.winograd else ():
        for item in graph.items(variant):
            found.setdefault(item.task.hash, item)
    return Extracted(items=tuple(found.values()))


def extract_module(prepared: Any, target: dict[str, Any]) -> list[Item]:
    """Tasks of a Relax module that `pipeline.prepare` made tunable, heaviest first."""
    import tvm
    from tvm.s_tir import meta_schedule as ms

    items = []
    for extracted in ms.relax_integration.extract_tasks(prepared, tvm.target.Target(target), {}):
        module = extracted.dispatched[0]
        facts, shapes = classify(module), shapes_of(module["main"])
        workload = [str(part) for part in ms.database.Workload(module).as_json()]
        task = Task(
            hash=workload[0],
            name=str(extracted.task_name),
            weight=int(extracted.weight),
            flops=facts.flops,
            kind=facts.kind,
            shape=facts.shape,
            variant=facts.variant,
            site=facts.site,
            epilogue=facts.epilogue,
            weights_bytes=sum(bytes_of(shapes[place]) for place in constants_of(module["main"])),
        )
        items.append(Item(task=task, workload=workload, module=module))
    return sorted(items, key=lambda item: (-item.task.weight * item.task.flops, item.task.name, item.task.hash))


def imported(model: Path) -> Any:
    """The Relax module of the ONNX file *model*; raises `UnsupportedError` and `StageError` as `extract` does."""
    import tvm

    try:
        return pipeline.import_onnx(model, channels.pad_channels, operators.own_operators())
    except tvm.error.OpNotImplemented as error:
        raise UnsupportedError(" ".join(str(error).split()), blame="importer", stage="tune") from error
    except Exception as error:  # its errors share no base class
        text = " ".join(str(error).split())[:2000]
        raise StageError(f"{type(error).__name__}: {text}", blame="importer", stage="tune") from error
