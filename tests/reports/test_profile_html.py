"""Pages on profiles as text: complete, well formed, escaped, and part of a run's report where they belong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bakeoff.harness.cli.report import report as report_command
from bakeoff.harness.store import Store
from bakeoff.models.errors import UserError
from bakeoff.reports.html import render_html
from bakeoff.reports.profile_html import render_profile_html
from bakeoff.reports.profiles import GroupTimes, ProfileReport, read_profile
from bakeoff.reports.write import write_profile, write_report
from click.testing import CliRunner

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    return parser.tags


def _visible(html: str) -> str:
    return re.sub(r"<(script|style)[\s\S]*?</\1>", "", html)


def _replaced(value: Any, text: str) -> Any:
    """*value* as JSON has it, every free text in it replaced; what only certain words fit keeps its own."""
    if isinstance(value, dict):
        kept = ("standing", "evidence", "status", "bound", "tier", "schema_version", "backend", "device", "variant")
        return {key: one if key in kept else _replaced(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, text) for one in value]
    return text if isinstance(value, str) else value


def _hostile(report: ProfileReport) -> ProfileReport:
    return ProfileReport.model_validate(_replaced(json.loads(report.model_dump_json()), EVIL))


@pytest.fixture(scope="module")
def reports(profiled: ModuleType) -> dict[str, ProfileReport]:
    """Reports of every kind."""
    refused = profiled.make_profile(
        "openvino",
        refused=True,
        checks={"order": False},
        failures={"order": ("a before b",)},
        suspicious=("busy",),
        notes=("measure again with `bakeoff target --remeasure`",),
    )
    plain = profiled.make_report()
    return {
        "plain": plain,
        "variants": profiled.make_report(variants=("fp32", "int8")),
        "refused": profiled.make_report(profiles=(refused,), groups=()),
        "nothing": profiled.make_report(profiles=(), groups=()),
        "empty": profiled.make_report(profiles=(), groups=(), not_profiled=()),
        "hostile": _hostile(plain),
    }


@pytest.fixture(scope="module")
def pages(reports: dict[str, ProfileReport], plausible: ModuleType) -> dict[str, str]:
    """A page for each of them, and a run's with two of them in it."""
    found = {name: render_profile_html(report) for name, report in reports.items()}
    run = plausible.make_run((plausible.measured_cell("resnet18", "openvino", 1),), target_id="t1")
    return found | {"run": render_html([run], [reports["variants"], reports["refused"]])}


KINDS = ("plain", "variants", "refused", "nothing", "empty", "hostile", "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_page_is_well_formed(pages: dict[str, str], kind: str) -> None:
    """Unique ids, links that lead somewhere, headings without a gap, captioned tables, no raw None."""
    tags = _tags(pages[kind])
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in tags:
        if (attrs.get("href") or "").startswith("#"):
            assert str(attrs["href"])[1:] in ids
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert 1 == levels.count(1) == levels[0]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [tag for tag, _ in tags]
    assert names.count("table") == names.count("caption")
    assert all(attrs.get("scope") for tag, attrs in tags if tag == "th")
    assert not re.search(r"\b(nan|inf|None)\b", _visible(pages[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_runs_but_the_one_script(pages: dict[str, str], kind: str) -> None:
    """Its hash is in the policy; data blocks are JSON; nothing is fetched."""
    scripts = re.findall(r"<script>([\s\S]*?)</script>", pages[kind])
    (code,) = scripts
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in pages[kind].replace("&#39;", "'")
    for block in re.findall(r'<script type="application/json"[^>]*>([\s\S]*?)</script>', pages[kind]):
        json.loads(block)
    assert not [tag for tag, attrs in _tags(pages[kind]) if tag in ("img", "link", "iframe") or "onerror" in attrs]


@pytest.mark.slow
def test_the_page_says_what_a_layer_needs(pages: dict[str, str]) -> None:
    """Verdict, coverage, layers, limits and findings are in the text, without any script."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", _visible(pages["plain"])))
    for words in (
        "openvino is fastest with",
        "of this machine's limit",
        "5 of 5 checks hold",
        "is unmapped",
        "features.0.depthwise (Conv +1)",
        "depthwise Conv",
        "54 layers together",
        "What holds them back",
        "Try: fuse them with the convolution before",
        "eager was not profiled",
        "bakeoff profile --model net",
    ):
        assert words in text.replace("&#39;", "'"), words


@pytest.mark.slow
def test_what_can_be_typed_is_code(pages: dict[str, str]) -> None:
    """In findings and notes it stands between backticks, which no page shows; what is in it stays text."""
    assert "<code>--layout &lt;NHWC&gt;</code>" in pages["plain"]
    assert "<code>bakeoff target --remeasure</code>" in pages["refused"]
    assert "`" not in _visible(pages["plain"] + pages["refused"])


@pytest.mark.slow
def test_every_layer_is_in_the_page_once(pages: dict[str, str]) -> None:
    """A table that the script only sorts."""
    table = re.search(r'<table class="dense sortable">[\s\S]*?</table>', pages["plain"])
    assert table is not None
    rows = re.findall(r'<tr><td class="num">(\d+)', table[0])
    assert list(range(1, 55)) == sorted(int(place) for place in rows)


@pytest.mark.slow
def test_a_refused_mapping_is_said_on_the_page(pages: dict[str, str]) -> None:
    """With the check, and with what made the figures doubtful; there is no table of layers then."""
    for words in (">refused</span>", "openvino refused, order: a before b.", "openvino suspicious: busy."):
        assert words in pages["refused"]
    assert "data-layers" not in _visible(pages["refused"])


@pytest.mark.slow
def test_a_run_shows_the_profiles_of_its_target(
    pages: dict[str, str], plausible: ModuleType, reports: dict[str, ProfileReport]
) -> None:
    """After the models, in the list of contents too; a profile of another target is nowhere."""
    assert 'href="#r0-profile"' in pages["run"]
    assert "Where the time goes" in _visible(pages["run"])
    assert 2 == _visible(pages["run"]).count("Profiled with")
    run = plausible.make_run((plausible.failed_cell("resnet18", "tvm", 1),), target_id="another")
    assert "Where the time goes" not in render_html([run], [reports["plain"]])


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "variants", "backends"), [(1250, 2, 2), (250, 4, 5)])
def test_thousands_of_layers_stay_small(
    profiled: ModuleType, plausible: ModuleType, layers: int, variants: int, backends: int
) -> None:
    """A run of twenty cells and more with a profile of 5,000 rows, of few deep nets or of many: under 5 MB."""
    names = ("fp32", "int8", "channel50", "channel50+int8")[:variants], tuple(profiled.BACKENDS)[:backends]
    report = profiled.make_report(layers=layers, variants=names[0], backends=names[1])
    assert 5000 <= sum(len(profile.rows) for profile in report.profiles)
    assert 5e6 > len(render_html([plausible.quick_run(200)], [report.model_copy(update={"target_id": "t1"})]).encode())


class TestFiles:
    @pytest.mark.slow
    def test_a_page_and_its_data(self, reports: dict[str, ProfileReport], tmp_path: Path) -> None:
        """Beside a run's report, not over it; what was written is read again."""
        paths = write_profile(reports["refused"], tmp_path / "new")
        assert ["profile.html", "profile.json"] == [path.name for path in paths]
        assert reports["refused"] == read_profile(paths[1])

    @pytest.mark.slow
    def test_a_run_keeps_its_profiles(
        self, plausible: ModuleType, reports: dict[str, ProfileReport], tmp_path: Path
    ) -> None:
        """As JSON, numbered where there are several."""
        run = plausible.make_run((plausible.failed_cell("resnet18", "tvm", 1),))
        paths = write_report([run], tmp_path, [reports["refused"], reports["nothing"]])
        assert ["profile-1.json", "profile-2.json"] == [path.name for path in paths[-2:]]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{}", "is not what `bakeoff profile --json` prints"),
            ("[]", "is not what `bakeoff profile --json` prints"),
            ("not JSON", "is not what `bakeoff profile --json` prints"),
            ("[" * 100_000, "is not what `bakeoff profile --json` prints"),
            ('{"schema_version": 7}', "is a profile of schema version 7, this bakeoff reads 1"),
        ],
    )
    def test_another_file_is_refused_in_one_line(self, tmp_path: Path, text: str, reason: str) -> None:
        """It is named, and what is wrong with it."""
        file = tmp_path / "p.json"
        file.write_text(text)
        with pytest.raises(UserError, match=re.escape(reason)) as caught:
            read_profile(file)
        assert "\n" not in str(caught.value)
        with pytest.raises(UserError, match="cannot be read"):
            read_profile(tmp_path / "gone.json")

    def test_figures_that_are_none_are_refused(self, reports: dict[str, ProfileReport], tmp_path: Path) -> None:
        """NaN, infinity, and layers whose nodes lack an operator would be found out on the page only."""
        text = reports["refused"].model_dump_json()
        file = tmp_path / "p.json"
        for figure in ("NaN", "Infinity", "1e999"):
            file.write_text(re.sub(r'"median_ms":[\d.]+', f'"median_ms":{figure}', text, count=1))
            with pytest.raises(UserError, match="is not what"):
                read_profile(file)
        bad = {"nodes": ("a", "b"), "ops": ("Conv",), "scopes": ("", ""), "ms": {}}
        with pytest.raises(ValueError, match="as many ops and scopes as nodes"):
            GroupTimes(model="m", variant="m@fp32", threads=1, batch=1, device="cpu", **bad)


@pytest.fixture
def stored(plausible: ModuleType, tmp_path: Path) -> list[str]:
    """Words of a `report` on a stored run of target "t1"."""
    run = plausible.make_run((), target_id="t1")
    url = str(tmp_path / "s.sqlite3")
    Store.open(url).import_run(run)
    return [run.id, "--store", url, "--out", str(tmp_path / "out"), "--profile", str(tmp_path / "p.json")]


@pytest.mark.slow
def test_the_command_adds_a_profile(stored: list[str], reports: dict[str, ProfileReport], tmp_path: Path) -> None:
    """And names all that it wrote."""
    (tmp_path / "p.json").write_text(reports["plain"].model_dump_json())
    done = CliRunner().invoke(report_command, stored, catch_exceptions=False)
    assert "out/profile.json" in done.output
    assert "Where the time goes" in _visible((tmp_path / "out" / "index.html").read_text())


@pytest.mark.slow
def test_a_profile_of_another_target_is_refused(
    stored: list[str], reports: dict[str, ProfileReport], tmp_path: Path
) -> None:
    """Before anything is written."""
    other = reports["nothing"].model_copy(update={"target_id": "elsewhere"})
    (tmp_path / "p.json").write_text(other.model_dump_json())
    with pytest.raises(UserError, match="is a profile of target 'elsewhere', the run is of 't1'"):
        CliRunner().invoke(report_command, stored, catch_exceptions=False, standalone_mode=False)
    assert not (tmp_path / "out").exists()
