"""Profiles for people and for other tools: tables, traces, collapsed stacks, the published schema."""

from __future__ import annotations

import io
import json
import re
from types import ModuleType
from typing import Any

import jsonschema
from bakeoff.reports.profile_text import profile_report
from bakeoff.reports.profiles import (
    SCHEMA_PATH,
    BackendProfile,
    GroupTimes,
    NotProfiled,
    ProfileReport,
    RowNode,
    RowTime,
    TimeShares,
    profile_schema,
)
from bakeoff.reports.traces import chrome_trace, collapsed_stacks
from rich.console import Console

CELL: dict[str, Any] = {"model": "net", "variant": "net@fp32", "threads": 1, "batch": 1, "device": "cpu"}


def _row(name: str, ms: float, *nodes: RowNode, standing: Any = "anchored") -> RowTime:
    return RowTime(name=name, kind="Convolution", standing=standing, median_ms=ms, typical_ms=ms * 1.1, nodes=nodes)


def _profile(backend: str, **changed: Any) -> BackendProfile:
    facts: dict[str, Any] = {
        "backend": backend,
        "median_ms": 5.2,
        "ci_low_ms": 5.1,
        "ci_high_ms": 5.3,
        "first_ms": 20.0,
        "profiled_ms": 5.3,
        "overhead": 1.019,
        "typical_ms": 5.6,
        "inferences": 40,
        "sum_ms": 5.0,
        "residual_ms": 0.2,
        "between_ms": 0.2,
        "shares": TimeShares(anchored=0.96, grown=0.01, runtime=0.02, unmapped=0.01),
        "refused": False,
        "checks": {"order": True},
        "rows": (
            _row(
                "conv;1",
                3.0,
                RowNode(name="conv_1", op="Conv", evidence="name", scope="layer1.conv"),
                _grown("relu_1", "Relu"),
            ),
            _row("pool", 1.0, _grown("pool_1", "MaxPool"), standing="grown"),
            _row("copy", 1.0, standing="runtime"),
        ),
    }
    return BackendProfile(**CELL, **{**facts, **changed})


def _grown(name: str, op: str) -> RowNode:
    return RowNode(name=name, op=op, evidence="grown")


def _report(*profiles: BackendProfile, **more: Any) -> ProfileReport:
    groups = (
        GroupTimes(
            **CELL,
            nodes=("relu_0", "conv_1"),
            ops=("Relu", "Conv"),
            scopes=("act", "layer1.conv"),
            ms={"one": 3.0, "two": 2.5},
            limit_ms=2.0,
        ),
        GroupTimes(**CELL, nodes=("pool_1",), ops=("MaxPool",), scopes=("",), ms={"one": 1.0}),
    )
    found = profiles or (_profile("one"), _profile("two"))
    return ProfileReport(bakeoff_version="0", target_id="t", profiles=found, groups=groups, **more)


def _shown(report: ProfileReport, top: int = 10, width: int = 80) -> str:
    shown = io.StringIO()
    Console(width=width, file=shown).print(profile_report(report, top))
    return shown.getvalue()


class TestSchema:
    def test_the_shipped_file_is_that_of_the_classes(self) -> None:
        """It is written by `python -m bakeoff.reports.profiles`."""
        assert profile_schema() == SCHEMA_PATH.read_text(encoding="utf-8")

    def test_a_report_is_valid_by_it(self) -> None:
        """And what is not a report is not."""
        schema = jsonschema.Draft202012Validator(json.loads(profile_schema()))
        schema.validate(json.loads(_report().model_dump_json()))
        assert not schema.is_valid({"profiles": []})


class TestText:
    def test_shares_residual_and_overhead_stand_apart(self) -> None:
        """Every figure that says how far the rest can be trusted is in the table, within eighty columns."""
        text = _shown(_report())
        for figure in ("5.20", "+3.8%", "+1.9%", "96.0%", "1.0%", "2.0%"):
            assert figure in text
        assert max(len(line) for line in text.splitlines()) <= 80

    def test_five_backends_fit_into_eighty_columns(self, profiled: ModuleType) -> None:
        """No table loses a column, and no figure its end: its cells name what they are of."""
        text = _shown(profiled.make_report(variants=("fp32", "int8"), backends=tuple(profiled.BACKENDS)))
        lines = text.splitlines()
        assert max(map(len, lines)) <= 80
        rows = [[line for line in lines if line.strip().startswith(f"{backend} ")] for backend in profiled.BACKENDS]
        assert {4} == {len(found) for found in rows}  # coverage and limits, of two variants
        heads = [line for line in lines if "layer, ms" in line]
        assert 3 == len(heads)
        assert all(backend in head for backend in profiled.BACKENDS for head in heads)
        assert "…" not in "".join(heads)
        assert {7} == {found[0].count("%") for found in rows}

    def test_layers_are_ranked_and_the_rest_is_summed(self) -> None:
        """A backend that has no row of its own for a layer gets a dash, not a zero."""
        text = _shown(_report(), top=1)
        assert re.search(r"layer1\.conv \(Conv \+1\)\s+3\.00\s+2\.50\s+2\.00", text)
        assert "1 others" in text or "1 other" in text
        assert re.search(r"pool_1 \(MaxPool\)\s+1\.000\s+–", _shown(_report()))  # noqa: RUF001

    def test_a_refused_mapping_says_why(self) -> None:
        """In red at its backend, and which check failed below."""
        refused = _profile("bad", refused=True, checks={"order": False}, failures={"order": ("a", "b", "c")})
        text = _shown(_report(refused))
        assert "bad refused" in text
        assert "bad refused, order: a; b (and 1 more)" in text

    def test_who_was_not_profiled_is_named_with_the_reason(self) -> None:
        """Beside the others, not in their place."""
        missing = NotProfiled(**CELL, backend="eager", status="unsupported", reason="no profiler")
        assert "net@fp32 eager unsupported: no profiler" in _shown(_report(not_profiled=(missing,)))

    def test_names_cannot_steer_the_terminal(self) -> None:
        """They come from anywhere."""
        text = _shown(_report(_profile("evil\x1b[31m")))
        assert "\x1b" not in text


class TestTraces:
    def test_rows_stand_one_behind_the_other(self) -> None:
        """In microseconds, without gaps or overlaps, in a process for each backend."""
        trace = chrome_trace(_report())
        json.dumps(trace, allow_nan=False)
        slices = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["pid"] == 1]
        clock, *rows = slices
        assert (0.0, 5600.0) == (clock["ts"], clock["dur"])
        assert ["conv;1", "pool", "copy"] == [row["name"] for row in rows]
        assert [0.0, 3300.0, 4400.0] == [row["ts"] for row in rows]
        assert ["conv_1 (Conv, name)", "relu_1 (Relu, grown)"] == rows[0]["args"]["nodes"]
        names = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
        assert {"net@fp32 one, 1 thread, batch 1", "net@fp32 two, 1 thread, batch 1"} == names

    def test_stacks_have_one_line_for_each_row(self) -> None:
        """Frames hold no semicolon of their own; values are whole nanoseconds."""
        lines = collapsed_stacks(_report(_profile("one"))).splitlines()
        assert "net@fp32 one, 1 thread, batch 1;layer1;conv;Conv;conv:1 3000000" == lines[0]
        assert "net@fp32 one, 1 thread, batch 1;runtime: Convolution;copy 1000000" == lines[2]
        assert all(re.fullmatch(r"[^;]+(;[^;]+)* \d+", line) for line in lines)
