"""What a run says, worked out once for every kind of output: comparisons, verdicts, ties and speed-ups.

All functions are pure. A *comparison* holds the cells of one variant at one setting (scenario, batch, threads), and
its verdict ranks them; variants of one model are weighed against each other in `tradeoff`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from . import words
from .intervals import Interval, interval_of, ratio
from .marks import Mark, cell_marks, not_interleaved
from .recipes import REFERENCE, steps_of
from .results import Cell, ModelFacts, Run
from .speedups import BASELINE, SpeedUp, baseline_of, has_figure, speed_up, took_turns

__all__ = [
    "CellView",
    "Comparison",
    "RunView",
    "Setting",
    "Verdict",
    "judge",
    "run_view",
]

Outcome = Literal["fastest", "tie", "only", "undecided", "none"]


@dataclass(frozen=True, kw_only=True, order=True)
class Setting:
    """What the cells of one comparison share besides the variant."""

    scenario: str
    batch: int
    threads: int

    @property
    def title(self) -> str:
        """ "2 threads, batch 1, single-stream"."""
        return f"{words.plural(self.threads, 'thread')}, batch {self.batch}, {self.scenario}"


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A cell with what must be said beside its figure."""

    cell: Cell
    label: str
    """Its backend, and as much more as tells it apart: the device, the options."""
    interval: Interval | None
    marks: tuple[Mark, ...] = ()
    speed_up: SpeedUp | None = None

    @property
    def median_ms(self) -> float:
        """Median latency in milliseconds. Only for a cell that was measured."""
        if self.cell.median_ms is None:
            raise ValueError(f"{self.cell.key} has no median")
        return self.cell.median_ms

    @property
    def status(self) -> str:
        """The cell's status; "no figure" for one that claims to be ok without a usable median."""
        return self.cell.status if self.cell.status != "ok" else "no figure"

    @property
    def mark_words(self) -> str:
        """All mark labels as one string, "" without any."""
        return ", ".join(mark.label for mark in self.marks)

    @property
    def marked_label(self) -> str:
        """The label with its marks: "tvm (untuned)"."""
        return f"{self.label} ({self.mark_words})" if self.marks else self.label


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Which backend is fastest in one comparison, and who cannot be told apart from it."""

    outcome: Outcome
    best: CellView | None = None
    """Lowest median."""
    ties: tuple[CellView, ...] = ()
    """Others that the intervals and the noise floor do not separate from the best."""
    next: CellView | None = None
    """The fastest that is not among the ties."""
    lead: Interval | None = None
    """How many times slower than the best the next is."""

    @property
    def leaders(self) -> tuple[CellView, ...]:
        """The best and all that tie with it."""
        return () if self.best is None else (self.best, *self.ties)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All cells of one variant at one setting."""

    model: str
    variant: str
    setting: Setting
    random_weights: bool
    measured: tuple[CellView, ...]
    """Cells with a figure, fastest first."""
    failures: tuple[CellView, ...]
    verdict: Verdict
    interleaved: bool
    """All measured cells took turns with each other."""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run, ready to be shown."""

    run: Run
    comparisons: tuple[Comparison, ...]
    """Variants in the order of the suite, settings from few to many threads."""
    backends: tuple[str, ...]
    has_baseline: bool
    """Whether any speed-up can be given."""

    @property
    def measured(self) -> tuple[CellView, ...]:
        """All cells with a figure, comparison by comparison."""
        return tuple(view for comparison in self.comparisons for view in comparison.measured)

    @property
    def failures(self) -> tuple[CellView, ...]:
        """All cells without a figure."""
        return tuple(view for comparison in self.comparisons for view in comparison.failures)

    @property
    def floor(self) -> float:
        """The run's noise floor, 0 if it is not known: then intervals decide alone."""
        return self.run.noise_floor or 0.0

    @property
    def over(self) -> str:
        """What speed-ups refer to, in words: "eager" where each refers to its own variant, else "eager fp32"."""
        own = all(
            view.speed_up is None or view.speed_up.reference == f"{BASELINE} {steps_of(view.cell.variant)}"
            for view in self.measured
        )
        return BASELINE if own else f"{BASELINE} {REFERENCE}"

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """All settings, in order."""
        return tuple(sorted({comparison.setting for comparison in self.comparisons}))

    @property
    def variants(self) -> tuple[str, ...]:
        """All variants in the order of the suite."""
        return tuple(dict.fromkeys(comparison.variant for comparison in self.comparisons))

    def of_variant(self, variant: str) -> tuple[Comparison, ...]:
        """The comparisons of *variant*."""
        return tuple(comparison for comparison in self.comparisons if comparison.variant == variant)

    def at(self, setting: Setting) -> tuple[Comparison, ...]:
        """The comparisons at *setting*."""
        return tuple(comparison for comparison in self.comparisons if comparison.setting == setting)

    def short_title(self, setting: Setting) -> str:
        """*setting* in as few words as tell the settings of this run apart; threads are always named."""
        parts = [words.plural(setting.threads, "thread")]
        if len({other.batch for other in self.settings}) > 1:
            parts.append(f"batch {setting.batch}")
        if len({other.scenario for other in self.settings}) > 1:
            parts.append(setting.scenario)
        return ", ".join(parts)

    def facts(self, variant: str) -> ModelFacts | None:
        """Where the model of *variant* came from, if the run says."""
        return next((facts for facts in self.run.models if facts.variant == variant), None)


def _labels(cells: Sequence[Cell], several_devices: bool) -> dict[str, str]:
    """Label by cell key; options are named only where backend and device do not tell two cells apart."""
    plain = {cell.key: f"{cell.backend} on {cell.device}" if several_devices else cell.backend for cell in cells}
    taken = list(plain.values())
    labels = {}
    for cell in cells:
        options = ", ".join(f"{key}={value}" for key, value in sorted(cell.options.items()))
        alone = taken.count(plain[cell.key]) == 1
        labels[cell.key] = plain[cell.key] if alone or not options else f"{plain[cell.key]} [{options}]"
    return labels


def _cell_view(cell: Cell, pool: Sequence[Cell], label: str, floor: float) -> CellView:
    marks = cell_marks(cell)
    if not has_figure(cell):
        return CellView(cell=cell, label=label, interval=None, marks=marks)
    baseline = baseline_of(cell, pool)
    if baseline is not None and not took_turns(cell, baseline):
        marks = (*marks, not_interleaved("its baseline"))
    return CellView(
        cell=cell, label=label, interval=interval_of(cell), marks=marks, speed_up=speed_up(cell, baseline, floor)
    )


def judge(measured: Sequence[CellView], floor: float) -> Verdict:
    """The verdict on *measured* cells of one comparison; *floor* is the run's noise floor (0 if unknown).

    A cell ties with the best if the conservative ratio of the two, widened by *floor*, includes 1. A cell without an
    interval cannot be ranked: it neither wins nor ties as long as another cell has one.
    """
    ranked = sorted((view for view in measured if view.interval is not None), key=lambda view: view.median_ms)
    if not ranked:
        lone = min(measured, key=lambda view: view.median_ms, default=None)
        return Verdict(outcome="none" if lone is None else "undecided", best=lone)
    best = ranked[0]
    ties: list[CellView] = []
    slower: list[CellView] = []
    for view in ranked[1:]:
        bounds = _to_best(view, best).widened(floor)
        (ties if bounds.holds(1.0) else slower).append(view)
    outcome: Outcome = "only" if len(measured) == 1 else "tie" if ties else "fastest"
    return Verdict(
        outcome=outcome,
        best=best,
        ties=tuple(ties),
        next=slower[0] if slower else None,
        lead=_to_best(slower[0], best) if slower else None,
    )


def _to_best(view: CellView, best: CellView) -> Interval:
    if view.interval is None or best.interval is None:
        raise ValueError("only cells with an interval are ranked")
    return ratio(view.interval, best.interval)


def _comparison(cells: Sequence[Cell], pool: Sequence[Cell], shared: _Shared) -> Comparison:
    labels = _labels(cells, shared.several_devices)
    views = [_cell_view(cell, pool, labels[cell.key], shared.floor) for cell in cells]
    measured = sorted((view for view in views if has_figure(view.cell)), key=lambda view: view.median_ms)
    first = cells[0]
    return Comparison(
        model=first.model,
        variant=first.variant,
        setting=_setting(first),
        random_weights=first.variant in shared.random,
        measured=tuple(measured),
        failures=tuple(view for view in views if not has_figure(view.cell)),
        verdict=judge(measured, shared.floor),
        interleaved=all(took_turns(measured[0].cell, view.cell) for view in measured),
    )


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """What all comparisons of one run share."""

    floor: float
    several_devices: bool
    random: frozenset[str]
    """Variants with random weights."""


def _setting(cell: Cell) -> Setting:
    return Setting(scenario=cell.scenario, batch=cell.batch, threads=cell.threads)


def _grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells by variant (in their order) and setting (sorted)."""
    variants: dict[str, dict[Setting, list[Cell]]] = {}
    for cell in cells:
        variants.setdefault(cell.variant, {}).setdefault(_setting(cell), []).append(cell)
    return [settings[setting] for settings in variants.values() for setting in sorted(settings)]


def _in_order(run: Run) -> list[Cell]:
    """The cells of *run* as its suite lists models and variants; others follow in the order in which they ended."""
    matrix = run.suite_config.get("matrix")
    listed = {name: matrix.get(name) for name in ("models", "variants")} if isinstance(matrix, dict) else {}
    ranks = {
        name: {word: rank for rank, word in enumerate(words) if isinstance(word, str)}
        for name, words in listed.items()
        if isinstance(words, list | tuple)
    }
    models, variants = ranks.get("models", {}), ranks.get("variants", {})
    return sorted(
        run.cells,
        key=lambda cell: (
            models.get(cell.model, len(models)),
            variants.get(steps_of(cell.variant), len(variants)),
        ),
    )


def run_view(run: Run) -> RunView:
    """All that the outputs show of *run*."""
    shared = _Shared(
        floor=run.noise_floor or 0.0,
        several_devices=len({cell.device for cell in run.cells}) > 1,
        random=frozenset(facts.variant for facts in run.models if facts.weights == "random"),
    )
    pools: dict[tuple[str, Setting], list[Cell]] = {}
    ordered = _in_order(run)
    for cell in ordered:
        pools.setdefault((cell.model, _setting(cell)), []).append(cell)
    grouped = _grouped(ordered)
    comparisons = tuple(_comparison(cells, pools[cells[0].model, _setting(cells[0])], shared) for cells in grouped)
    return RunView(
        run=run,
        comparisons=comparisons,
        backends=tuple(sorted({cell.backend for cell in run.cells})),
        has_baseline=any(view.speed_up is not None for found in comparisons for view in found.measured),
    )
