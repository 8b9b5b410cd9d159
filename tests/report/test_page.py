"""The page in a real browser: accessible, sortable, offline, on a phone and on paper."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from browsers import PHONE, assert_accessible
from made_up import side_tables, tuned_study

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.report.study.render import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    study = tuned_study(folder / "results" / "s")
    side_tables(study)
    write_report(StudyAnalysis(tables.load(study), study), folder / "report")
    return folder / "report" / "index.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(page: Page, scheme: Scheme) -> None:
    page.emulate_media(color_scheme=scheme)
    assert_accessible(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["papers"])
def test_a_page_of_claims_is_accessible_and_its_tables_sort(browser: Browser, name: str, scheme: Scheme) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.goto((ROOT / "reports" / name / "index.html").as_uri())
    assert_accessible(page)
    table = page.locator("table.sortable").first
    table.locator("thead button").nth(1).click()
    shown = table.locator("tbody tr > :nth-child(2)").all_inner_texts()
    assert shown == sorted(shown)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    context.close()


def test_light_and_dark_differ_and_paper_is_light(page: Page) -> None:
    colors = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, media="screen")  # type: ignore[arg-type]
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.emulate_media(color_scheme="dark", media="print")
    assert colors[0] != colors[1]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colors[0]


@pytest.mark.parametrize("width", [360, 740, 1000, 1200])
def test_the_leaderboard_stands_first_and_fits_every_width(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    board = page.locator("table.board").first
    box = board.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width
    assert box["y"] < 500, "it is on the first screen"
    rows = board.locator("tbody tr")
    assert rows.count() == 4
    assert rows.first.locator(".badge").inner_text() == "best"
    assert board.locator("tbody svg").count() == 4
    assert page.locator(".next code").first.inner_text().startswith("python -m bench")


def test_axe_would_find_one(page: Page) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelector('figure:not(.replaced) .scroll:not(.replaced) img').removeAttribute('alt')")
    assert [v["id"] for v in Axe().run(page).response["violations"]] == ["image-alt"]


def chart(page: Page) -> Locator:
    """The first interactive chart, drawn."""
    box = page.locator(".explorer").first
    box.scroll_into_view_if_needed()
    box.locator(".canvas svg").wait_for()
    return box


def drawn(box: Locator) -> set[str]:
    """The optimizers whose curves a chart shows."""
    label = box.locator(".canvas svg").get_attribute("aria-label") or ""
    return {name.split()[0] for name in label.partition(": ")[2].split(", ")}


def test_the_chart_takes_the_place_of_the_figures_and_paper_keeps_these(page: Page) -> None:
    box = chart(page)
    assert box.is_visible()
    replaced = page.locator("figure.replaced")
    assert replaced.count() >= 2 and not replaced.first.is_visible()
    page.emulate_media(media="print")
    assert replaced.first.is_visible() and not box.is_visible()


def test_an_optimizer_is_switched_off_in_every_chart(page: Page) -> None:
    box = chart(page)
    names = box.locator(".legend label").all_inner_texts()
    assert set(names) == {"adam", "sgd", "rmsprop", "nadam"}
    assert drawn(box) == set(names)
    box.locator(".legend input").first.uncheck()
    page.wait_for_function(
        "gone => !document.querySelector('.canvas svg').ariaLabel.includes(gone)", arg=f": {names[0]}"
    )
    others = page.locator(".explorer")
    for i in range(others.count()):
        others.nth(i).scroll_into_view_if_needed()
        others.nth(i).locator(".canvas svg").wait_for()
        assert drawn(others.nth(i)) == set(names[1:])


def test_what_is_drawn_can_be_chosen(page: Page) -> None:
    box = chart(page)
    metric, across = (box.locator("select").nth(i) for i in (0, 1))
    metric.select_option("train loss")
    across.select_option("epoch")
    page.wait_for_function(
        "document.querySelector('.canvas svg').ariaLabel.startsWith('Curves of train loss against epoch')"
    )
    num_paths = box.locator(".canvas svg path").count()
    box.get_by_label("single seeds").check()
    page.wait_for_function("before => document.querySelectorAll('.canvas svg path').length > before", arg=num_paths)
    for name in ("log x", "log y"):
        box.get_by_label(name).click()
        assert "NaN" not in box.locator(".canvas").inner_html()


def test_pointing_at_a_curve_tells_its_numbers(page: Page) -> None:
    box = chart(page)
    area = box.locator(".canvas svg").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    told = page.locator("#vg-tooltip-element")
    told.wait_for()
    text = told.inner_text()
    assert {"setting", "seed", "step", "val loss", "range over seeds"} <= {
        line.split("\t")[0] for line in text.splitlines()
    }
    assert "undefined" not in text and "NaN" not in text


def test_numbers_keep_the_zeros_at_their_end(browser: Browser, report: Path, tmp_path: Path) -> None:
    html = report.read_text(encoding="utf-8")
    (written, *_) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html)
    data = json.loads(written)
    for each in data["series"]:
        for curve in each["curves"].values():
            data["arrays"].append([1000 + 1000 * i for i in range(len(curve["median"]))])
            curve["step"] = len(data["arrays"]) - 1
    (tmp_path / "index.html").write_text(html.replace(written, json.dumps(data)), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    area = chart(page).locator(".canvas svg").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 3)
    told = page.locator("#vg-tooltip-element")
    told.wait_for()
    numbers = dict(line.split("\t") for line in told.inner_text().splitlines())
    (series,) = (each for each in data["series"] if each["name"] == numbers["setting"])
    curve = series["curves"]["val loss"]
    steps = data["arrays"][curve["step"]]
    assert int(numbers["step"]) in steps
    assert numbers["val loss"] == f"{curve['median'][steps.index(int(numbers['step']))]:g}"
    context.close()


def test_a_page_without_javascript_has_its_figures(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("figure img[src^=data]").first.is_visible()
    assert not page.locator(".explorer").first.is_visible()
    context.close()


def column(page: Page, table: str, number: int) -> list[str]:
    return page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()


def test_a_click_sorts_numbers_as_numbers_and_back(page: Page) -> None:
    table = "[aria-label^='Table All runs'] table"
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    heads = page.locator(f"{table} >> nth=0 >> thead th")
    names = heads.all_inner_texts()
    number = 1 + next(i for i, name in enumerate(names) if name.startswith("steps"))
    head = heads.nth(number - 1)
    table = f"#{page.locator(table).first.evaluate('t => (t.id = `sorted`)')}"
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    steps = [int(text) for text in column(page, table, number)]
    assert steps == sorted(steps)
    assert steps[0] == 30, "as text, 200 would come first"
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [int(text) for text in column(page, table, number)] == steps[::-1]
    heads.nth(0).get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, table, 1) == sorted(column(page, table, 1))


def test_rows_are_found_by_their_words_and_counted(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    table = page.locator("table.sortable", has=page.locator("caption", has_text="All runs")).first
    rows = table.locator("tbody tr")
    many = rows.count()
    label = table.locator("xpath=../preceding-sibling::label")
    assert many > 12
    label.locator("input").fill("ADAM ok")
    found = [row for row in rows.all() if row.is_visible()]
    assert 0 < len(found) < many
    assert all("adam" in row.inner_text() and "ok" in row.inner_text() for row in found)
    assert label.locator("output").inner_text() == f"{len(found)} of {many}"
    label.locator("input").fill("")
    assert all(row.is_visible() for row in rows.all())
    assert page.locator("table.board").locator("xpath=../preceding-sibling::label").count() == 0


@pytest.mark.parametrize("width", [1100, 390])
def test_claims_are_chosen_by_verdict_and_source(browser: Browser, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto((ROOT / "reports" / "articles" / "index.html").as_uri())
    claims = page.locator("table.claims tbody tr:not(:has(.group))")
    many = claims.count()
    page.get_by_label("Verdict").select_option("refuted")
    shown = [row for row in claims.all() if row.is_visible()]
    assert 0 < len(shown) < many
    assert all("refuted" in row.inner_text() for row in shown)
    assert page.locator(".filter output").inner_text() == f"{len(shown)} of {many} claims"
    page.get_by_label("Source").select_option(index=2)
    fewer = [row for row in claims.all() if row.is_visible()]
    assert len(fewer) < len(shown)
    assert sum(body.is_visible() for body in page.locator("table.claims tbody").all()) <= 1
    page.get_by_label("Source").select_option("")
    page.get_by_label("Verdict").select_option("")
    assert all(row.is_visible() for row in claims.all())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_what_is_missing_sorts_last_either_way(page: Page) -> None:
    page.evaluate(
        """() => { for (const [i, text] of ["3", "", "10", "not reached"].entries()) {
            const cell = document.querySelector("[aria-label^='Table Final'] table").tBodies[0].rows[i].cells[1];
            cell.textContent = text; cell.dataset.sort = text === "not reached" ? "Infinity" : text; } }"""
    )
    button = page.locator("[aria-label^='Table Final'] thead th >> nth=1").get_by_role("button")
    page.evaluate("document.querySelector(`[aria-label^='Table Final'] table`).id = 'first'")
    button.click()
    assert column(page, "#first", 2)[:4] == ["3", "10", "not reached", ""]
    button.click()
    assert column(page, "#first", 2)[:4] == ["not reached", "10", "3", ""]


def open_all(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


def too_wide(page: Page) -> list[str]:
    """The tables and figures that scroll sideways."""
    found = page.locator(".scroll:visible").evaluate_all(
        "all => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel)"
    )
    return list(found)


@pytest.mark.parametrize("width", [1000, 1200, 1600])
def test_no_table_scrolls_sideways_and_columns_are_chosen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    open_all(page)
    page.wait_for_timeout(100)
    assert too_wide(page) == []
    if width > 1000:
        return
    box = page.locator("[aria-label^='Table Final results']").first
    menu = box.locator("xpath=following-sibling::details[@class='columns'][1]")
    hidden = box.locator("thead th.off")
    num = hidden.count()
    assert num > 0 and menu.locator("summary").inner_text() == f"Columns: {num} more"
    name = hidden.first.text_content() or ""
    menu.get_by_label(name).check()
    assert hidden.count() == num - 1 and box.locator("thead th", has_text=name).is_visible()
    page.emulate_media(media="print")
    assert hidden.first.is_visible(), "on paper every column stands"


def test_a_phone_shows_the_columns_that_decide(page: Page) -> None:
    page.set_viewport_size(PHONE)
    open_all(page)
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    heads = page.locator("[aria-label^='Table Final results'] >> nth=0 >> thead th:visible").all_inner_texts()
    assert heads[0].startswith("optimizer") and len(heads) >= 2


FIGURES_WITH_CHARTS = (
    "targets",
    "memory",
    "pareto",
    "defaults",
    "best-of-k",
    "sensitivity",
    "step-cost",
    "training-step",
)


def figure_chart(page: Page, name: str) -> Locator:
    """The chart in the place of a figure, drawn."""
    figure = page.locator(f"figure[id='{name}']")
    figure.scroll_into_view_if_needed()
    figure.locator(".canvas svg").wait_for()
    return figure


def test_a_chart_takes_the_place_of_its_figure_tells_numbers_and_leaves_paper_alone(page: Page) -> None:
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    for name in FIGURES_WITH_CHARTS:
        figure = figure_chart(page, name)
        assert not figure.locator("img").is_visible() and figure.locator(".said").is_visible(), name
        assert "NaN" not in figure.locator(".canvas").inner_html() and troubles == [], name
        figure.locator("svg .mark-symbol path, svg .mark-rect path").first.hover(force=True)
        page.locator("#vg-tooltip-element.visible").wait_for()
        text = page.locator("#vg-tooltip-element").inner_text()
        assert text and "undefined" not in text and "NaN" not in text, name
    page.emulate_media(media="print")
    for name in FIGURES_WITH_CHARTS:
        figure = page.locator(f"figure[id='{name}']")
        assert figure.locator("img").is_visible() and not figure.locator(".canvas").is_visible(), name


def test_an_optimizer_that_is_switched_off_leaves_the_charts_of_figures_too(page: Page) -> None:
    figure = figure_chart(page, "defaults")
    assert "adam" in (figure.locator("svg").text_content() or "")
    box = chart(page)
    name = box.locator(".legend label").first.inner_text()
    box.locator(".legend input").first.uncheck()
    page.wait_for_function(
        "gone => ![...document.querySelectorAll('figure[id=defaults] svg text')].some((t) => t.textContent === gone)",
        arg=name,
    )


def test_both_axes_of_what_is_gained_against_what_it_costs_are_chosen(page: Page) -> None:
    figure = figure_chart(page, "pareto")
    across, up = (figure.locator("select").nth(i) for i in (0, 1))
    across.select_option("peak_mib")
    up.select_option("final_val_loss")
    page.wait_for_function(
        "document.querySelector('figure[id=pareto] svg').textContent.includes('final validation loss')"
    )
    names = set(figure.locator("svg .mark-text.role-mark text").all_text_contents())
    assert names == {"adam", "nadam", "rmsprop", "sgd"}


def test_opens_without_any_request(browser: Browser, report: Path) -> None:
    context = browser.new_context(offline=True)
    page = context.new_page()
    requests: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(report.as_uri())
    page.wait_for_load_state("networkidle")
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert not troubles
    broken = page.locator("img").evaluate_all("all => all.filter((e) => e.naturalWidth === 0).length")
    assert page.locator("img").count() > 5
    assert broken == 0
    context.close()


def test_prints_with_every_table_open(page: Page, tmp_path: Path) -> None:
    page.emulate_media(media="print")
    assert page.locator("thead button").first.evaluate("e => getComputedStyle(e, '::after').display") == "none"
    overflows = page.locator(".scroll").evaluate_all("all => all.map((e) => getComputedStyle(e).overflowX)")
    assert set(overflows) == {"visible"}
    page.evaluate("window.printed = []; addEventListener('beforeprint', () => setTimeout(() => {}, 0))")
    closed = page.locator("details:not([open])").count()
    assert closed > 0
    page.evaluate(
        "addEventListener('beforeprint', () => { window.open_then = document.querySelectorAll('details[open]').length; })"
    )
    assert page.pdf(path=tmp_path / "report.pdf").startswith(b"%PDF")
    assert page.evaluate("window.open_then") == page.locator("details").count()
    assert page.locator("details:not([open])").count() == closed, "as it was"


def test_links_lead_to_what_they_name(page: Page) -> None:
    links = page.locator("a[href^='#']").evaluate_all("all => all.map((e) => [e.getAttribute('href'), e.textContent])")
    assert len(links) > 3
    for target, text in links:
        assert page.locator(f"[id='{target[1:]}']").count() == 1, target
        if target.startswith("#table-"):
            assert page.locator(f"[id='{target[1:]}']").inner_text() == text


def test_headings_and_tables_say_what_they_are(page: Page) -> None:
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"
