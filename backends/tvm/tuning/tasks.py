"""From an ONNX file to its tasks: every fused kernel of the graph, in each variant that its convolutions admit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....models.errors import StageError, UnsupportedError
from .. import lowering, pipeline
from .classify import classify
from .contract import Task

__all__ = ["Extracted", "Item", "extract", "extract_module", "imported"]


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
    weights_bytes: int
    """Bytes of all constants, as large as what one inference reads besides activations."""


def extract(model: Path, target: dict[str, Any], *, variants: Sequence[str]) -> Extracted:
    """Tasks of the ONNX file *model* computed directly, and of its convolutions in the other *variants*.

    Raises `UnsupportedError` naming an operator that TVM cannot import, `StageError` where it fails otherwise.
    """
    module = imported(model)
    found: dict[str, Item] = {}
    for variant in ("direct", *variants):
        prepared, _ = pipeline.prepare(module, target, lowering.lowerings(_all(variant)), tunable=True)
        for item in extract_module(prepared, target):
            if variant == "direct" or item.task.kind == "winograd":
                found.setdefault(item.task.hash, item)
    return Extracted(items=tuple(found.values()), weights_bytes=_constant_bytes(module))


def _all(variant: str) -> Callable[[str], str]:
    """The plan that computes every convolution by *variant*, as far as it can be."""
    return lambda _site: variant


def extract_module(prepared: Any, target: dict[str, Any]) -> list[Item]:
    """Tasks of a Relax module that `pipeline.prepare` made tunable, heaviest first."""
    import tvm
    from tvm.s_tir import meta_schedule as ms

    items = []
    for extracted in ms.relax_integration.extract_tasks(prepared, tvm.target.Target(target), {}):
        module = extracted.dispatched[0]
        facts = classify(module)
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
        )
        items.append(Item(task=task, workload=workload, module=module))
    return sorted(items, key=lambda item: (-item.task.weight * item.task.flops, item.task.name, item.task.hash))


def imported(model: Path) -> Any:
    """The Relax module of the ONNX file *model*; raises `UnsupportedError` and `StageError` as `extract` does."""
    import tvm

    try:
        return pipeline.import_onnx(model)
    except tvm.error.OpNotImplemented as error:
        raise UnsupportedError(" ".join(str(error).split()), blame="importer", stage="tune") from error
    except Exception as error:  # its errors share no base class
        text = " ".join(str(error).split())[:2000]
        raise StageError(f"{type(error).__name__}: {text}", blame="importer", stage="tune") from error


def _constant_bytes(module: Any) -> int:
    from tvm import relax

    total = 0

    def visit(node: Any) -> None:
        nonlocal total
        if isinstance(node, relax.Constant):
            array = node.data.numpy()
            total += array.nbytes

    relax.analysis.post_order_visit(module["main"], visit)
    return total
