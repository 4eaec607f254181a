"""The report in headless Chromium: all is there at three widths, nothing is fetched, nothing spills, and a reader
without a mouse or without sight gets at everything."""

from __future__ import annotations

import base64
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bulkrnabert.cli.report import command
from tests.browser.reading import EMPTY, OVERFLOW, chromium, open_page, requested_addresses, serious, set_colours

pytestmark = pytest.mark.browser

BUILDER = Path(__file__).resolve().parents[1] / "unit" / "study.py"
WIDTHS = [375, 800, 1400]
SECTIONS = [
    *("summary", "data", "training", "embedding", "classification", "survival", "skipped", "methods", "terms", "run"),
]
FIGURES = [
    "fig-flow", "fig-classification-0", "fig-concordance-pan", "fig-concordance-cohorts", "fig-concordance-each",
    "fig-auc", "fig-reliability-0", "fig-calibration-0", "fig-training-0",
    *(f"fig-survival-{index}" for index in range(5)),
]  # fmt: skip
# Size, and whether something is drawn in it.
MEASURE = """
const element = document.getElementById(arguments[0]);
if (!element) return null;
const box = element.getBoundingClientRect();
const drawings = [...element.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect());
return {width: box.width, height: box.height, drawings: drawings.map(d => [d.width, d.height])};
"""


CAPTIONS_OUTSIDE = """
return [...document.querySelectorAll('caption, .caption')].filter(item =>
  item.matches('caption') || item.closest('.scroll') || item.getBoundingClientRect().right > window.innerWidth
).map(item => item.textContent)
"""


# Pixels of the explorer's canvas that something is painted on.
CANVAS = """
const canvas = document.querySelector('.explorer .canvas');
const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
let painted = 0;
for (let i = 3; i < data.length; i += 4) if (data[i]) painted += 1;
return {width: canvas.clientWidth, height: canvas.clientHeight, painted};
"""


LABEL = "return document.querySelector('.canvas').getAttribute('aria-label')"


@pytest.fixture(scope="module", params=["plain", "hostile"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    is_hostile = request.param == "hostile"
    study = runpy.run_path(str(BUILDER), run_name="report_study")["write_study"](
        folder / "study", hostile=is_hostile, data_access="local" if is_hostile else "open", n_encoders=2
    )
    result = CliRunner().invoke(command, study.report_arguments(folder / "report"), catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "report" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_there_and_nothing_spills(browser: Any, page: Path, width: int) -> None:
    open_page(browser, page, width)
    for name in SECTIONS:
        box = browser.execute_script(MEASURE, name)
        assert box is not None, f"no section {name}"
        assert box["width"] > 200 and box["height"] > 40, name
    for name in FIGURES:
        box = browser.execute_script(MEASURE, name)
        assert box is not None, f"no figure {name}"
        assert box["drawings"] and all(w > 150 and h > 40 for w, h in box["drawings"]), (name, box)
    canvas = browser.execute_script(CANVAS)
    assert canvas["width"] > 250 and canvas["height"] > 180 and canvas["painted"] > 300
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.querySelectorAll('.caption').length") >= 4
    assert browser.execute_script(CAPTIONS_OUTSIDE) == []
    assert browser.execute_script(EMPTY) == []
    assert browser.execute_script(OVERFLOW) <= 0
    browser.execute_script("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert browser.execute_script(OVERFLOW) <= 0


def test_nothing_is_fetched_and_nothing_complains(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    addresses = [url for url in requested_addresses(browser) if not url.startswith("data:")]
    assert addresses == [page.as_uri()]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_the_network_log_would_show_a_request(browser: Any, tmp_path: Path) -> None:
    """The control: a page that asks for something is caught by both checks."""
    (tmp_path / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    other = tmp_path / "other.html"
    other.write_text('<!doctype html><div style="width:2000px">x</div><img src="picture.svg"><img src="none.png">')
    open_page(browser, other, 375)
    assert len(requested_addresses(browser)) == 3
    assert browser.execute_script(OVERFLOW) > 0
    assert any(entry["level"] == "SEVERE" for entry in browser.get_log("browser"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, page: Path, scheme: str) -> None:
    set_colours(browser, scheme)
    open_page(browser, page, 1400)
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark is (scheme == "dark")
    assert serious(browser) == []
    set_colours(browser, "light")


def test_axe_would_find_something(browser: Any, tmp_path: Path) -> None:
    """The control: text that is too pale, and a picture without words."""
    bad = tmp_path / "bad.html"
    bad.write_text('<!doctype html><html lang="en"><title>t</title><p style="color:#ccc">pale</p><img src="data:,">')
    open_page(browser, bad, 1400)
    assert {name for name, _ in serious(browser)} == {"color-contrast", "image-alt"}


def test_names_are_shown_as_text(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    assert browser.execute_script("return [...document.scripts].map(item => item.type)") == ["application/json", ""]
    shown = browser.execute_script("return document.querySelector('#cohorts tbody th').innerText")
    assert shown == ("<script>alert(1)</script>" if "hostile" in str(page) else "BLCA")
    assert shown in browser.execute_script("return document.querySelector('.legend').innerText")


def test_without_scripts_the_embedding_is_a_drawing(browser: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    open_page(browser, page, 800)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    box = browser.execute_script(MEASURE, "fig-embedding")
    assert box["drawings"] and box["drawings"][0][0] > 300
    assert not browser.execute_script("return document.getElementById('explorer').checkVisibility()")


def press(browser: Any, *names: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for name in names:
        ActionChains(browser).send_keys(getattr(Keys, name, name)).perform()


FOCUSED = """
const item = document.activeElement;
return item.id || item.className || item.textContent.trim().slice(0, 40) || item.tagName;
"""


def test_the_keyboard_reaches_the_explorer_and_the_sorting(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    press(browser, "TAB")
    assert browser.execute_script(FOCUSED) == "skip"
    press(browser, "ENTER", "TAB")
    assert browser.execute_script("return document.getElementById('main').contains(document.activeElement)")
    seen = []
    while len(seen) < 150 and "canvas" not in seen:
        seen.append(browser.execute_script(FOCUSED))
        press(browser, "TAB")
    assert "Cohort" in seen, "no sort button on the way"
    assert seen.index("Cohort") < seen.index("canvas")


def test_sorting_by_the_keyboard(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    column = "return [...document.querySelectorAll('#cohorts tbody tr')].map(row => row.cells[3].innerText)"
    assert browser.execute_script(column) == ["400", "410", "420", "430", "440"]
    browser.execute_script("document.querySelectorAll('#cohorts th button')[3].focus()")
    press(browser, "ENTER")
    assert browser.execute_script(column) == ["440", "430", "420", "410", "400"]
    head = "return document.querySelectorAll('#cohorts thead th')[3].getAttribute('aria-sort')"
    assert browser.execute_script(head) == "descending"
    press(browser, "SPACE")
    assert browser.execute_script(column) == ["400", "410", "420", "430", "440"]
    assert browser.execute_script(head) == "ascending"


def test_a_confusion_matrix_is_ordered_in_rows_and_columns(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    diagonal = """
    const rows = [...document.querySelectorAll('#confusion-0 tbody tr')];
    return rows.map((row, index) => [row.cells[0].innerText, row.cells[index + 1].innerText]);
    """
    heads = "return [...document.querySelectorAll('#confusion-0 thead th')].slice(1, -2).map(head => head.innerText)"
    before = browser.execute_script(diagonal)
    choose = "const s = document.querySelector('select.order'); s.value = 'size'; s.dispatchEvent(new Event('change'))"
    browser.execute_script(choose)
    after = browser.execute_script(diagonal)
    assert sorted(after) == sorted(before)
    assert [name for name, _ in after] == browser.execute_script(heads)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('#confusion-0 tbody tr')].map(row => Number(row.dataset.n))"
    )
    assert sizes == sorted(sizes, reverse=True)


def test_the_explorer_finds_colours_and_moves(browser: Any, page: Path) -> None:
    open_page(browser, page, 1400)
    about = "return document.querySelector('.about').innerText"
    is_open = "hostile" not in str(page)
    assert browser.execute_script("return document.querySelector('.explorer .model').options.length") == 2
    names = browser.execute_script("return [...document.querySelector('.colour').options].map(item => item.text)")
    assert names == (["cohort", "sex", "age, years"] if is_open else ["cohort"])
    assert browser.execute_script("return document.querySelector('.search').checkVisibility()") is is_open
    assert ("TCGA-00-00007" in browser.page_source) is is_open
    browser.execute_script("document.querySelector('.canvas').focus()")
    press(browser, "ARROW_RIGHT")
    first = browser.execute_script(about)
    assert "cohort" in first
    press(browser, "ARROW_RIGHT")
    assert browser.execute_script(about) != first or not is_open
    if not is_open:
        return
    browser.execute_script(
        "const s = document.querySelector('.search'); s.value = 'tcga-00-00007'; s.dispatchEvent(new Event('input'))"
    )
    assert "TCGA-00-00007-01A" in browser.execute_script(about)
    browser.execute_script(
        "const s = document.querySelector('.colour'); s.value = '2'; s.dispatchEvent(new Event('change'))"
    )
    assert browser.execute_script("return document.querySelector('.ramp-box').checkVisibility()")
    assert "TCGA-00-00007-01A" in browser.execute_script(about), "the sample stays chosen"
    browser.execute_script(
        "const s = document.querySelector('.model'); s.value = 'MOJO'; s.dispatchEvent(new Event('change'))"
    )
    assert "299 samples" in browser.execute_script(
        "return document.querySelector('.canvas').getAttribute('aria-label')"
    )


def test_the_reader_chooses_light_or_dark(browser: Any, page: Path) -> None:
    set_colours(browser, "light")
    open_page(browser, page, 1400)
    colour = "return getComputedStyle(document.body).backgroundColor"
    light = browser.execute_script(colour)
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(colour) != light
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(colour) == light
    browser.execute_script("try { localStorage.clear() } catch {}")


def test_a_tap_on_the_contents_leads_there(browser: Any, page: Path) -> None:
    open_page(browser, page, 375)
    targets = browser.execute_script("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert set(SECTIONS) <= set(targets)
    assert all(browser.execute_script("return !!document.getElementById(arguments[0])", name) for name in targets)


def test_it_prints_to_a_few_pages(browser: Any, page: Path) -> None:
    set_colours(browser, "dark")
    open_page(browser, page, 1400)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    n_pages = pdf.count(b"/Type /Page") - pdf.count(b"/Type /Pages")
    assert pdf.startswith(b"%PDF")
    assert 4 <= n_pages <= 20
    set_colours(browser, "dark", "print")
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    set_colours(browser, "light")


@pytest.mark.slow
def test_the_page_holds_tcga(browser: Any, tmp_path: Path) -> None:
    study = runpy.run_path(str(BUILDER), run_name="report_study")["write_large_study"](tmp_path / "study")
    result = CliRunner().invoke(command, study.report_arguments(tmp_path / "report"), catch_exceptions=False)
    assert result.exit_code == 0
    large = tmp_path / "report" / "report.html"
    assert large.stat().st_size < 15e6
    for width in WIDTHS:
        open_page(browser, large, width)
        assert browser.execute_script(OVERFLOW) <= 0
    assert "10989 samples" in browser.execute_script(
        "return document.querySelector('.canvas').getAttribute('aria-label')"
    )
    assert browser.execute_script(CANVAS)["painted"] > 2000
