"""Markdown, CSV, JSON Schema, terminal and the words that figures become."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from bakeoff.reports import words
from bakeoff.reports.markdown import code, summary_markdown
from bakeoff.reports.results import SCHEMA_VERSION, Run
from bakeoff.reports.schema import SCHEMA_PATH, run_schema
from bakeoff.reports.tables import COLUMNS, cells_csv
from bakeoff.reports.terminal import run_report
from rich.console import Console

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))


def _terminal(run: Run, width: int = 110) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(run_report(run))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_runs_load_and_are_shown(path: Path) -> None:
    """A result file of every old schema version loads, and every text output takes it."""
    run = Run.model_validate_json(path.read_text())

    assert int(path.stem[1:].partition("-")[0]) == run.schema_version
    assert run == Run.model_validate_json(run.model_dump_json())
    assert summary_markdown([run]).startswith("## bakeoff\n")
    assert len(run.cells) + 1 == len(list(csv.reader(io.StringIO(cells_csv([run])))))
    assert "Noise floor" in _terminal(run)


def test_the_current_schema_version_has_a_golden_file() -> None:
    """Raising the version without keeping a file of it is an error."""
    assert f"v{SCHEMA_VERSION}-quick" in [path.stem for path in GOLDEN]


def test_the_shipped_schema_is_current() -> None:
    """`python -m bakeoff.reports.schema` has been run since the last change of `Run`."""
    assert run_schema() == SCHEMA_PATH.read_text(encoding="utf-8")
    assert {"cells", "target_id", "noise_floor", "command"} <= set(json.loads(run_schema())["properties"])


def test_markdown_shows_ties_marks_and_failures(plausible: ModuleType) -> None:
    """The summary says who ties, what is doubtful and what failed, with reason and blame."""
    text = summary_markdown([plausible.quick_run(20)])

    assert "**tie:** `litert` (`not interleaved with its baseline`)<br>`onnxruntime`" in text
    assert "`mobilenet_v2@fp32` (random weights)" in text
    assert "`backup (4711) used 87% of a core`" in text
    assert "failed: `the worker was killed by SIGSEGV while it compiled`; looks like the fault of `compiler`" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "`a\\|b`"),
        ("`rm` @someone", "`'rm' @someone`"),
        ("two\nlines", "`two lines`"),
        ("", ""),
        ("x" * 400, f"`{'x' * 299}…`"),
    ],
)
def test_markdown_names_stand_in_code_spans(text: str, expected: str) -> None:
    """Nothing in a name ends the table cell, mentions a person or becomes markup."""
    assert expected == code(text)


def test_markdown_headline_is_escaped(plausible: ModuleType) -> None:
    """A backend's name in the headline is text."""
    cells = (
        plausible.measured_cell("resnet18", "<img src=x>", 1, centre=1.0),
        plausible.measured_cell("resnet18", "[b](http://x)", 1, centre=2.0),
    )
    text = summary_markdown([plausible.make_run(cells)])

    assert "**&lt;img src=x&gt; is fastest in 1 of 1 comparison.**" in text


def test_csv_has_a_row_for_each_cell_with_doubts_and_reasons(plausible: ModuleType) -> None:
    """Every cell is there, measured or not, with its suspicion, its verdict and its speed-up."""
    run = plausible.quick_run(20)
    rows = list(csv.DictReader(io.StringIO(cells_csv([run]))))

    assert set(COLUMNS) == set(rows[0])
    assert {cell.key for cell in run.cells} == {row["key"] for row in rows}
    (doubtful,) = [row for row in rows if row["suspicious"] == "true"]
    assert "backup (4711) used 87% of a core" == doubtful["suspicious_reasons"]
    assert "suspicious" in doubtful["marks"]
    (failed,) = [row for row in rows if row["status"] == "failed"]
    assert ("", "compiler") == (failed["median_ms"], failed["blame"])
    assert {"fastest", "tie", ""} == {row["verdict"] for row in rows}


def test_csv_defuses_formulas(plausible: ModuleType) -> None:
    """A reason that a spreadsheet would run is quoted."""
    run = plausible.make_run((plausible.failed_cell("resnet18", "tvm", 1, reason='=HYPERLINK("x")'),))

    (row,) = csv.DictReader(io.StringIO(cells_csv([run])))

    assert '\'=HYPERLINK("x")' == row["reason"]


def test_terminal_shows_ties_marks_and_failures(plausible: ModuleType) -> None:
    """The table says all that the report says: ties, marks, random weights, failures with reasons."""
    text = _terminal(plausible.quick_run(20), width=140)

    assert "onnxruntime tie" in text
    lines = text.splitlines()
    assert any("tvm" in line and "untuned" in line for line in lines)
    assert any("openvino" in line and "suspicious" in line for line in lines)
    assert "random weights" in text
    assert "resnet18@fp32/tvm/single-stream/t2/b1/cpu failed: the worker was killed" in text


def test_terminal_fits_eighty_columns(plausible: ModuleType) -> None:
    """No line is wider than the terminal."""
    assert 80 >= max(len(line) for line in _terminal(plausible.quick_run(20), width=80).splitlines())


def test_terminal_takes_names_as_text(plausible: ModuleType) -> None:
    """Markup in a name is not obeyed and an escape sequence does not reach the terminal."""
    run = plausible.make_run((plausible.failed_cell("[red]m", "b\x1b[2J", 1, reason="\x1b]0;x\x07"),))
    text = _terminal(run)

    assert "[red]m@fp32" in text
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, words.MISSING),
        (0.1234, "0.1234"),
        (0.5, "0.500"),
        (8.417, "8.42"),
        (91.26, "91.3"),
        (852.4, "852"),
        (2586.3, "2,586"),
    ],
)
def test_milliseconds_keep_about_three_digits(value: float | None, expected: str) -> None:
    """Rounding never hides a difference of a percent."""
    assert expected == words.ms(value)


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, "1.00"), (1.414, "1.41"), (0.0123, "0.012"), (0.97, "0.97"), (13.37, "13.37")]
)
def test_ratios(value: float, expected: str) -> None:
    """Ratios carry two decimals around 1 and stay legible far below."""
    assert f"{expected}\N{MULTIPLICATION SIGN}" == words.times(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, words.MISSING),
        (0, "0 B"),
        (999, "999 B"),
        (14_200_000, "14.20 MB"),
        (-2500, "-2.50 kB"),
        (3_000_000_000_000, "3.00 TB"),
    ],
)
def test_sizes_are_decimal(value: int | None, expected: str) -> None:
    """1 MB is 1,000,000 bytes; growth may be negative."""
    assert expected == words.size(value)


@pytest.mark.parametrize(("value", "expected"), [(32768, "32 KiB"), (24_600_000_000, "22.9 GiB"), (12, "12 B")])
def test_memory_is_binary(value: int, expected: str) -> None:
    """Caches and memory are told as they are sold."""
    assert expected == words.binary_size(value)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, "0.50 s"), (27.0, "27.0 s"), (200.0, "3 min 20 s"), (7300.0, "2 h 1 min")]
)
def test_durations(value: float, expected: str) -> None:
    """Durations switch to minutes and hours."""
    assert expected == words.seconds(value)


def test_moments_are_in_utc() -> None:
    """A moment is shown to the minute."""
    assert "2026-11-24 09:30 UTC" == words.when(datetime(2026, 11, 24, 9, 30, tzinfo=UTC))
