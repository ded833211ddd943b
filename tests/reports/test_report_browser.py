"""The report in Chromium: themes, JavaScript on and off, narrow screens, print, and axe-core."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest
from axe_playwright_python.sync_playwright import Axe
from bakeoff.reports.html import render_html
from bakeoff.reports.profile_html import render_profile_html
from playwright.sync_api import Browser, Page, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def pages(plausible: ModuleType, profiled: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports on a full run, on two targets, on nothing, with and on profiles."""
    folder = tmp_path_factory.mktemp("pages")
    cells = tuple(plausible.measured_cell("resnet18", name, 1) for name in ("eager", "openvino", "tvm"))
    other = plausible.target("Ampere Altra", 8, "altra")
    runs = {
        "quick": [plausible.quick_run(200)],
        "variants": [plausible.variants_run()],
        "targets": [
            plausible.make_run(cells),
            plausible.make_run(cells, target=other, target_id="altra", id="b", status="interrupted", finished_at=None),
        ],
        "nothing": [plausible.make_run((plausible.failed_cell("resnet18", "tvm", 1),))],
    }
    refused = profiled.make_profile("openvino", refused=True, failures={"order": ("a before b",)}, suspicious=("busy",))
    texts = {name: render_html(found) for name, found in runs.items()}
    texts["run and profile"] = render_html(runs["targets"][:1], [profiled.make_report(target_id="t1", layers=20)])
    reports = {
        "profile": profiled.make_report(variants=("fp32", "int8"), backends=tuple(profiled.BACKENDS)),
        "refused": profiled.make_report(profiles=(refused,), groups=()),
        "deep": profiled.make_report(layers=5000, backends=("onnxruntime", "openvino", "litert", "tvm")),
    }
    texts |= {name: render_profile_html(report) for name, report in reports.items()}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium from the system; its sandbox needs rights that containers lack."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Browser, pages: dict[str, Path]) -> Iterator[Open]:
    """Opens a report; in the end nothing may have been complained about or requested."""
    contexts, complaints = [], []

    def visit(
        name: str, width: int = 1280, scheme: str = "light", javascript: bool = True, path: Path | None = None
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        url = (path or pages[name]).as_uri()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.append(request.url) if request.url != url else None)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert [] == complaints


def _wait_until(page: Page, condition: str) -> None:
    """Wait for a JavaScript condition. Playwright's own wait polls through eval, which the page forbids."""
    for _ in range(250):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never came true: {condition}")


def _mount_all(page: Page) -> None:
    """Scroll until every chart is alive."""
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
    _wait_until(page, "document.querySelectorAll('.plot:not(.mounted)').length === 0")


def _violations(page: Page) -> list[str]:
    return [
        f"{found['id']}: {node['html'][:200]}"
        for found in Axe().run(page).response["violations"]
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["quick", "variants", "targets", "nothing", "profile", "refused", "run and profile"])
def test_the_page_is_accessible_and_fits(visit: Open, name: str, width: int, scheme: str) -> None:
    """axe-core finds nothing, all charts come alive, and the page itself never scrolls sideways."""
    page = visit(name, width=width, scheme=scheme)
    _mount_all(page)

    assert [] == _violations(page)
    assert width == page.evaluate("document.documentElement.scrollWidth")


def test_live_charts_replace_still_ones(visit: Open) -> None:
    """With JavaScript each chart shows its live form only, with the marks drawn."""
    page = visit("quick")
    _mount_all(page)

    assert 0 == page.locator(".still:visible").count()
    assert page.locator(".live svg").count() == page.locator(".plot").count() > 0
    for svg in page.locator(".live svg").all():
        assert svg.locator("path[aria-roledescription], line[aria-roledescription], path[d]").count() > 3


_BOXES = """form => [...document.querySelectorAll(`.wide .${form} svg`)].map(svg => {
  const box = item => { const r = item.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const inked = item => item.getAttribute('fill') === 'var(--ink)';
  const texts = [...svg.querySelectorAll('.mark-text:not(.role-legend-label):not(.role-axis-label) text')];
  const points = [...svg.querySelectorAll('.mark-symbol:not(.role-legend-symbol) path')];
  return [texts.filter(inked).map(box), points.map(box), box(svg)];
})"""

_SHOWN = """svg => [...svg.querySelectorAll('.mark-symbol:not(.role-legend-symbol) path')]
  .filter(item => Number(item.getAttribute('opacity') ?? 1) > 0.1).length"""


def _apart(a: list[float], b: list[float], slack: float = 0.5) -> bool:
    return a[2] <= b[0] + slack or b[2] <= a[0] + slack or a[3] <= b[1] + slack or b[3] <= a[1] + slack


@pytest.mark.parametrize(
    ("width", "javascript", "form"),
    [(1280, False, "still"), (1280, True, "live"), (800, True, "live"), (400, True, "live")],
)
def test_labels_of_the_front_do_not_overlap(visit: Open, width: int, javascript: bool, form: str) -> None:
    """As drawn, with the fonts that are there: labels touch neither each other nor a point, and none is cut off."""
    page = visit("variants", width=width, javascript=javascript)
    if javascript:
        _mount_all(page)
    charts = page.evaluate(_BOXES, form)

    assert 2 == len(charts)
    for texts, points, svg in charts:
        assert 3 <= len(texts)
        assert 20 <= len(points)
        for one, other in combinations(texts, 2):
            assert _apart(one, other)
        for text in texts:
            assert svg[0] <= text[0]
            assert text[2] <= svg[2]
            for left, top, right, bottom in points:
                assert _apart(text, [(left + right) / 2, (top + bottom) / 2] * 2, slack=0)


def test_legends_toggle_backends_and_variants(visit: Open) -> None:
    """A click on a legend's entry fades what it does not name; one on the other legend narrows further."""
    page = visit("variants")
    _mount_all(page)
    chart = page.locator(".wide .live svg").first
    everything = chart.evaluate(_SHOWN)
    chart.locator(".role-legend-label text").get_by_text("openvino", exact=True).click()
    one = chart.evaluate(_SHOWN)
    chart.locator(".role-legend-label text").get_by_text("int8", exact=True).click()

    assert 6 == one < everything
    assert 1 == chart.evaluate(_SHOWN)


def test_without_javascript_everything_is_there(visit: Open) -> None:
    """Charts are visible, the theme switch is not shown, and the text reads the same."""
    page = visit("quick", javascript=False)

    assert page.locator(".still:visible").count() == page.locator(".plot").count() > 0
    assert not page.locator("[data-themes]").is_visible()
    assert page.get_by_text("untuned").first.is_visible()


@pytest.mark.parametrize("name", ["quick", "variants", "profile"])
def test_drawings_on_a_narrow_screen_can_be_read(visit: Open, name: str) -> None:
    """Without JavaScript they are scrolled in their own box, by keyboard too, before their words get too small."""
    page = visit(name, width=360, javascript=False)
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll('.still svg')].map(
            (svg) => 12 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))"""
    )
    still = page.locator(".still").last
    still.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)

    assert smallest > 9.5
    assert still.evaluate("(box) => box.scrollLeft") > 0
    assert 360 == page.evaluate("document.documentElement.scrollWidth")


def test_the_theme_follows_the_system_and_the_switch(visit: Open) -> None:
    """The switch overrides the system's theme for page and charts, and gives it back."""
    page = visit("quick", scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('.plot text')).fill"
    light = page.evaluate(f"[{background}, {label}]")

    page.get_by_label("Dark").check(force=True)
    dark = page.evaluate(f"[{background}, {label}]")
    page.get_by_label("Auto").check(force=True)

    assert all(before != after for before, after in zip(light, dark, strict=True))
    assert light == page.evaluate(f"[{background}, {label}]")


def test_wide_tables_scroll_in_their_own_box_by_keyboard(visit: Open) -> None:
    """A table that is too wide can be focused and scrolled without a mouse."""
    page = visit("quick", width=400)
    box = page.locator(".box").first
    box.focus()
    page.keyboard.press("ArrowRight")
    _wait_until(page, "document.activeElement.scrollLeft > 0")

    assert "group" == box.get_attribute("role")


@pytest.mark.parametrize("name", ["quick", "variants", "profile"])
def test_print_is_light_complete_and_fits(visit: Open, name: str) -> None:
    """On paper: light colours even in a dark theme, no contents list, folded parts open, nothing cut off."""
    page = visit(name, width=690, scheme="dark")
    page.get_by_label("Dark").check(force=True)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "rgb(26, 30, 35)" == page.evaluate("getComputedStyle(document.body).color")
    assert not page.locator(".toc").is_visible()
    assert 0 == page.locator("details:not([open])").count()
    assert 690 == page.evaluate("document.documentElement.scrollWidth")


def _column(page: Page, number: int) -> list[str]:
    """Texts of one column of the first table of layers, as far as its rows are shown."""
    return page.locator("[data-layers]").first.evaluate(
        """(box, n) => [...box.querySelectorAll('tbody tr')]
            .filter((row) => row.checkVisibility()).map((row) => row.cells[n].textContent.trim())""",
        number,
    )


def test_layers_are_sorted_by_any_column(visit: Open) -> None:
    """Costliest first to begin with; a click, or a key, sorts by a column, another turns it round."""
    page = visit("profile")
    costs = [float(text) for text in _column(page, 3)]
    heads = page.locator("[data-layers]").first.locator("thead button")
    heads.nth(0).click()
    assert [str(place) for place in range(1, 55)] == _column(page, 0)
    heads.nth(3).focus()
    page.keyboard.press("Enter")
    assert sorted(costs, reverse=True) == [float(text) for text in _column(page, 3)]
    assert "descending" == page.locator("[data-layers]").first.locator("th").nth(3).get_attribute("aria-sort")
    page.keyboard.press("Enter")
    assert sorted(costs) == [float(text) for text in _column(page, 3)]
    heads.nth(1).click()
    names = _column(page, 1)
    assert names[0] == min(names)


def test_layers_are_filtered_by_words(visit: Open) -> None:
    """All words have to be in the name, the nodes or the kind; how many are left is said."""
    page = visit("profile")
    field = page.get_by_label("Filter").first
    field.fill("features.1. depthwise")
    kinds = _column(page, 2)
    assert kinds
    assert {"depthwise Conv"} == set(kinds)
    assert f"{len(kinds)} of 54 layers" == page.locator("[data-layers] [role=status]").first.inner_text()
    field.fill("clip_4")
    assert 1 == len([name for name in _column(page, 1) if "features.1.depthwise" in name])
    field.fill("")
    assert 54 == len(_column(page, 1))


def test_any_two_cells_are_put_beside_each_other(visit: Open) -> None:
    """What the script draws for the pair in the page is what the page said without it; another pair is another."""
    page = visit("profile")
    section = page.locator("[data-pairing]")
    said, rows = section.locator("[role=status]").inner_text(), section.locator("tbody").inner_text()
    one, other = section.locator("select").all()
    before = other.input_value()
    other.select_option(one.input_value())
    assert "0 ms more" in section.locator("[role=status]").inner_text()
    assert 0 == section.locator("tbody tr").count()
    other.select_option(before)
    assert (said, rows) == (section.locator("[role=status]").inner_text(), section.locator("tbody").inner_text())
    other.select_option("0")
    one.select_option("3")
    assert rows != section.locator("tbody").inner_text()


def test_layers_can_be_read_without_javascript(visit: Open) -> None:
    """All of them, with no control that would do nothing, and the table is scrolled by keyboard."""
    page = visit("profile", javascript=False)
    assert 54 == page.locator("[data-layers]").first.locator("tbody tr").count()
    assert 0 == page.locator("select:visible, input:visible, button:visible").count()
    assert page.locator("[data-pairing] tbody tr").first.is_visible()
    page.locator(".tall").first.focus()
    page.keyboard.press("End")
    page.wait_for_timeout(300)
    assert page.locator(".tall").first.evaluate("(box) => box.scrollTop") > 0


def test_thousands_of_layers_stay_usable(visit: Open) -> None:
    """The costliest are shown, the others where they are asked for; all are sorted and filtered."""
    page = visit("deep")
    places = [str(place) for place in range(1, 5001)]
    page.locator("[data-layers] thead button").nth(0).click()
    assert places[:200] == _column(page, 0)
    page.get_by_label("Filter").fill("depthwise features.700.")
    assert ["2102"] == _column(page, 0)
    page.get_by_label("Filter").fill("")
    page.get_by_role("button", name="Show all 5,000").click()
    assert places == _column(page, 0)
    assert not page.get_by_role("button", name="Show all").is_visible()


def test_thousands_of_layers_are_not_printed(visit: Open) -> None:
    """The costliest are, and how many that is is said; on a screen without JavaScript all are there."""
    page = visit("deep", javascript=False)
    assert 5000 == len(page.locator("[data-layers] tbody tr:visible").all())
    page.emulate_media(media="print")
    assert 200 == page.locator("[data-layers] tbody tr:visible").count()
    assert page.get_by_text("Printed are the first 200 of 5,000 layers.").is_visible()


def test_hostile_names_run_nothing(visit: Open, plausible: ModuleType, tmp_path: Path) -> None:
    """A name made of markup is text in tables, charts and tooltips, and long ones do not widen the page."""
    evil = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">" + "x" * 300
    cells = (
        plausible.measured_cell(evil, "eager", 1),
        plausible.measured_cell(evil, evil, 1, suspicious=True, suspicious_reasons=(evil,)),
        plausible.failed_cell(evil, "tvm", 1, reason=evil, stderr_tail=evil),
    )
    path = tmp_path / "evil.html"
    path.write_text(render_html([plausible.make_run(cells, command=evil)]), encoding="utf-8")
    page = visit("evil", width=400, path=path)
    _mount_all(page)
    page.locator(".live [aria-roledescription='tick']").first.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()

    assert "<script>" in tip.inner_text()
    assert "owned" != page.title()
    assert 0 == page.locator("img").count()
    assert 400 == page.evaluate("document.documentElement.scrollWidth")


def test_hostile_profiles_run_nothing(visit: Open, profiled: ModuleType, tmp_path: Path) -> None:
    """Names made of markup stay text where the script writes them, too."""
    evil = "</script><img src=x onerror=\"document.title='owned'\">" + "x" * 300
    report = profiled.make_report(layers=6)
    groups = tuple(group.model_copy(update={"scopes": (evil, *group.scopes[1:])}) for group in report.groups)
    profiles = tuple(
        profile.model_copy(update={"notes": (evil,), "variant": "net@fp32"}) for profile in report.profiles
    )
    path = tmp_path / "evil.html"
    path.write_text(
        render_profile_html(report.model_copy(update={"groups": groups, "profiles": profiles, "command": evil})),
        encoding="utf-8",
    )
    page = visit("evil", width=400, path=path)
    _mount_all(page)
    page.locator("[data-pairing] select").nth(1).select_option("2")
    page.locator("[data-layers] thead button").nth(1).click()

    assert "onerror" in page.locator("[data-pairing] tbody").inner_text()
    assert "owned" != page.title()
    assert 0 == page.locator("img").count()
    assert 400 == page.evaluate("document.documentElement.scrollWidth")
