"""Facts about a run as pairs of name and words: its target, its manifest, the machine's state, its controls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import words
from .peak_figures import peak_figures
from .results import Cell, MachineState, ModelFacts, Peaks, Run, Target

__all__ = [
    "Fact",
    "check_references",
    "control_words",
    "model_facts",
    "noise_words",
    "rss_methods",
    "run_facts",
    "state_facts",
    "target_facts",
    "threads_words",
    "time_spent",
]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One line of a list of facts."""

    name: str
    value: str


def _facts(pairs: list[tuple[str, str]]) -> tuple[Fact, ...]:
    return tuple(Fact(name=name, value=value) for name, value in pairs if value)


def _cores(target: Target) -> str:
    cpu = target.cpu
    physical = f"{words.plural(cpu.physical_cores, 'physical core')}, " if cpu.physical_cores else ""
    return f"{physical}{cpu.logical_cores} logical, {cpu.usable_cores} usable here"


def _peak_facts(peaks: Peaks | None) -> list[tuple[str, str]]:
    if peaks is None:
        return []
    pairs = [(name, f"{words.rate(rate)} {unit}") for name, (rate, unit) in peak_figures(peaks).items()]
    return [*pairs, ("Rates measured by", peaks.method)] if pairs else []


def target_facts(target: Target) -> tuple[Fact, ...]:
    """What the hardware is, its limits and its measured rates."""
    cpu = target.cpu
    return _facts(
        [
            ("Processor", cpu.model),
            ("Architecture", cpu.arch),
            ("Cores", _cores(target)),
            ("Instruction sets", ", ".join(cpu.isa)),
            ("Caches", ", ".join(f"{level} {words.binary_size(count)}" for level, count in cpu.caches.items())),
            ("Memory", words.binary_size(target.memory_bytes)),
            ("Operating system", target.os),
            ("Kernel", target.kernel),
            ("Python", target.python),
            ("Container limits", ", ".join(f"{key} {value}" for key, value in target.container.items())),
            (
                "Accelerators",
                "; ".join(f"{a.kind} {a.name} (seen by {a.seen_by})" for a in target.accelerators) or "none seen",
            ),
            *_peak_facts(target.peaks),
            ("Target id", target.id),
        ]
    )


def time_spent(run: Run) -> float | None:
    """Seconds from the start of *run* to its end, None while it is unfinished."""
    return None if run.finished_at is None else (run.finished_at - run.created_at).total_seconds()


def run_facts(run: Run) -> tuple[Fact, ...]:
    """The manifest of *run*."""
    spent = time_spent(run)
    phases = ", ".join(f"{phase.name} {words.seconds(phase.seconds)}" for phase in run.phases)
    sittings = len({cell.sitting for cell in run.cells})
    return _facts(
        [
            ("Run", run.id),
            ("Suite", run.suite),
            ("bakeoff", run.bakeoff_version),
            ("Started", words.when(run.created_at)),
            ("Finished", words.when(run.finished_at) if run.finished_at else f"not finished ({run.status})"),
            ("Time from start to end", words.seconds(spent) if spent is not None else ""),
            ("Time by kind of work", phases),
            ("Sittings", f"{sittings}: the run was interrupted and resumed" if sittings > 1 else ""),
            ("Noise floor", noise_words(run)),
        ]
    )


def noise_words(run: Run) -> str:
    """The run's noise floor in words."""
    if run.noise_floor is None:
        return "not known: this run has no A/A control"
    return f"{words.percent(run.noise_floor)}: smaller differences are noise"


def control_words(run: Run) -> tuple[str, ...]:
    """One sentence for each A/A control."""
    return tuple(
        f"{control.cell}, measured twice: {words.ms(control.median_ms)} and {words.ms(control.twin_median_ms)} ms, "
        f"ratio {control.ratio:.3f}; floor {words.percent(control.floor)} over {words.plural(control.rounds, 'round')}"
        for control in run.controls
    )


def state_facts(state: MachineState) -> tuple[str, ...]:
    """One row: time, load, governor, frequency, temperature, steal, throttled periods, free memory, busy processes."""

    def shown(value: float | None, form: str) -> str:
        return words.MISSING if value is None else form.format(value)

    return (
        words.when(state.when),
        shown(state.load_1m, "{:.2f}"),
        state.governor or words.MISSING,
        shown(state.frequency_mhz, "{:,.0f} MHz"),
        shown(state.temperature_c, "{:.0f} °C"),
        shown(state.steal_percent, "{:.1f}%"),
        shown(state.throttled_periods, "{:,}"),
        words.binary_size(state.memory_available_bytes),
        "; ".join(state.busy_processes) or "none",
    )


def model_facts(facts: ModelFacts) -> tuple[Fact, ...]:
    """Where a model came from."""
    return _facts(
        [
            ("Source", facts.source),
            ("Weights", _weights(facts)),
            ("Licence", facts.licence),
            ("Task", facts.task),
            ("Family", facts.family),
            ("Inputs", "; ".join(f"{name}: {what}" for name, what in facts.inputs.items())),
            ("ONNX file", f"{words.size(facts.onnx_bytes)}, sha256 {facts.onnx_sha256}" if facts.onnx_sha256 else ""),
            ("Lighter model to try", facts.light_alternative or ""),
            *((f"Stamped: {key}", value) for key, value in facts.provenance.items()),
            *((f"Note {number}", note) for number, note in enumerate(facts.notes, 1)),
        ]
    )


def _weights(facts: ModelFacts) -> str:
    if facts.weights == "random":
        return "random: latency only, accuracy is not reported"
    return f"{facts.weights} ({facts.weights_origin})" if facts.weights_origin else facts.weights


def threads_words(cell: Cell) -> str:
    """Threads asked, said by the runtime, and seen by the kernel: "2 asked, 2 said, 2 seen"."""
    ran = cell.executed
    if ran is None:
        return f"{cell.threads} asked"
    seen = f", {ran.threads_seen} seen" if ran.threads_seen is not None else ", not counted"
    return f"{cell.threads} asked, {ran.threads} said{seen}"


def check_references(cells: Iterable[Cell]) -> tuple[str, ...]:
    """What computed the references that the outputs of *cells* were compared with."""
    return tuple(dict.fromkeys(cell.check.reference for cell in cells if cell.check is not None))


def rss_methods(cells: Iterable[Cell]) -> tuple[str, ...]:
    """How the peak memory of *cells* was measured."""
    return tuple(dict.fromkeys(cell.rss_method for cell in cells if cell.rss_method))
