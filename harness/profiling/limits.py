"""Profiles and groups with what this machine could do at best beside what they took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...models.work import GroupWork, ModelWork
from ...reports import words
from ...reports.profiles import BackendProfile, GroupTimes, Roof, RowTime
from .roofline import Ceilings, named_precisions, roof_of

__all__ = ["Limits"]

_NOISE = 0.05
"""A row may be so much above its limit by the noise of both."""
_CLOCK_MS = 0.001
"""Most runtimes' profilers count whole microseconds, so a row may have taken so much more than it says."""
_COUNTED = 5
"""What took fewer of those is known so badly that its efficiency is not told."""


_ABOVE = (
    "{rows} took less than the limit, by more than noise: the peaks are too low, or these rows do less than they are "
    "held to; measure again with `bakeoff target --remeasure` while nothing else runs"
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one graph on some cores of this machine."""

    work: ModelWork
    machine: Ceilings

    def profile(self, profile: BackendProfile) -> BackendProfile:
        """*profile* with the limits of its rows and of the whole model; where its mapping was refused, of that only."""
        default = self._default(profile)
        rows = profile.rows if profile.refused else tuple(self._rows(profile.rows, default))
        roof = self._whole(profile, default)
        limited = [row.limit_ms for row in rows if row.limit_ms is not None]
        above = sum(
            row.limit_ms is not None and row.limit_ms > (row.median_ms + _CLOCK_MS) * (1.0 + _NOISE) for row in rows
        )
        notes = [_ABOVE.format(rows=words.plural(above, "row"))] if above else []
        return profile.model_copy(
            update={
                "rows": rows,
                "roof": roof,
                "limit_ms": roof.limit_ms if roof else None,
                "efficiency": _efficiency(roof, profile.median_ms),
                "rows_limit_ms": sum(limited) if limited else None,
                "notes": (*profile.notes, *notes),
            }
        )

    def group(self, group: GroupTimes, profiles: Iterable[BackendProfile]) -> GroupTimes:
        """*group* with its limit, in the fastest precision that the graph or any of *profiles* has for its nodes."""
        work, names = self._work(group.nodes), set(group.nodes)
        executed = [
            self._precision(row, self._default(profile), work)
            for profile in profiles
            if not profile.refused
            for row in profile.rows
            if any(node.name in names and not node.shared for node in row.nodes)
        ]
        own = _graph_precision(work)
        roof = self._roof(work, self.machine.fastest([own, *executed]) or own)
        return group.model_copy(update={"roof": roof, "limit_ms": roof.limit_ms if roof else None})

    def _rows(self, rows: Sequence[RowTime], default: str) -> Iterable[RowTime]:
        """Rows with their limits. One that does only a part of a node, or does it again, has none of its own."""
        parts = {node.name for row in rows for node in row.nodes if node.shared}
        for row in rows:
            own = [node.name for node in row.nodes if not node.shared]
            if not own or not parts.isdisjoint(own):
                yield row
                continue
            work = self._work(own)
            roof = self._roof(work, self._precision(row, default, work))
            limits = {"roof": roof, "limit_ms": roof.limit_ms if roof else None}
            efficiency = _efficiency(roof, row.median_ms) if row.median_ms >= _COUNTED * _CLOCK_MS else None
            yield row.model_copy(update={**limits, "efficiency": efficiency})

    def _whole(self, profile: BackendProfile, default: str) -> Roof | None:
        """The roof of the whole model: each product in the precision of its row, its ends moved once."""
        executed: dict[str, str] = {}
        for row in () if profile.refused else profile.rows:
            for node in row.nodes:
                if not node.shared and row.precision:
                    executed[node.name] = self._precision(row, default, self._work([node.name]))
        parts: dict[str, list[str]] = {}
        for work in self.work.nodes:
            if work.macs:
                parts.setdefault(executed.get(work.node, default or work.precision), []).append(work.node)
        roofs = [self._roof(self._work(names), precision) for precision, names in parts.items()]
        known = [roof for roof in roofs if roof is not None]
        if not known or len(known) < len(roofs):
            return None
        most = max(known, key=lambda roof: roof.compute_ms)
        moved = self._roof(self.work.whole(), self._narrowest(parts))
        if moved is None:
            return None
        compute = sum(roof.compute_ms for roof in known)
        return moved.model_copy(
            update={
                "limit_ms": max(compute, moved.memory_ms),
                "bound": "compute" if compute >= moved.memory_ms else "memory",
                "compute_ms": compute,
                "direct_ms": sum(roof.direct_ms for roof in known),
                "macs": self.work.macs,
                "precision": most.precision,
            }
        )

    def _narrowest(self, precisions: Iterable[str]) -> str:
        """Of these the one in which least has to be moved."""
        order = ("int8", "bf16", "fp16", "fp32", "fp64")
        return min(precisions, key=lambda name: order.index(name) if name in order else len(order))

    def _roof(self, work: GroupWork, precision: str) -> Roof | None:
        return roof_of(
            work,
            precision,
            self.machine,
            weights_bytes=self.work.whole().weight_bytes,
            graph_precision=_graph_precision(work),
        )

    def _work(self, names: Iterable[str]) -> GroupWork:
        """The work of those of *names* that the count knows."""
        return self.work.group([name for name in names if name in self.work.traffic])

    def _default(self, profile: BackendProfile) -> str:
        """What rows execute in that do not tell: the fastest precision that the profile names."""
        return self.machine.fastest(named_precisions(profile.precision))

    def _precision(self, row: RowTime, default: str, work: GroupWork) -> str:
        told = named_precisions(row.precision)
        return told[0] if told else default or _graph_precision(work)


def _graph_precision(work: GroupWork) -> str:
    """What the graph computes most of *work* in."""
    heaviest = max(work.nodes, key=lambda node: (node.macs, node.other_ops), default=None)
    return heaviest.precision if heaviest is not None else ""


def _efficiency(roof: Roof | None, took_ms: float) -> float | None:
    return roof.limit_ms / took_ms if roof is not None and took_ms > 0 else None
