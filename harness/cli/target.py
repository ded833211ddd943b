"""`bakeoff target`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

__all__ = ["target"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, by the schema of a run's `target`.")
@click.option("--remeasure", is_flag=True, help="Measure the peaks again instead of taking the kept ones.")
def target(as_json: bool, remeasure: bool) -> None:
    """Describe this machine as a hardware target, with its measured fp32 and memory rates."""
    from ...backends import registry
    from ...backends.base import Probe
    from ...reports.terminal import print_target
    from ..advisers import Advisers
    from ..cores import usable_cores
    from ..hostlock import hold_host
    from ..peaks import target_peaks
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
        peaks = target_peaks(described.id, cores, remeasure=remeasure)
    described = described.model_copy(update={"peaks": peaks})
    if as_json:
        click.echo(described.model_dump_json(indent=2))
    else:
        print_target(described)
