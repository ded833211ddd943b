"""From what was seen of a cell to the record that is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..models.errors import CellError, MismatchError
from ..reports.results import Cell, CheckResult, ExecutedFacts, TuningFacts, TuningPoint
from .live import LiveCell, Prepared
from .plan import CellSpec
from .protocol import Message

__all__ = ["failed_cell", "measured_cell"]


def failed_cell(
    cell: CellSpec, error: CellError, *, sitting: int, group: str, prepared: Prepared | None = None
) -> Cell:
    """The record of a cell that could not be measured; its failure is data."""
    return Cell(
        **_asked(cell),
        status=error.status,
        reason=error.reason,
        blame=error.blame,
        stage=error.stage or None,
        stderr_tail=error.stderr_tail or None,
        check=_failed_check(error, prepared),
        compile_s=prepared.compile_s if prepared else None,
        compile_cached=prepared.compile_cached if prepared else None,
        artifact_bytes=prepared.artifact_bytes if prepared else None,
        artifact_id=prepared.artifact_id if prepared else None,
        group=group,
        sitting=sitting,
        finished_at=datetime.now(UTC),
    )


def measured_cell(
    live: LiveCell,
    report: Message,
    *,
    cores: Sequence[int],
    suspicious: Sequence[str],
    notes: Sequence[str],
    sitting: int,
    group: str,
) -> Cell:
    """The record of a cell that was measured."""
    cell, prepared, summary = live.cell, live.prepared, live.summary()
    first_ms = live.first["first_ns"] / 1e6
    load_ms = live.load_s * 1e3
    return Cell(
        **_asked(cell),
        status="ok",
        median_ms=summary.median,
        ci_low_ms=summary.interval.low,
        ci_high_ms=summary.interval.high,
        ci_confidence=summary.interval.confidence,
        mean_ms=summary.mean,
        min_ms=summary.minimum,
        p90_ms=summary.p90,
        p95_ms=summary.p95,
        p99_ms=summary.p99,
        throughput_per_s=cell.batch / (summary.mean / 1e3),
        samples=summary.count,
        blocks_ms=tuple(tuple(time_ns / 1e6 for time_ns in block) for block in live.blocks_ns),
        warmup_calls=live.warm["calls"],
        warmup_steady=live.warm["steady"],
        converged=live.converged(),
        first_inference_ms=first_ms,
        cold_start_ms=prepared.compile_s * 1e3 + load_ms + first_ms,
        cached_start_ms=load_ms + first_ms,
        compile_s=prepared.compile_s,
        compile_cached=prepared.compile_cached,
        load_s=live.load_s,
        artifact_bytes=prepared.artifact_bytes,
        artifact_id=prepared.artifact_id,
        peak_rss_bytes=report["peak_rss_bytes"],
        rss_growth_bytes=report["rss_growth_bytes"],
        rss_method=report["rss_method"],
        executed=ExecutedFacts(threads_seen=report["threads_seen"], cores=tuple(cores), **_executed(report)),
        check=_check(live),
        suspicious=bool(suspicious),
        suspicious_reasons=tuple(suspicious),
        notes=(*prepared.notes, *notes),
        group=group,
        sitting=sitting,
        finished_at=datetime.now(UTC),
    )


def _asked(cell: CellSpec) -> dict[str, Any]:
    return {
        "key": cell.key,
        "model": cell.model,
        "variant": cell.full_variant,
        "backend": cell.backend,
        "scenario": cell.scenario,
        "threads": cell.threads,
        "batch": cell.batch,
        "device": cell.device,
        "options": dict(cell.options),
    }


def _failed_check(error: CellError, prepared: Prepared | None) -> CheckResult | None:
    if not isinstance(error, MismatchError) or prepared is None:
        return None
    if error.max_abs_error is None or error.max_rel_error is None or error.tolerance is None:
        return None
    return CheckResult(
        reference=prepared.reference,
        max_abs_error=error.max_abs_error,
        max_rel_error=error.max_rel_error,
        rms_rel_error=error.rms_rel_error,
        tolerance=error.tolerance,
    )


def _check(live: LiveCell) -> CheckResult:
    return CheckResult(
        reference=live.prepared.reference,
        max_abs_error=live.first["max_abs_error"],
        max_rel_error=live.first["max_rel_error"],
        rms_rel_error=live.first["rms_rel_error"],
        tolerance=live.first["tolerance"],
        sampled_outputs=live.sampled,
        sampled_max_rel_error=live.sampled_rel_error,
    )


def _executed(report: Message) -> Message:
    facts = dict(report["executed"])
    tuning = facts["tuning"]
    return {
        **facts,
        "fallbacks": tuple(facts["fallbacks"]),
        "marks": tuple(facts["marks"]),
        "tuning": None if tuning is None else _tuning(tuning),
    }


def _tuning(found: Message) -> TuningFacts:
    curve = tuple(
        TuningPoint(trials=trials, seconds=seconds, estimated_ms=estimated)
        for trials, seconds, estimated in found["curve"]
    )
    return TuningFacts(**{**found, "untuned": tuple(found["untuned"]), "curve": curve})
