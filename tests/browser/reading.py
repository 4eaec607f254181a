"""Chromium without a screen, and what a page is asked in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
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

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"

# Sections without text, tables without rows, lists without items, drawings without shapes.
EMPTY = """
const isEmpty = {
  section: item => item.innerText.trim().length < 40,
  tbody: item => !item.rows.length,
  'ul, ol, dl, .panels': item => !item.children.length,
  details: item => item.children.length < 2,
  'figure svg': item => !item.querySelector('path, rect, use, text'),
};
const main = document.querySelector('main');
return Object.entries(isEmpty).flatMap(([name, test]) =>
  [...main.querySelectorAll(name)].filter(item => test(item)).map(item => `${name} ${item.id}`));
"""


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A driver of Chromium; the test is skipped where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium or chromedriver on PATH (Debian: apt-get install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
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


def set_colours(browser: Any, scheme: str, medium: str = "") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})


def serious(browser: Any) -> list[tuple[str, str]]:
    """Name and place of what axe-core calls serious or critical on the whole page, folded parts opened."""
    axe = pytest.importorskip("axe_core_python")
    browser.execute_script((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    browser.execute_script("document.querySelectorAll('details').forEach(item => { item.open = true })")
    browser.set_script_timeout(240)
    found = browser.execute_async_script(
        "const done = arguments[0];axe.run(document, {resultTypes: ['violations'], preload: false}).then(done)"
    )
    return [
        (item["id"], node["html"][:200])
        for item in found["violations"]
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
