"""`bakeoff target`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...reports.results import Peaks, Target

__all__ = ["target"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, by the schema of a run's `target`.")
@click.option(
    "--remeasure",
    is_flag=True,
    help="Measure the peaks again, for up to three minutes; of each, the best that was ever measured counts.",
)
@click.option(
    "--forget",
    is_flag=True,
    help="Drop the peaks that were measured before, and measure them anew, for up to three minutes.",
)
def target(as_json: bool, remeasure: bool, forget: bool) -> None:
    """Describe this machine as a hardware target.

    What its cores and its memory can do at best is measured once, in half a minute or less, and kept.
    """
    from ...backends import registry
    from ...backends.base import Probe
    from ..advisers import Advisers
    from ..cores import usable_cores
    from ..hostlock import hold_host
    from ..peaks_kept import target_peaks
    from ..target import describe_target

    cores = usable_cores()
    with hold_host(lambda words: click.echo(words, err=True)):
        with (
            tempfile.TemporaryDirectory(prefix="bakeoff-target-") as scratch,
            Advisers(registry.names(), {}, cores=cores, scratch=Path(scratch)) as advisers,
        ):
            probes = {
                name: Probe(available=fact.available, devices=fact.devices) for name, fact in advisers.facts.items()
            }
        described = describe_target(probes)
        peaks = target_peaks(described.id, cores, remeasure=remeasure, forget=forget)
    described = described.model_copy(update={"peaks": peaks})
    if as_json:
        click.echo(described.model_dump_json(indent=2))
    else:
        for name, value in _facts(described):
            click.echo(f"{name:<22}{value}")


def _facts(target: Target) -> Iterator[tuple[str, str]]:
    cpu = target.cpu
    yield "id", target.id
    yield "name", target.name
    yield "processor", f"{cpu.model} ({cpu.arch})"
    yield "features", " ".join(cpu.isa) or "none that matter here"
    yield "cores", f"{cpu.usable_cores} usable of {cpu.logical_cores} ({cpu.physical_cores or 'unknown'} physical)"
    yield "caches", ", ".join(f"{level} {size // 1024} KiB" for level, size in cpu.caches.items()) or "unknown"
    yield "memory", f"{target.memory_bytes / 2**30:.1f} GiB"
    yield "system", f"{target.os}, kernel {target.kernel}"
    for name, value in target.container.items():
        yield name.replace("_", " "), value
    for accelerator in target.accelerators:
        yield accelerator.kind, f"{accelerator.name} (seen by {accelerator.seen_by})"
    if target.peaks is not None:
        peaks = target.peaks
        yield "fp32 GEMM", _rates(peaks.gemm_fp32_single_core_gflops, peaks.gemm_fp32_all_cores_gflops, "GFLOP/s")
        yield (
            "numpy copies",
            _rates(peaks.copy_bandwidth_single_core_gbytes_s, peaks.copy_bandwidth_all_cores_gbytes_s, "GB/s"),
        )
        yield from _roofs(peaks)


def _roofs(peaks: Peaks) -> Iterator[tuple[str, str]]:
    """What nothing that runs here can exceed."""
    from ...reports.peak_figures import unsettled_words

    yield "peaks", f"best of {peaks.measurements} measurement{'s' if peaks.measurements > 1 else ''}"
    for peak in peaks.compute:
        rates = _rates(peak.single_core_gmac_s, peak.all_cores_gmac_s, "GMAC/s")
        notes = "; ".join(part for part in (peak.instruction, peak.reason) if part)
        yield f"{peak.precision} roof", f"{rates} ({notes})" if notes else rates
    for tier in peaks.tiers:
        shown = {way: _rates(*pair, "GB/s") for way, pair in tier.rates_gbytes_s.items()}
        if tier.reason:
            yield f"{tier.tier} read", f"{shown['read']} ({tier.reason})"
        else:
            yield from ((f"{tier.tier} {way}", words) for way, words in shown.items())
    if peaks.unsettled:
        yield "not settled", unsettled_words(peaks)


def _rates(one: float | None, every: float | None, unit: str) -> str:
    shown = [f"{rate:.1f} {unit} on {words}" for rate, words in ((one, "one core"), (every, "all")) if rate is not None]
    return ", ".join(shown) or "not measured"
