"""View models of profiles: everything that a page on them says, worked out before any page is made.

A *sitting* is one variant in one setting, profiled on several backends: the level at which layers are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from . import words
from .layer_words import layer_label, main_node, main_place, op_kind
from .profiles import BackendProfile, GroupTimes, NotProfiled, ProfileReport, RowTime

__all__ = [
    "NO_OPERATORS",
    "NO_ROW",
    "REFUSED",
    "RUNTIME",
    "UNMAPPED",
    "LayerView",
    "Share",
    "Sitting",
    "kind_order",
    "kind_shares",
    "share",
    "sittings",
]

RUNTIME = "runtime's own"
"""Copies into other layouts and the like."""
UNMAPPED = "unmapped"
REFUSED = "refused mapping"
NO_ROW = "in no row"
"""What is left of the unprofiled median when all rows are taken away."""

NO_OPERATORS = (REFUSED, RUNTIME, UNMAPPED, NO_ROW)
"""What time goes into beside operators, in the order in which it is shown."""

_Key = tuple[str, str, int, int, str]


@dataclass(frozen=True, kw_only=True)
class LayerView:
    """One group of nodes, as a row of a table; times in milliseconds."""

    place: int
    """In topological order, from 1."""
    label: str
    kind: str
    """What its arithmetic is: "Conv 3x3", "Gemm", ..."""
    nodes: tuple[str, ...]
    ms: Mapping[str, float]
    """By backend."""
    limit_ms: float | None

    @property
    def most_ms(self) -> float:
        """What it takes where it takes most."""
        return max(self.ms.values(), default=0.0)

    @property
    def reached(self) -> float | None:
        """How much of the machine's limit its fastest backend reaches, 0 to 1; None where that is not known."""
        return share(self.limit_ms, min(self.ms.values(), default=0.0))


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """One variant in one setting on all backends."""

    model: str
    variant: str
    threads: int
    batch: int
    device: str
    profiles: tuple[BackendProfile, ...]
    """Fastest first."""
    layers: tuple[LayerView, ...]
    """In topological order."""
    missing: tuple[NotProfiled, ...]

    @property
    def setting(self) -> str:
        """ "1 thread, batch 8": without the variant; batch 1 and the CPU go without saying."""
        parts = [words.plural(self.threads, "thread")]
        parts += [f"batch {self.batch}"] if self.batch != 1 else []
        return ", ".join([*parts, *([self.device] if self.device != "cpu" else [])])

    @property
    def title(self) -> str:
        """ "mobilenet_v2@fp32, 1 thread"."""
        return f"{self.variant}, {self.setting}"

    @cached_property
    def backends(self) -> tuple[str, ...]:
        """Those whose rows are mapped to layers, fastest first."""
        known = {backend for layer in self.layers for backend in layer.ms}
        return tuple(profile.backend for profile in self.profiles if profile.backend in known)

    @cached_property
    def costliest(self) -> tuple[LayerView, ...]:
        """The layers, costliest first."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.most_ms))

    def layer_sum(self, backend: str) -> float:
        """What all layers together take in *backend*."""
        return sum(layer.ms.get(backend, 0.0) for layer in self.layers)

    @property
    def limited(self) -> bool:
        """Whether the machine's limit is known for any layer."""
        return any(layer.limit_ms is not None for layer in self.layers)

    @property
    def leaders(self) -> tuple[BackendProfile, ...]:
        """The fastest, and those whose interval of the median meets its own."""
        best = self.profiles[:1]
        return tuple(found for found in self.profiles if best and found.ci_low_ms <= best[0].ci_high_ms)


def share(part: float | None, whole: float | None) -> float | None:
    """*part* over *whole*; None where either is not known or the whole is nothing."""
    return None if part is None or whole is None or whole <= 0 else part / whole


@dataclass(frozen=True, kw_only=True)
class Share:
    """Time of one backend that goes into one kind of operator."""

    backend: str
    kind: str
    ms: float
    share: float
    """Of the median without the profiler, 0 to 1."""


def sittings(report: ProfileReport) -> tuple[Sitting, ...]:
    """All sittings of *report*, in its order; cells without a profile stand with the others of their setting."""
    every: list[BackendProfile | NotProfiled] = [*report.profiles, *report.not_profiled]
    groups = _sorted_out(report.groups)
    profiles, missing = _sorted_out(report.profiles), _sorted_out(report.not_profiled)
    return tuple(
        _sitting(key, profiles.get(key, []), groups.get(key, []), missing.get(key, []))
        for key in dict.fromkeys(_key(found) for found in every)
    )


def _key(found: BackendProfile | GroupTimes | NotProfiled) -> _Key:
    return found.model, found.variant, found.threads, found.batch, found.device


_Found = TypeVar("_Found", BackendProfile, GroupTimes, NotProfiled)


def _sorted_out(every: Iterable[_Found]) -> dict[_Key, list[_Found]]:
    found: dict[_Key, list[_Found]] = {}
    for one in every:
        found.setdefault(_key(one), []).append(one)
    return found


def _sitting(
    key: _Key, profiles: Sequence[BackendProfile], groups: Sequence[GroupTimes], missing: Sequence[NotProfiled]
) -> Sitting:
    model, variant, threads, batch, device = key
    weights = {
        node.name: node.weight_shape
        for profile in profiles
        for row in profile.rows
        for node in row.nodes
        if node.weight_shape is not None
    }
    return Sitting(
        model=model,
        variant=variant,
        threads=threads,
        batch=batch,
        device=device,
        profiles=tuple(sorted(profiles, key=lambda found: found.median_ms)),
        layers=tuple(_layer(place, group, weights) for place, group in enumerate(groups, start=1)),
        missing=tuple(missing),
    )


def _layer(place: int, group: GroupTimes, weights: Mapping[str, tuple[int, ...]]) -> LayerView:
    main = main_place(group.ops)
    return LayerView(
        place=place,
        label=layer_label(group),
        kind=op_kind(group.ops[main], weights.get(group.nodes[main])),
        nodes=group.nodes,
        ms=group.ms,
        limit_ms=group.limit_ms,
    )


def kind_shares(sitting: Sitting, most: int = 7) -> tuple[Share, ...]:
    """Where each backend's median goes, by kind of operator: the *most* costly kinds, the others as one.

    What is no layer comes last: the runtime's own rows, unmapped ones, and what no row accounts for. Where rows tell
    more than the median, nothing is in no row. A refused mapping is not told apart.
    """
    spent: dict[str, dict[str, float]] = {}
    for profile in sitting.profiles:
        for row in profile.rows:
            by = spent.setdefault(_row_kind(profile, row), {})
            by[profile.backend] = by.get(profile.backend, 0.0) + row.median_ms
        if profile.residual_ms > 0:
            spent.setdefault(NO_ROW, {})[profile.backend] = profile.residual_ms
    last = NO_OPERATORS
    kinds = sorted((kind for kind in spent if kind not in last), key=lambda kind: -sum(spent[kind].values()))
    if len(kinds) > most:
        others: dict[str, float] = {}
        for kind in kinds[most:]:
            for backend, ms in spent.pop(kind).items():
                others[backend] = others.get(backend, 0.0) + ms
        kinds = [*kinds[:most], "other operators"]
        spent["other operators"] = others
    return tuple(
        Share(
            backend=profile.backend,
            kind=kind,
            ms=spent[kind][profile.backend],
            share=share(spent[kind][profile.backend], profile.median_ms) or 0.0,
        )
        for profile in sitting.profiles
        for kind in [*kinds, *(kind for kind in last if kind in spent)]
        if profile.backend in spent[kind]
    )


def kind_order(every: Sequence[Sitting]) -> tuple[str, ...]:
    """Kinds of operators over all sittings, the costliest first."""
    spent: dict[str, float] = {}
    for sitting in every:
        for found in kind_shares(sitting):
            spent[found.kind] = spent.get(found.kind, 0.0) + found.ms
    return tuple(sorted((kind for kind in spent if kind not in NO_OPERATORS), key=lambda kind: -spent[kind]))


def _row_kind(profile: BackendProfile, row: RowTime) -> str:
    node = main_node(row)
    if row.standing == "runtime":
        return RUNTIME
    if profile.refused:
        return REFUSED
    return UNMAPPED if node is None else op_kind(node.op, node.weight_shape)
