"""From what a pass found to the records that are shown and kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from ...models.errors import CellError
from ...reports.profiles import BackendProfile, GroupTimes, NotProfiled, RowNode, RowTime, TimeShares
from ..plan import CellSpec
from .graph import Graph
from .groups import group_layers
from .mapping import LayerMap, MappedNode, MappedRow
from .pair import Taken

__all__ = ["backend_profile", "group_times", "not_profiled"]


def backend_profile(
    cell: CellSpec, taken: Taken, mapped: LayerMap, graph: Graph, *, version: str, onnx_sha256: str
) -> BackendProfile:
    """The record of *cell*, whose rows are *mapped* to *graph*."""
    shares, executed = mapped.shares, taken.report["executed"]
    typical = _middle(taken.profile.inference_ms)
    names = [node.name for node in graph.nodes]
    return BackendProfile(
        model=cell.model,
        variant=cell.full_variant,
        backend=cell.backend,
        threads=cell.threads,
        batch=cell.batch,
        device=cell.device,
        version=version,
        onnx_sha256=onnx_sha256,
        precision=executed["precision"],
        marks=tuple(executed["marks"]),
        median_ms=taken.plain.median,
        ci_low_ms=taken.plain.interval.low,
        ci_high_ms=taken.plain.interval.high,
        first_ms=taken.first_ms,
        profiled_ms=median(taken.profile.inference_ms),
        overhead=taken.overhead,
        typical_ms=taken.profile.inference_ms[typical],
        inferences=len(taken.profile.inference_ms),
        sum_ms=mapped.sum_ms,
        residual_ms=taken.plain.median - mapped.sum_ms,
        between_ms=taken.profile.between_ms,
        shares=TimeShares(
            anchored=shares.anchored, grown=shares.grown, runtime=shares.runtime, unmapped=shares.unmapped
        ),
        refused=mapped.refused,
        checks={name: not failed for name, failed in mapped.failures.items()},
        failures={name: failed for name, failed in mapped.failures.items() if failed},
        exchangeable=tuple((names[first], names[second]) for first, second in mapped.exchangeable),
        rows=tuple(_row(row, graph, typical) for row in mapped.rows),
        energy_mj=taken.energy_mj,
        suspicious=taken.suspicious,
        notes=taken.profile.notes,
    )


def group_times(cell: CellSpec, maps: Mapping[str, LayerMap], graph: Graph) -> list[GroupTimes]:
    """The groups of *graph* over the backends of *maps*, all of which ran the variant of *cell* in its setting."""
    return [
        GroupTimes(
            model=cell.model,
            variant=cell.full_variant,
            threads=cell.threads,
            batch=cell.batch,
            device=cell.device,
            nodes=tuple(graph.nodes[node].name for node in group.nodes),
            ops=tuple(graph.nodes[node].op for node in group.nodes),
            scopes=tuple(graph.nodes[node].scope for node in group.nodes),
            ms=dict(group.ms),
        )
        for group in group_layers(graph, maps)
    ]


def not_profiled(cell: CellSpec, error: CellError) -> NotProfiled:
    """The record of *cell*, which has no profile because of *error*."""
    return NotProfiled(
        model=cell.model,
        variant=cell.full_variant,
        backend=cell.backend,
        threads=cell.threads,
        batch=cell.batch,
        device=cell.device,
        status=error.status,
        reason=error.reason,
    )


def _middle(times: Sequence[float]) -> int:
    """Place of the median of *times*, the lower one of two."""
    return sorted(range(len(times)), key=lambda place: times[place])[(len(times) - 1) // 2]


def _row(row: MappedRow, graph: Graph, typical: int) -> RowTime:
    return RowTime(
        name=row.row.name,
        kind=row.row.kind,
        standing=row.standing,
        median_ms=row.median_ms,
        typical_ms=row.row.times_ms[typical],
        precision=row.row.precision,
        nodes=tuple(_node(node, graph) for node in row.nodes),
        serves=tuple(graph.nodes[node].name for node in row.serves),
    )


def _node(node: MappedNode, graph: Graph) -> RowNode:
    facts = graph.nodes[node.place]
    again = facts.repeats if facts.repeats is not None else facts.resembles
    return RowNode(
        name=facts.name,
        op=facts.op,
        evidence=node.evidence,
        scope=facts.scope,
        reads=tuple(graph.nodes[source].name for source in facts.reads),
        repeats=graph.nodes[again].name if again is not None else "",
        output_shape=facts.output_shape,
        weight_shape=facts.weight_shape,
        shared=node.shared,
    )
