"""Builds profiles as a sitting would leave them: a mobile net of any depth, its times drawn from a seed."""

from __future__ import annotations

import math
import random
from typing import Any

from bakeoff.reports.profiles import (
    BackendProfile,
    Finding,
    GroupTimes,
    NotProfiled,
    ProfileReport,
    Roof,
    RowNode,
    RowTime,
    TimeShares,
    VariantTimes,
)
from bakeoff.reports.results import ComputePeak, Peaks, TierPeak

__all__ = ["BACKENDS", "make_profile", "make_report"]

BACKENDS = {"onnxruntime": 1.0, "openvino": 0.82, "litert": 0.95, "tvm": 1.15, "inductor": 0.88}
"""By name, how long a layer takes."""
_PEAK = 95.0
"""10^9 multiply-accumulates a second."""
_BANDWIDTH = {"L2": 60.0, "memory": 20.0}
"""10^9 bytes a second."""


def _layer(place: int, layers: int) -> tuple[str, tuple[str, ...], tuple[int, ...], Roof]:
    """(scope, operators, weight shape, roof) of the layer at *place*."""
    width = 16 * 2 ** min(5, 6 * place // layers)
    size = 112 // 2 ** min(4, 5 * place // layers)
    if place == layers - 1:
        weight, ops, macs = (1000, width), ("Gemm",), 1000 * width
    elif place % 3 == 1:
        weight, ops, macs = (width, 1, 3, 3), ("Conv", "Clip"), width * 9 * size * size
    elif place % 9 == 8:
        weight, ops, macs = (width, width, 3, 3), ("Conv", "Relu", "Add"), width * width * 9 * size * size
    else:
        weight, ops, macs = (width, width, 1, 1), ("Conv", "Clip"), width * width * size * size
    moved = 4 * (math.prod(weight) + 2 * width * size * size)
    tier = "L2" if moved < 1_000_000 else "memory"
    compute, memory = macs / _PEAK / 1e6, moved / _BANDWIDTH[tier] / 1e6
    roof = Roof(
        limit_ms=max(compute, memory),
        bound="compute" if compute >= memory else "memory",
        compute_ms=compute,
        direct_ms=compute,
        memory_ms=memory,
        macs=macs,
        moved_bytes=moved,
        precision="fp32",
        tier=tier,
    )
    return f"features.{place // 3}.{['expand', 'depthwise', 'project'][place % 3]}", ops, weight, roof


def _row(place: int, layers: int, times: float, rng: random.Random) -> RowTime:
    scope, ops, weight, roof = _layer(place, layers)
    ms = roof.limit_ms * times * rng.uniform(1.15, 1.6) + 0.004
    nodes = tuple(
        RowNode(
            name=f"/{scope.replace('.', '/')}/{op}_{place}",
            op=op,
            evidence="name" if number == 0 else "grown",
            scope=scope if number == 0 else "",
            weight_shape=weight if number == 0 else None,
        )
        for number, op in enumerate(ops)
    )
    return RowTime(
        name=f"fused_{place}",
        kind="Convolution",
        standing="anchored",
        median_ms=ms,
        typical_ms=ms,
        precision="fp32",
        nodes=nodes,
        limit_ms=roof.limit_ms,
        efficiency=roof.limit_ms / ms,
        roof=roof,
    )


def make_profile(
    backend: str, *, model: str = "net", variant: str = "net@fp32", layers: int = 54, times: float = 1.0, **changed: Any
) -> BackendProfile:
    """A profile whose layers take *times* what is usual for *backend*."""
    rng = random.Random(f"{backend} {variant} {layers}")
    pace = BACKENDS.get(backend, 1.3) * times
    rows = [_row(place, layers, pace, rng) for place in range(layers)]
    total = sum(row.median_ms for row in rows)
    copy = RowTime(name="reorder", kind="Reorder", standing="runtime", median_ms=0.03 * total, typical_ms=0.03 * total)
    rows.insert(1, copy)
    summed = sum(row.median_ms for row in rows)
    limit = sum(row.limit_ms or 0.0 for row in rows)
    median = summed * rng.uniform(1.01, 1.06)
    slow = rows[2]
    facts: dict[str, Any] = {
        "model": model,
        "variant": variant,
        "backend": backend,
        "threads": 1,
        "batch": 1,
        "device": "cpu",
        "version": "1.2.3",
        "precision": "fp32",
        "median_ms": median,
        "ci_low_ms": 0.992 * median,
        "ci_high_ms": 1.009 * median,
        "first_ms": 4 * median,
        "profiled_ms": 1.03 * median,
        "overhead": 1.03,
        "typical_ms": 1.03 * median,
        "inferences": 40,
        "sum_ms": summed,
        "residual_ms": median - summed,
        "between_ms": 1.03 * median - summed,
        "shares": TimeShares(anchored=0.965, grown=0.005, runtime=0.03, unmapped=0.0),
        "refused": False,
        "checks": {"owned once": True, "order": True, "flow": True, "weights": True, "outputs": True},
        "rows": tuple(rows),
        "limit_ms": limit,
        "efficiency": limit / median,
        "findings": (
            Finding(
                rule="memory-bound",
                ms=2 * slow.median_ms,
                words="5 depthwise convolutions take 12% of the time and wait for memory",
                advice="fuse them with the convolution before, or try channels-last",
                nodes=tuple(node.name for node in slow.nodes),
                rows=(slow.name,),
            ),
            Finding(
                rule="copies",
                ms=copy.median_ms,
                words="1 row copies values into another layout",
                advice="feed the input in the layout that the runtime wants: `--layout <NHWC>`",
                rows=(copy.name,),
            ),
            Finding(
                rule="first-inference",
                ms=3 * median,
                once=True,
                words="the first inference takes 4 times as long as the others",
                advice="warm up before serving",
            ),
        ),
    }
    return BackendProfile(**{**facts, **changed})


def make_report(
    *, variants: tuple[str, ...] = ("fp32",), backends: tuple[str, ...] = (), layers: int = 54, **changed: Any
) -> ProfileReport:
    """A report on one net in *variants* on *backends*, three of them by default."""
    names = backends or ("onnxruntime", "openvino", "litert")
    profiles = [
        make_profile(backend, variant=f"net@{variant}", layers=layers, times=1.0 - 0.3 * number)
        for number, variant in enumerate(variants)
        for backend in names
    ]
    groups = [group for variant in variants for group in _groups(f"net@{variant}", profiles, layers)]
    missing = NotProfiled(
        model="net", variant=f"net@{variants[0]}", backend="eager", threads=1, batch=1, device="cpu",
        status="unsupported", reason="it has no profiler of its own",
    )  # fmt: skip
    facts: dict[str, Any] = {
        "bakeoff_version": "0.1.0",
        "target_id": "t1",
        "command": "bakeoff profile --model net",
        "profiles": tuple(profiles),
        "groups": tuple(groups),
        "peaks": Peaks(
            compute=(ComputePeak(precision="fp32", single_core_gmac_s=_PEAK),),
            tiers=tuple(TierPeak(tier=name, read_single_core_gbytes_s=rate) for name, rate in _BANDWIDTH.items()),
            cores=2,
        ),
        "assumptions": ("Each weight is read once in an inference.",),
        "layers": tuple(_layers(groups, layers)) if len(variants) > 1 else (),
        "not_profiled": (missing,),
    }
    return ProfileReport(**{**facts, **changed})


def _groups(variant: str, profiles: list[BackendProfile], layers: int) -> list[GroupTimes]:
    own = [profile for profile in profiles if profile.variant == variant]
    rows = [[row for row in profile.rows if row.nodes] for profile in own]
    return [
        GroupTimes(
            model="net",
            variant=variant,
            threads=1,
            batch=1,
            device="cpu",
            nodes=tuple(node.name for node in rows[0][place].nodes),
            ops=tuple(node.op for node in rows[0][place].nodes),
            scopes=tuple(node.scope for node in rows[0][place].nodes),
            ms={profile.backend: mine[place].median_ms for profile, mine in zip(own, rows, strict=True)},
            limit_ms=rows[0][place].limit_ms,
            roof=rows[0][place].roof,
        )
        for place in range(layers)
    ]


def _layers(groups: list[GroupTimes], layers: int) -> list[VariantTimes]:
    return [
        VariantTimes(
            model="net",
            threads=1,
            batch=1,
            device="cpu",
            nodes=groups[place].nodes,
            ops=groups[place].ops,
            scopes=groups[place].scopes,
            ms={group.variant: group.ms for group in groups[place::layers]},
        )
        for place in range(layers)
    ]
