"""The site opened as files in headless Chromium: the search finds, and no page asks for anything from elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
FLAGS += ("--disable-background-networking", "--disable-component-update", "--disable-sync")
FOUND = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.getAttribute('href'))"
OPEN_SEARCH = "document.getElementById('__search').click()"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium or chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def open_page(browser: Any, page: Path) -> None:
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())


def asked_for(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def test_search_works_without_a_server(browser: Any, site: Path) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    open_page(browser, site / "index.html")
    browser.execute_script(OPEN_SEARCH)
    browser.find_element("css selector", ".md-search__input").send_keys("concordance")
    # What is found of the first letters may be shown before.
    WebDriverWait(browser, 60).until(lambda d: any("numbers.html" in link for link in d.execute_script(FOUND)))
    assert [url for url in asked_for(browser) if url.startswith("http")] == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("page", ["tutorial.html", "cli.html", "notebooks/embed.html", "data.html"])
def test_a_page_asks_nobody(browser: Any, site: Path, page: str) -> None:
    open_page(browser, site / page)
    assert browser.execute_script("return document.querySelector('h1').innerText").strip()
    asked = asked_for(browser)
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
