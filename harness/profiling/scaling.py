"""Cells that gain less from threads than they have of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...reports import words
from ...reports.layer_words import main_node
from ...reports.profiles import BackendProfile, Finding

__all__ = ["alike_but_for_threads", "threads_not_scaling"]

_LOST = 0.2
"""From this part of an inference on that is worth a finding: no cell scales perfectly."""
_SHOWN = 3


def threads_not_scaling(profile: BackendProfile, beside: Sequence[BackendProfile]) -> Iterator[Finding]:
    """What *profile* loses against perfect scaling from the cell of *beside* with the fewest threads."""
    fewer = [other for other in beside if other.threads < profile.threads and alike_but_for_threads(profile, other)]
    base = min(fewer, key=lambda other: other.threads, default=None)
    if base is None:
        return
    share = base.threads / profile.threads
    lost = profile.median_ms - share * base.median_ms
    if lost < _LOST * profile.median_ms:
        return
    layers = _lost_by_node(profile, base, share)
    names = {node.name: row.name for row in profile.rows if (node := main_node(row)) is not None}
    speedup = base.median_ms / profile.median_ms
    yield Finding(
        rule="threads-not-scaling",
        ms=lost,
        words=f"threads do not scale: {profile.threads} are {words.times(speedup)} as fast as {base.threads}, where "
        f"perfect scaling would take {words.ms(share * base.median_ms)} ms, not {words.ms(profile.median_ms)}"
        + _worst(layers),
        advice=_advice(profile, base, speedup),
        nodes=tuple(layers),
        rows=tuple(names[name] for name in layers),
    )


def alike_but_for_threads(one: BackendProfile, other: BackendProfile) -> bool:
    """Whether both are one cell, with other threads perhaps."""
    return (one.variant, one.backend, one.batch, one.device) == (
        other.variant,
        other.backend,
        other.batch,
        other.device,
    )


def _lost_by_node(profile: BackendProfile, base: BackendProfile, share: float) -> dict[str, float]:
    """Milliseconds that layers lose of which both tell, most first; {} where one of the mappings was refused."""
    if base.refused:
        return {}
    before, now = _by_node(base), _by_node(profile)
    lost = {name: ms - share * before[name] for name, ms in now.items() if name in before}
    return {name: lost[name] for name in sorted(lost, key=lambda name: -lost[name]) if lost[name] > 0}


def _by_node(profile: BackendProfile) -> dict[str, float]:
    """Milliseconds by the node that rows are about."""
    found: dict[str, float] = {}
    for row in profile.rows:
        if (node := main_node(row)) is not None:
            found[node.name] = found.get(node.name, 0.0) + row.median_ms
    return found


def _worst(layers: dict[str, float]) -> str:
    """ "; conv1 loses 0.4 ms, conv2 0.1 ms"."""
    parts = [f"{name} loses {words.ms(layers[name])} ms" for name in list(layers)[:_SHOWN]]
    return f"; {words.listed(parts)}" if parts else ""


def _advice(profile: BackendProfile, base: BackendProfile, speedup: float) -> str:
    if speedup <= 1:
        return f"run it with {words.plural(base.threads, 'thread')}: more only slow it down"
    return (
        f"several sessions with {words.plural(base.threads, 'thread')} each have more throughput than one with "
        f"{profile.threads} (scenario `multi-stream`); a larger batch gives each thread more to do"
    )
