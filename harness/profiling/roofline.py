"""What a machine could do at best for some nodes that run as one kernel: a bound, by its peaks and the nodes' work.

No kernel is faster than its multiplications at the peak of the precision that it executes in, nor than its bytes at the
bandwidth of the levels of the memory that can hold them. `ASSUMPTIONS` says what is taken for granted; each point makes
the bound lower, never higher, so a kernel above it means that this model of the machine is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...models.work import GroupWork
from ...reports.profiles import Roof
from ...reports.results import Peaks

__all__ = ["ASSUMPTIONS", "Ceilings", "Level", "ceilings", "named_precisions", "roof_of"]

ASSUMPTIONS = (
    "Limits count multiply-accumulates at the measured peak of the executed precision: operands in registers, nothing "
    "else to do. Dense 3x3 convolutions in floating point count Winograd's F(4x4,3x3) multiplications, up to four "
    "times fewer than the textbook's. Activations, poolings and other single operations count as free.",
    "Bytes are inputs, weights and outputs, once each, in the narrower of their own and the executed precision. Inputs "
    "and outputs lie as near to the cores as they fit; only what exceeds the nearer caches comes from further away.",
    "Each weight is read once in an inference. What the nearer caches cannot hold of all the model's weights comes "
    "from further away, and every layer has an equal part in that.",
    "Transfers of all levels and the arithmetic overlap wholly, and so do all cores.",
)
"""For people, in the output too."""

_WIDTHS = {"fp64": 8, "fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
_WORDS = {"f32": "fp32", "float": "fp32", "f16": "fp16", "i8": "int8", "u8": "int8", "uint8": "int8", "f64": "fp64"}
_FLOATS = ("fp64", "fp32", "bf16", "fp16")
_BY_WAY_OF = {"fp64": "fp32", "fp16": "fp32", "bf16": "fp32"}
"""What a kernel may convert to, and compute in, where that is faster; fp64 itself is no faster than fp32."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of the memory, as the cores that compute see it."""

    name: str
    nearer_bytes: int
    """What all levels nearer to these cores hold together."""
    bytes_ms: float
    """Bytes that reach the cores in a millisecond, read, copied or changed in place, whichever is most."""


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The rates of some cores."""

    macs_ms: Mapping[str, float]
    """Multiply-accumulates in a millisecond, by precision; those that are not known are left out."""
    levels: tuple[Level, ...]
    """Nearest first."""

    def peak(self, precision: str) -> float | None:
        """Multiply-accumulates in a millisecond in *precision*, or in what a kernel may convert it to."""
        names = (precision, _BY_WAY_OF.get(precision, ""))
        return max((self.macs_ms[name] for name in names if name in self.macs_ms), default=None)

    def fastest(self, precisions: Iterable[str]) -> str:
        """The one of *precisions* with the highest peak; "" if none is known."""
        known = [name for name in dict.fromkeys(precisions) if self.peak(name)]
        return max(known, key=lambda name: self.peak(name) or 0.0, default="")


def ceilings(peaks: Peaks, threads: int) -> Ceilings:
    """The rates of *threads* cores by *peaks*: measured for one and for all; others have no more than either allows."""
    cores = max(1, peaks.cores or 1)
    count = min(threads, cores)
    levels: list[Level] = []
    nearer = 0
    for tier in peaks.tiers:
        one, every = tier.best_gbytes_s
        rate = _rate(one, every, count, cores)
        if rate:
            levels.append(Level(name=tier.tier, nearer_bytes=nearer, bytes_ms=rate * 1e6))
        nearer += (tier.capacity_bytes or 0) * min(count, tier.instances)
    rates = {
        peak.precision: _rate(peak.single_core_gmac_s, peak.all_cores_gmac_s, count, cores) for peak in peaks.compute
    }
    return Ceilings(macs_ms={name: rate * 1e6 for name, rate in rates.items() if rate}, levels=tuple(levels))


def roof_of(
    work: GroupWork, precision: str, machine: Ceilings, *, weights_bytes: int, graph_precision: str
) -> Roof | None:
    """The roof of *work*, executed as one kernel in *precision* by a graph that computes in *graph_precision*.

    *weights_bytes* are those of the whole model. None where there is nothing to do, or no peak is known for it.
    """
    fewest = sum(node.winograd_macs if precision in _FLOATS else node.macs for node in work.nodes)
    peak = machine.peak(precision)
    if (work.macs and not peak) or not machine.levels:
        return None
    width = _WIDTHS.get(precision, 4)
    scale = min(1.0, width / _WIDTHS.get(graph_precision, 4))
    # A compiler may round a value earlier than the file does: before a Relu, where the file quantizes behind it.
    activations = (
        sum(size * min(1.0, width / own) for size, own in work.activations)
        if work.activations
        else scale * (work.input_bytes + work.output_bytes)
    )
    weights = scale * work.weight_bytes
    memory, tier = memory_ms(machine, activations, weights, scale * weights_bytes)
    compute = fewest / peak if peak else 0.0
    if not compute and not memory:
        return None
    return Roof(
        limit_ms=max(compute, memory),
        bound="compute" if compute >= memory else "memory",
        compute_ms=compute,
        direct_ms=work.macs / peak if peak else 0.0,
        memory_ms=memory,
        macs=work.macs,
        moved_bytes=round(activations + weights),
        precision=precision,
        tier=tier,
    )


def memory_ms(machine: Ceilings, activations: float, weights: float, all_weights: float) -> tuple[float, str]:
    """Milliseconds that moving so many bytes takes at least, and the level that it is owed to.

    What has to come from a level or from beyond it all passes at that level's rate.
    """
    longest, where = 0.0, machine.levels[0].name
    for level in machine.levels:
        beyond = max(0.0, activations - level.nearer_bytes)
        if all_weights:
            beyond += weights * max(0.0, 1.0 - level.nearer_bytes / all_weights)
        if beyond / level.bytes_ms > longest:
            longest, where = beyond / level.bytes_ms, level.name
    return longest, where


def named_precisions(words: str) -> tuple[str, ...]:
    """Precisions that *words* of a runtime name: "mixed(fp32: 3, int8: 50)" has two."""
    found = (_WORDS.get(word, word) for word in re.findall("[a-z]+[0-9]*", words.lower()))
    return tuple(dict.fromkeys(word for word in found if word in _WIDTHS))


def _rate(one: float | None, every: float | None, count: int, cores: int) -> float | None:
    """The rate of *count* of *cores*: never above so many times that of one core, nor above that of all."""
    if count == 1 or one is None or every is None:
        return one if count == 1 else every
    most = max(one, every)
    return most if count == cores else min(count * one, most)
