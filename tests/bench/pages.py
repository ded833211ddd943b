"""The bar over a report of thousands of layers: small, soon made, soon usable."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bakeoff.reports.profiles import ProfileReport
from bakeoff.reports.results import Run
from bakeoff.reports.write import write_report

sys.path.insert(0, str(Path(__file__).parent.with_name("reports")))
import plausible_profiles
import plausible_runs

Say = Callable[[str, float, str, bool], bool]
LAYERS = 250
VARIANTS = ("fp32", "int8", "channel50", "channel50+int8")
TURNS = 3


def report(say: Say) -> bool:
    """A run of 20 cells with their profiles, 5,000 rows in all: the page's size, and the seconds until it is there and
    until Chromium has sorted a table of it by another column."""
    run: Run = plausible_runs.quick_run(200)
    found: ProfileReport = plausible_profiles.make_report(
        layers=LAYERS, variants=VARIANTS, backends=tuple(plausible_profiles.BACKENDS), target_id=run.target_id
    )
    rows = sum(len(profile.rows) for profile in found.profiles)
    print(f"        {len(run.cells)} cells, {len(found.profiles)} profiles, {rows} rows", flush=True)
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as folder:
        times = []
        for _ in range(TURNS):
            begin = time.perf_counter()
            write_report([run], Path(folder), profiles=[found])
            times.append(time.perf_counter() - begin)
        page = Path(folder) / "index.html"
        size = page.stat().st_size / 1e6
        met = say("report of 5,000 layer rows, MB", size, "under 5", size < 5)
        # The first turn imports what draws, as the command does.
        met &= say(
            f"making it, s (then {', '.join(f'{s:.2f}' for s in times[1:])})", times[0], "under 10", times[0] < 10
        )
        usable = max(_usable_s(page) for _ in range(TURNS))
        return met & say(f"until it is usable in Chromium, the slowest of {TURNS}, s", usable, "under 2", usable < 2)


def _usable_s(page: Path) -> float:
    """Seconds from the navigation in a fresh browser until a table is sorted by another column."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        tab = browser.new_page()
        begin = time.perf_counter()
        tab.goto(page.as_uri())
        table = tab.locator("[data-layers]").first
        table.locator("thead button").nth(3).click()
        table.locator("th[aria-sort]").first.wait_for()
        taken = time.perf_counter() - begin
        browser.close()
    return taken
