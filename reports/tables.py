"""All cells of one or more runs as CSV: one flat row a cell, ready for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from .results import Cell, Run
from .tradeoff import tradeoffs
from .views import CellView, Comparison, RunView, run_view

__all__ = ["COLUMNS", "cells_csv"]

_PLAIN = (
    "key",
    "model",
    "variant",
    "backend",
    "scenario",
    "threads",
    "batch",
    "device",
    "status",
    "reason",
    "blame",
    "stage",
    "reproducer",
    "median_ms",
    "ci_low_ms",
    "ci_high_ms",
    "ci_confidence",
    "mean_ms",
    "min_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "throughput_per_s",
    "samples",
    "warmup_calls",
    "warmup_steady",
    "converged",
    "first_inference_ms",
    "cold_start_ms",
    "cached_start_ms",
    "compile_s",
    "compile_cached",
    "load_s",
    "artifact_bytes",
    "artifact_id",
    "peak_rss_bytes",
    "rss_growth_bytes",
    "rss_method",
    "suspicious",
    "group",
    "sitting",
)
"""Fields of a cell that go into the table under their own name."""

_DERIVED = (
    "suspicious_reasons",
    "marks",
    "verdict",
    "speed_up",
    "speed_up_low",
    "speed_up_high",
    "speed_up_over",
    "pareto_front",
    "random_weights",
    "options",
    "notes",
)

_EXECUTED = (
    "executed_device",
    "executed_precision",
    "executed_threads",
    "threads_seen",
    "cores",
    "fallbacks",
)

_CHECK = ("check_reference", "check_max_rel_error", "check_tolerance")

_ACCURACY = (
    "metric",
    "value",
    "low",
    "high",
    "n",
    "pictures",
    "top5",
    "simulated",
    "vs_fp32",
    "vs_fp32_low",
    "mcnemar_p",
    "data",
    "data_sha256",
)
"""Fields of an accuracy; as columns they begin with "accuracy_"."""

_FIDELITY = (
    "cosine",
    "snr_db",
    "max_abs_error",
    "top1_agreement",
    "top1_low",
    "top1_high",
    "widest_flip",
    "as_close",
    "top1_agreement_simulated",
    "n",
    "pictures",
    "data",
    "reference",
)
"""Fields of a fidelity; as columns they begin with "fidelity_"."""

_MODEL = ("weights", "onnx_sha256", "onnx_bytes", "parameters", "zero_share")
"""Facts of the variant; as columns they begin with "model_"."""

_RUN = ("run_id", "run_status", "target_id", "target", "noise_floor")

COLUMNS = (
    *_RUN,
    *_PLAIN,
    *_DERIVED,
    *_EXECUTED,
    *_CHECK,
    *(f"accuracy_{name}" for name in _ACCURACY),
    *(f"fidelity_{name}" for name in _FIDELITY),
    *(f"model_{name}" for name in _MODEL),
)
"""Names of all columns, in order. Lists are joined by "; "; what was not measured is empty."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _text(value: object) -> object:
    """*value* as a field: true and false in lower case, a text that a spreadsheet would run as a formula quoted."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _verdict(view: CellView, comparison: Comparison) -> str:
    verdict = comparison.verdict
    return verdict.outcome if view in verdict.leaders else ""


def _derived(view: CellView, comparison: Comparison, front: frozenset[str]) -> tuple[object, ...]:
    cell, gain = view.cell, view.speed_up
    bounds = gain.interval if gain else None
    return (
        "; ".join(cell.suspicious_reasons),
        "; ".join(mark.label for mark in view.marks),
        _verdict(view, comparison),
        gain.value if gain else None,
        bounds.low if bounds else None,
        bounds.high if bounds else None,
        gain.reference if gain else None,
        view.cell.key in front,
        comparison.random_weights,
        "; ".join(f"{key}={value}" for key, value in sorted(cell.options.items())),
        "; ".join(cell.notes),
    )


def _executed(cell: Cell) -> tuple[object, ...]:
    ran = cell.executed
    if ran is None:
        return (None,) * len(_EXECUTED)
    cores = "; ".join(str(core) for core in ran.cores)
    return (ran.device, ran.precision, ran.threads, ran.threads_seen, cores, "; ".join(ran.fallbacks))


def _check(cell: Cell) -> tuple[object, ...]:
    check = cell.check
    return (None,) * len(_CHECK) if check is None else (check.reference, check.max_rel_error, check.tolerance)


def _fields(found: object, names: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(None if found is None else getattr(found, name) for name in names)


def _rows(view: RunView) -> Iterator[tuple[object, ...]]:
    front = frozenset(found.cell.key for trade in tradeoffs(view) for found in trade.leading)
    for comparison in view.comparisons:
        model = view.facts(comparison.variant)
        for found in (*comparison.measured, *comparison.failures):
            cell = found.cell
            yield (
                *_fields(cell, _PLAIN),
                *_derived(found, comparison, front),
                *_executed(cell),
                *_check(cell),
                *_fields(cell.accuracy, _ACCURACY),
                *_fields(cell.fidelity, _FIDELITY),
                *_fields(model, _MODEL),
            )


def cells_csv(runs: Sequence[Run]) -> str:
    """All cells of *runs* with the columns `COLUMNS`, comparison by comparison, fastest first, failures last."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        head = (run.id, run.status, run.target_id, run.target.name, run.noise_floor)
        for row in _rows(run_view(run)):
            writer.writerow([_text(value) for value in (*head, *row)])
    return stream.getvalue()
