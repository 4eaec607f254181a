"""The report in headless Chromium: everything is there, nothing is fetched, nothing spills over a phone's width."""

from __future__ import annotations

import base64
import json
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bulkrnabert.cli.report import command

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
BUILDER = Path(__file__).resolve().parents[1] / "unit" / "study.py"
SECTIONS = ["summary", "data", "classification", "survival", "embedding", "training", "skipped", "methods", "run"]
FIGURES = [
    "fig-verdict-0", "fig-verdict-1", "fig-classification-0", "fig-confusion-0", "fig-concordance-pan",
    "fig-concordance-cohorts", "fig-concordance-each", "fig-reliability-0", "fig-calibration-0", "fig-embedding",
    "fig-training-0", *(f"fig-survival-{index}" for index in range(5)),
]  # fmt: skip
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
]
# Size, and whether something is drawn in it.
MEASURE = """
const element = document.getElementById(arguments[0]);
if (!element) return null;
const box = element.getBoundingClientRect();
const drawings = [...element.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect());
return {width: box.width, height: box.height, drawings: drawings.map(d => [d.width, d.height])};
"""


OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


CAPTIONS_OUTSIDE = """
return [...document.querySelectorAll('caption, .caption')].filter(item =>
  item.matches('caption') || item.closest('.scroll') || item.getBoundingClientRect().right > window.innerWidth
).map(item => item.textContent)
"""


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
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium or chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def open_page(browser: Any, page: Path, width: int) -> None:
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    # A window cannot be narrower than 500 pixels; the emulated screen can.
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(page.as_uri())


def requested_addresses(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.mark.parametrize("width", [390, 820, 1280])
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
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script("return document.querySelectorAll('.caption').length") >= 4
    assert browser.execute_script(CAPTIONS_OUTSIDE) == []
    assert browser.execute_script(OVERFLOW) <= 0


def test_nothing_is_fetched_and_nothing_complains(browser: Any, page: Path) -> None:
    open_page(browser, page, 1280)
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    addresses = [url for url in requested_addresses(browser) if not url.startswith("data:")]
    assert addresses == [page.as_uri()]
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_the_network_log_would_show_a_request(browser: Any, tmp_path: Path) -> None:
    """The control: a page that asks for something is caught by both checks."""
    (tmp_path / "picture.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    other = tmp_path / "other.html"
    other.write_text('<!doctype html><div style="width:2000px">x</div><img src="picture.svg"><img src="none.png">')
    open_page(browser, other, 390)
    assert len(requested_addresses(browser)) == 3
    assert browser.execute_script(OVERFLOW) > 0
    assert any(entry["level"] == "SEVERE" for entry in browser.get_log("browser"))


def test_names_are_shown_as_text(browser: Any, page: Path) -> None:
    open_page(browser, page, 1280)
    assert browser.execute_script("return document.scripts.length") == 0
    shown = browser.execute_script("return document.querySelector('#cohorts tbody th').innerText")
    assert shown == ("<script>alert(1)</script>" if "hostile" in str(page) else "BLCA")
    drawn = browser.execute_script("return document.querySelector('#fig-embedding svg').textContent")
    assert shown[:15] in drawn


def test_a_tap_on_the_contents_leads_there(browser: Any, page: Path) -> None:
    open_page(browser, page, 390)
    targets = browser.execute_script("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert set(SECTIONS) <= set(targets)
    assert all(browser.execute_script("return !!document.getElementById(arguments[0])", name) for name in targets)


def test_details_open(browser: Any, page: Path) -> None:
    open_page(browser, page, 1280)
    hidden = "return document.querySelector('#fig-confusion-2 svg').checkVisibility()"
    assert browser.execute_script(hidden) is False
    browser.execute_script("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert browser.execute_script(hidden) is True
    assert browser.execute_script(OVERFLOW) <= 0


def test_it_prints_to_a_few_pages(browser: Any, page: Path) -> None:
    open_page(browser, page, 1280)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    n_pages = pdf.count(b"/Type /Page") - pdf.count(b"/Type /Pages")
    assert pdf.startswith(b"%PDF")
    assert 4 <= n_pages <= 20
