"""The HTML report as text: complete, self-contained, escaped, sane for every kind of run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from bakeoff.models.errors import UserError
from bakeoff.reports.html import render_html
from bakeoff.reports.results import Run, StepFacts
from bakeoff.reports.write import write_report

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
GOLDEN = Path(__file__).with_name("golden")


class _Tags(HTMLParser):
    """Collects tags, ids, headings and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data


def _parsed(html: str) -> _Tags:
    parser = _Tags()
    parser.feed(html)
    return parser


@pytest.fixture(scope="module")
def small(plausible: ModuleType) -> str:
    """A page on three cells, one of them hostile."""
    cells = (
        plausible.measured_cell("resnet18", "eager", 1),
        plausible.measured_cell("resnet18", "onnxruntime", 1),
        plausible.measured_cell("resnet18", EVIL, 1),
        plausible.failed_cell("resnet18", "tvm", 1, reason=EVIL, stderr_tail=EVIL, blame=EVIL, reproducer=EVIL),
        plausible.measured_cell(EVIL, "eager", 1, suspicious=True, suspicious_reasons=(EVIL,), notes=(EVIL,)),
    )
    target = plausible.target(EVIL, 2, EVIL)
    return render_html(
        [
            plausible.make_run(
                cells, target=target, target_id=EVIL, command=EVIL, suite_config={EVIL: EVIL}, versions={EVIL: EVIL}
            )
        ]
    )


def test_names_and_reasons_never_become_markup(small: str) -> None:
    """Text from a run opens no tag, ends no script and sets no handler."""
    tags = _parsed(small).tags

    assert "img" not in {tag for tag, _ in tags}
    assert not [attrs for _, attrs in tags if any(name.startswith("on") for name in attrs)]
    kinds = [attrs.get("type") for tag, attrs in tags if tag == "script"]
    assert 1 == kinds.count(None)
    assert {None, "application/json"} == set(kinds)


def test_the_only_script_is_the_one_the_policy_names(small: str) -> None:
    """The policy forbids everything but one script, by hash."""
    parsed = _parsed(small)
    (policy,) = [attrs["content"] for tag, attrs in parsed.tags if "http-equiv" in attrs]
    (code,) = [script for script in parsed.scripts if not script.startswith("{")]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()

    assert policy is not None
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert "unsafe-eval" not in policy


def test_specs_survive_as_json(small: str) -> None:
    """A hostile name stays data: each spec block parses and holds it unchanged."""
    blocks = [json.loads(script) for script in _parsed(small).scripts if script.startswith("{")]
    rows = [row for block in blocks for row in block["data"]["values"]]

    assert EVIL in {row.get("backend") for row in rows}


def test_nothing_points_outside(small: str) -> None:
    """No element loads or links to anything but a place in the page."""
    for _, attrs in _parsed(small).tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert (attrs.get(name) or "#").startswith("#")
    assert "@import" not in small
    assert not re.search(r"url\((?!#)", small.partition("<body>")[0])


def test_ids_are_unique_and_every_link_has_its_place(small: str) -> None:
    """No two elements share an id, SVG included, and no link or label points nowhere."""
    tags = _parsed(small).tags
    ids = [attrs["id"] for _, attrs in tags if attrs.get("id")]

    assert sorted(set(ids)) == sorted(ids)
    for _, attrs in tags:
        if (attrs.get("href") or "").startswith("#"):
            assert str(attrs["href"])[1:] in ids
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids


def test_headings_go_down_one_step_at_a_time(small: str) -> None:
    """One h1, and no level is skipped."""
    levels = [int(tag[1]) for tag, _ in _parsed(small).tags if re.fullmatch(r"h[1-6]", tag)]

    assert 1 == levels.count(1) == levels[0]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_are_captioned_and_scoped(small: str) -> None:
    """Each table has a caption and each heading cell a scope."""
    tags = _parsed(small).tags
    names = [tag for tag, _ in tags]

    assert 0 < names.count("table") == names.count("caption")
    assert all(attrs.get("scope") for tag, attrs in tags if tag == "th")


@pytest.mark.slow
def test_the_page_says_what_a_figure_needs(plausible: ModuleType) -> None:
    """Marks, clock boundary, command, ties, failures with blame and reproducer are all in the text."""
    html = render_html([Run.model_validate_json((GOLDEN / "v1-quick.json").read_text())])

    for text in (
        "from the input tensor in host memory to the output tensor in host memory",
        "bakeoff run quick --threads 1,2",
        "random weights",
        "untuned",
        "not interleaved with its baseline",
        "backup (4711) used 87% of a core",
        "failures/resnet18-tvm-t2.py",
        "Looks like the fault of: compiler",
        "Noise floor",
        "numpy matmul 1024 x 1024",
        "<svg",
    ):
        assert text in html
    assert 3e6 > len(html.encode())


@pytest.fixture(scope="module")
def variants() -> str:
    """A page on two models in six variants, kept as a golden file of this schema."""
    return render_html([Run.model_validate_json((GOLDEN / "v1-variants.json").read_text())])


@pytest.mark.slow
def test_the_page_says_what_variants_cost(variants: str) -> None:
    """Front, prices, ablation, steps and reasons are in the text; speed-ups name their baseline."""
    for text in (
        "What it costs",
        "Fastest, and fastest within 1 point of fp32",
        "loses at most 0.8 pp, 95%",
        "only speed can be told: the weights are random",
        "on the front",
        "Over eager fp32",
        "saturation of 8-bit products on a CPU without VNNI",
        "int8 is slower than fp32 on tvm",
        "zeros kept in place",
        "shapes changed",
        "One step at a time",
        "less than the product",
        "How digits_resnet@channel50+int8 was made",
        "seed 0",
        "nncf 3.4.0",
        "ran fp32",
    ):
        assert text in variants
    assert 3e6 > len(variants.encode())


@pytest.mark.slow
def test_the_page_on_variants_is_well_formed(variants: str) -> None:
    """Unique ids, links that lead somewhere, headings without a gap, captioned tables, no raw None."""
    test_ids_are_unique_and_every_link_has_its_place(variants)
    test_headings_go_down_one_step_at_a_time(variants)
    test_tables_are_captioned_and_scoped(variants)
    test_nothing_points_outside(variants)
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<(script|style)[\s\S]*?</\1>", "", variants))


def test_hostile_variants_stay_text(plausible: ModuleType) -> None:
    """Markup in steps, metrics, data and notes opens no tag."""
    step = StepFacts(step=EVIL, parameters={EVIL: EVIL}, versions={EVIL: EVIL}, input_sha256=EVIL, notes=(EVIL,))
    found = plausible.accuracy("int8", 350).model_copy(update={"metric": EVIL, "data": EVIL})
    cells = tuple(
        plausible.measured_cell(EVIL, backend, 1, variant=f"{EVIL}@{name}", key=f"{name}{backend}", accuracy=found)
        for name in ("fp32", EVIL)
        for backend in ("eager", EVIL)
    )
    facts = plausible.variant_facts(EVIL, "int8", EVIL).model_copy(
        update={"variant": f"{EVIL}@{EVIL}", "steps": (step,)}
    )
    html = render_html([plausible.make_run(cells, models=(facts,))])

    test_names_and_reasons_never_become_markup(html)
    test_ids_are_unique_and_every_link_has_its_place(html)
    assert "What it costs" in html


def _odd_runs(plausible: ModuleType) -> dict[str, Run]:
    one = plausible.measured_cell("resnet18", "onnxruntime", 1)
    bare = one.model_copy(
        update={"blocks_ms": (), "executed": None, "check": None, "p99_ms": None, "ci_low_ms": None, "compile_s": None}
    )
    return {
        "empty": plausible.make_run((), states=(), phases=(), versions={}),
        "nothing measured": plausible.make_run((plausible.failed_cell("resnet18", "tvm", 1),)),
        "one cell": plausible.make_run((one,)),
        "one bare cell": plausible.make_run((bare,), controls=(), noise_floor=None),
        "interrupted": plausible.make_run((one,), status="interrupted", finished_at=None),
        "running": plausible.make_run((one,), status="running", finished_at=None, notes=("first note",)),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty", "No cell of this run has a figure."),
        ("nothing measured", "Cells without a figure"),
        ("one cell", "only one measured"),
        ("one bare cell", "This run has no A/A control"),
        ("interrupted", "This run is not finished (interrupted)."),
        ("running", "first note"),
    ],
)
def test_odd_runs_make_sane_pages(plausible: ModuleType, name: str, text: str) -> None:
    """Nothing measured, one cell, no eager, no control, no samples, unfinished: each is said in words."""
    html = render_html([_odd_runs(plausible)[name]])

    assert text in html
    assert ">None<" not in html
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<(script|style)[\s\S]*?</\1>", "", html))


def test_several_targets_stand_side_by_side(plausible: ModuleType) -> None:
    """A report over two targets has a table with a column for each, and sections on both."""
    cells = tuple(plausible.measured_cell("resnet18", name, 1) for name in ("eager", "openvino"))
    other = plausible.make_run(cells, target=plausible.target("Ampere Altra", 8, "altra"), target_id="altra", id="b")
    html = render_html([plausible.make_run(cells), other])

    assert "Backend by target" in html
    assert re.search(
        r"<th scope=\"col\" class=\"num\">AMD EPYC[^<]*<span[^>]*>[^<]*</span></th><th[^>]*>Ampere Altra<", html
    )
    assert 'id="r0-top"' in html
    assert 'id="r1-top"' in html


def test_no_run_is_a_mistake() -> None:
    """A report on nothing is a programmer's error."""
    with pytest.raises(ValueError, match="at least one run"):
        render_html([])


def test_files_are_written_and_named(plausible: ModuleType, tmp_path: Path) -> None:
    """One target gives four files, and the JSON is the run."""
    run = plausible.make_run((plausible.measured_cell("resnet18", "eager", 1),))
    paths = write_report([run], tmp_path / "new" / "folder")

    assert ["index.html", "summary.md", "cells.csv", "run.json"] == [path.name for path in paths]
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    assert run == Run.model_validate_json(paths[-1].read_text())


def test_each_target_gets_a_page(plausible: ModuleType, tmp_path: Path) -> None:
    """Several targets: a page over all and one for each; ids that would leave the folder do not."""
    cell = plausible.failed_cell("resnet18", "tvm", 1)
    runs = [plausible.make_run((cell,), id=f"../{name}", target_id=f"../{name}") for name in ("a", "b")]
    paths = write_report(runs, tmp_path)

    assert ["index.html", "target-a.html", "target-b.html"] == [path.name for path in paths[:3]]
    assert ["run-a.json", "run-b.json"] == [path.name for path in paths[-2:]]
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_an_unwritable_folder_is_the_users_mistake(plausible: ModuleType, tmp_path: Path) -> None:
    """The error names the folder, the reason and the option."""
    blocker = tmp_path / "file"
    blocker.write_text("")

    with pytest.raises(UserError, match=r"file/out: cannot write the report here \(Not a directory\); .*--out"):
        write_report([plausible.make_run(())], blocker / "out")
