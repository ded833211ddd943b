"""Energy by RAPL's counters, as the kernel would show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from bakeoff.harness.energy import find_meter


def zone(root: Path, name: str, kind: str, energy_uj: int, limit: int = 999_999) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(kind + "\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


def test_packages_are_added_up(tmp_path: Path) -> None:
    """Parts of a package, and the whole board, are not counted beside it."""
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 100_000), zone(tmp_path, "intel-rapl:1", "package-1", 5)
    zone(tmp_path, "intel-rapl:0:0", "core", 7)
    zone(tmp_path, "intel-rapl:2", "psys", 7)
    meter = find_meter(tmp_path)
    before = meter.read()
    first.write_text("600000\n")
    second.write_text("250005\n")

    assert (100_000, 5) == before
    assert 0.75 == meter.joules(before, meter.read())


def test_a_counter_that_begins_again(tmp_path: Path) -> None:
    """At its range: from 900,000 of 999,999 to 100,000 are 200,000."""
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    meter = find_meter(tmp_path)
    before = meter.read()
    counter.write_text("100000\n")

    assert pytest.approx(0.2) == meter.joules(before, meter.read())


def test_no_counters(tmp_path: Path) -> None:
    """As in most virtual machines: the reason is told, for graphics cards too."""
    meter = find_meter(tmp_path)

    assert () == meter.read()
    assert "no RAPL counters" in meter.reason
    assert "NVML" in meter.reason
