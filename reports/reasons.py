"""Plain words where a variant does not bring what it promises, and why as far as the run can tell.

Three things are looked for: a lower precision that is slower than the same variant without it, zeros that bring no
speed, and accuracy that the executed integer kernels lose against the same graph computed in float.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from . import prices, words
from .ablation import Effect, effect
from .marks import precision_asked, ran_as_asked
from .recipes import recipe, steps_of, without
from .results import Accuracy, Cell, Cpu, Fidelity
from .tradeoff import Tradeoff, name_of
from .views import CellView

__all__ = ["Remark", "has_vnni", "moved", "remarks", "saturates"]

_INTEGER_UNITS = frozenset(("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "dotprod", "i8mm"))
_FLOAT_UNITS = {
    "fp16": frozenset(("avx512_fp16", "amx_fp16", "asimdhp")),
    "bf16": frozenset(("avx512_bf16", "amx_bf16", "bf16")),
}
_X86 = ("x86_64", "amd64", "i686", "i386")
_Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One sentence about one variant on one backend, or about several that share it."""

    kind: Literal["slower", "no gain", "moved"]
    text: str


def has_vnni(cpu: Cpu) -> bool | None:
    """Whether the processor multiplies 8-bit integers with a unit made for it; None where its features are unknown."""
    return None if not cpu.isa else not _INTEGER_UNITS.isdisjoint(cpu.isa)


def saturates(cpu: Cpu) -> bool:
    """Whether sums of 8-bit products are known to saturate: x86 without VNNI adds pairs of them in 16 bits."""
    return has_vnni(cpu) is False and cpu.arch.lower() in _X86


def _missing_unit(asked: str, cpu: Cpu) -> str:
    """What the processor lacks to be fast in the precision *asked*; "" where it lacks nothing or that is not known."""
    if asked in ("int8", "int8-dynamic") and has_vnni(cpu) is False:
        return "VNNI" if cpu.arch.lower() in _X86 else "8-bit dot products"
    units = _FLOAT_UNITS.get(asked)
    return f"arithmetic in {asked}" if units and cpu.isa and units.isdisjoint(cpu.isa) else ""


def _why(view: CellView, cpu: Cpu) -> str:
    """What the run knows of the reasons why *view*'s lower precision does not pay."""
    ran, asked = view.cell.executed, precision_asked(view.cell.variant)
    reasons = []
    if ran is not None and not ran_as_asked(view.cell):
        apart = " (quantizing and dequantizing were not fused into the operators)" if asked.startswith("int") else ""
        reasons.append(f"it executed in {ran.precision}{apart}")
    if ran is not None and ran.fallbacks:
        reasons.append(f"parts ran elsewhere than asked: {'; '.join(ran.fallbacks[:3])}")
    unit = _missing_unit(asked, cpu)
    if unit and ran is not None and not ran.precision.startswith("fp32"):
        reasons.append(f"this CPU has no {unit}")
    if ran is not None and "untuned" in ran.marks:
        reasons.append("the backend is untuned")
    return f"Why, as far as this run can tell: {words.listed(reasons)}." if reasons else "This run does not tell why."


def _bases(trade: Tradeoff) -> dict[tuple[str, str], CellView]:
    return {(view.cell.variant, view.label): view for view in trade.measured}


def _slower(trade: Tradeoff, floor: float, cpu: Cpu) -> Iterator[Remark]:
    """Lower precisions that are slower, beyond noise, than the variant without them, told together by reason."""
    known = _bases(trade)
    found: dict[tuple[str, str, str], list[str]] = {}
    for view in trade.measured:
        step = next((step for step in recipe(view.cell.variant).steps if step.level == 3), None)
        base = None if step is None else known.get((without(view.cell.variant, step), view.label))
        if base is None or not _clearly_slower(view, base, floor):
            continue
        figures = f"{view.label} ({words.ms(view.median_ms)} against {words.ms(base.median_ms)} ms)"
        key = steps_of(view.cell.variant), steps_of(base.cell.variant), _why(view, cpu)
        found.setdefault(key, []).append(figures)
    for (steps, base_steps, why), backends in found.items():
        text = f"{steps} is slower than {base_steps} on {words.listed(backends)}. {why}"
        yield Remark(kind="slower", text=text)


def _clearly_slower(view: CellView, base: CellView, floor: float) -> bool:
    found = effect(view, base, floor)
    return found.bounds is not None and not found.within_noise and found.value < 1.0


def _zeros(trade: Tradeoff, floor: float) -> Iterator[Remark]:
    """Variants with zeros in place that are no faster than without them, one sentence a variant."""
    known = _bases(trade)
    found: dict[tuple[str, str], list[tuple[CellView, Effect]]] = {}
    for view in trade.measured:
        step = next((step for step in recipe(view.cell.variant).steps if step.kind == "sparse"), None)
        base = None if step is None else known.get((without(view.cell.variant, step), view.label))
        if base is not None:
            pair = (steps_of(view.cell.variant), steps_of(base.cell.variant))
            found.setdefault(pair, []).append((view, effect(view, base, floor)))
    for (steps, base_steps), effects in found.items():
        idle = [(view, gain) for view, gain in effects if gain.within_noise or gain.value < 1.0]
        if idle:
            times = [gain.value for _, gain in idle]
            span = (
                words.times(min(times))
                if len(times) == 1
                else f"{words.times(min(times))} to {words.times(max(times))}"
            )
            names = words.listed([view.label for view, _ in idle])
            text = f"The zeros of {steps} bring nothing on {names}: {span} the speed of {base_steps}. "
            yield Remark(kind="no gain", text=text + "They are kept in place, and nothing there makes use of them.")


def moved(value: float, simulated: float, n: int) -> bool:
    """Whether two shares of the same *n* pictures differ beyond their paired noise, 95%.

    The run keeps no answers image by image, so the most disagreements that the two shares allow are assumed: the
    variance of the difference d is at most (min(a + b, 2 - a - b) - d^2) / n. A True is safe, a False may be cautious.
    """
    if n <= 0 or not (math.isfinite(value) and math.isfinite(simulated)):
        return False
    difference = value - simulated
    disagreeing = min(value + simulated, 2 - value - simulated)
    return abs(difference) > _Z95 * math.sqrt(max(0.0, disagreeing - difference**2) / n)


def _executed_and_simulated(cell: Cell) -> tuple[str, float, float, Accuracy | Fidelity] | None:
    found, like = cell.accuracy, cell.fidelity
    if found is not None:
        return None if found.simulated is None else (prices.metric(found.metric), found.value, found.simulated, found)
    if like is None or like.top1_agreement is None or like.top1_agreement_simulated is None:
        return None
    return "agreement with fp32", like.top1_agreement, like.top1_agreement_simulated, like


def _moved(trade: Tradeoff, cpu: Cpu) -> Iterator[Remark]:
    for view in trade.measured:
        found = _executed_and_simulated(view.cell)
        if found is None:
            continue
        title, value, simulated, judged = found
        if not moved(value, simulated, judged.pictures or judged.n):
            continue
        why = "the run does not tell why: integer kernels round otherwise than the graph in float"
        if value < simulated and view.cell.executed and "int8" in view.cell.executed.precision and saturates(cpu):
            why = "saturation of 8-bit products on a CPU without VNNI"
        text = (
            f"{name_of(view)}: {title} is {words.percent(value)} as executed and {words.percent(simulated)} simulated "
            f"in float, {prices.points(value - simulated)} on the same {prices.images(judged)}: {why}."
        )
        yield Remark(kind="moved", text=text)


def remarks(trade: Tradeoff, floor: float, cpu: Cpu) -> tuple[Remark, ...]:
    """All that has to be said of *trade* on the processor *cpu*; *floor* is the run's noise floor (0 if unknown)."""
    return (*_moved(trade, cpu), *_slower(trade, floor, cpu), *_zeros(trade, floor))
