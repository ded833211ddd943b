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


def test_a_file_from_before_accuracy_is_readable() -> None:
    """Files that were written before cells had accuracy, fidelity and steps load, and say that nothing was measured."""
    text = (Path(__file__).with_name("golden") / "v1-quick.json").read_text()
    run = Run.model_validate_json(text)

    assert not any(name in text for name in ('"accuracy"', '"fidelity"', '"steps"'))
    assert {(None, None)} == {(cell.accuracy, cell.fidelity) for cell in run.cells}
    assert {()} == {facts.steps for facts in run.models}
    (row, *_) = csv.DictReader(io.StringIO(cells_csv([run])))
    assert ("", "", "") == (row["accuracy_value"], row["fidelity_snr_db"], row["model_parameters"])


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


def test_csv_carries_prices_and_the_front(plausible: ModuleType) -> None:
    """Accuracy, fidelity, size of the variant, the baseline and the Pareto front are columns."""
    rows = {row["key"]: row for row in csv.DictReader(io.StringIO(cells_csv([plausible.variants_run()])))}
    row = rows["digits_resnet@int8/onnxruntime/single-stream/t1/b1/cpu"]
    best = rows["digits_resnet@channel50+int8/openvino/single-stream/t1/b1/cpu"]
    random = rows["mobilenet_v2@int8/openvino/single-stream/t1/b1/cpu"]

    assert ("top1", "360", "digits") == (row["accuracy_metric"], row["accuracy_n"], row["accuracy_data"])
    assert 296 / 360 == pytest.approx(float(row["accuracy_value"]))
    assert 353 / 360 == pytest.approx(float(row["accuracy_simulated"]))
    assert ("eager fp32", "false", "true") == (row["speed_up_over"], row["pareto_front"], best["pareto_front"])
    assert ("27.4", "701466", "0.0") == (row["fidelity_snr_db"], row["model_parameters"], row["model_zero_share"])
    assert ("", "true") == (random["accuracy_value"], random["random_weights"])


def test_markdown_shows_what_variants_cost(plausible: ModuleType) -> None:
    """Fastest, fastest within a point, the front with its prices, and the reasons."""
    text = summary_markdown([plausible.variants_run()])

    assert "| `digits_resnet` | 1 thread, batch 1, single-stream | `channel50+int8` on `openvino`" in text
    assert "`int8` on `openvino`" in text
    assert "loses at most 0.8 pp, 95%" in text
    assert "only speed can be told: random weights" in text
    assert "98.1% (96.0 to 99.1%, 360 images)" in text
    assert "over eager fp32" in text
    assert "- `digits_resnet`: int8 is slower than fp32 on tvm" in text
    assert "Front of `mobilenet_v2`" not in text


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


@pytest.mark.parametrize("name", ["quick_run", "variants_run"])
def test_terminal_fits_eighty_columns(plausible: ModuleType, name: str) -> None:
    """No line is wider than the terminal."""
    assert 80 >= max(len(line) for line in _terminal(getattr(plausible, name)(), width=80).splitlines())


def test_terminal_shows_accuracy_and_marks_in_eighty_columns(plausible: ModuleType) -> None:
    """Accuracy and the most that it loses, or fidelity without labels; no mark is squeezed out."""
    text = _terminal(plausible.variants_run(), width=80)
    tables = text.partition("digits_resnet@channel50+int8/tvm")[0]
    labelled, _, random = tables.partition("mobilenet_v2@fp32")

    assert "accuracy   at most" in labelled
    assert "16.6 pp" in labelled
    assert "agrees" in random
    assert "27.4 dB" in random
    assert "at most" not in random
    assert 10 == tables.count("untuned")
    assert 4 == tables.count("fallback")
    whole = " ".join(text.split())
    assert "Fastest within 1 point of fp32: int8 on openvino" in whole
    assert "Random weights: only speed can be told." in whole


def test_a_reason_that_all_cells_share_is_said_once(plausible: ModuleType) -> None:
    """One line for all cells, in the terminal and in Markdown; a reason of one cell names it."""
    cells = [
        plausible.measured_cell(
            "resnet18",
            f"b{number}",
            1,
            suspicious=True,
            suspicious_reasons=("another run was measuring", *(("steal 9%",) if number == 0 else ())),
        )
        for number in range(6)
    ]
    run = plausible.make_run(tuple(cells))
    text, summary = _terminal(run), summary_markdown([run])

    assert 1 == text.count("another run was measuring") == summary.count("another run was measuring")
    assert "all 6 cells suspicious: another run was measuring" in text
    assert "- all 6 cells: `another run was measuring`" in summary
    assert f"{cells[0].key} suspicious: steal 9%" in text
    some = run.model_copy(update={"cells": (*cells, plausible.measured_cell("resnet18", "calm", 1))})
    assert "6 of 7 cells suspicious: another run was measuring" in _terminal(some)


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
