"""The site builds without a warning, its links work, and a page asks nobody else for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.slow

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
NOT_LOADED = {"canonical", "prev", "next", "alternate"}
CSS_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """What a page loads, where it links to, and the names that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        is_kept = tag != "link" or not NOT_LOADED & set(given.get("rel", "").split())
        if tag in LOADED and LOADED[tag] in given and is_kept:
            self.loaded.append(given[LOADED[tag]])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page but 404.html, whose links begin at the server's root."""
    found = sorted(path for path in site.rglob("*.html") if path.name != "404.html")
    return {path: Page(path.read_text(encoding="utf-8")) for path in found}


def test_every_page_is_there(site: Path, pages: dict[Path, Page], repository: Path) -> None:
    made = {path.relative_to(site).as_posix() for path in pages}
    assert {"index.html", "tutorial.html", "cli.html", "changelog.html", "notebooks/embed.html"} <= made
    written = {path.relative_to(repository / "docs") for path in (repository / "docs").rglob("*.md")}
    assert {path.with_suffix(".html").as_posix() for path in written if path.name != "README.md"} <= made
    assert (site / "example" / "expression.tsv").is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    foreign = [
        f"{path.relative_to(site)}: {url}" for path, page in pages.items() for url in page.loaded if is_foreign(url)
    ]
    for sheet in site.rglob("*.css"):
        urls = [first or second for first, second in CSS_URL.findall(sheet.read_text(encoding="utf-8"))]
        foreign += [f"{sheet.relative_to(site)}: {url}" for url in urls if is_foreign(url)]
    assert foreign == []


def test_no_diagram_that_would_be_fetched(pages: dict[Path, Page], site: Path) -> None:
    """The theme fetches its diagram library when a page has a diagram to draw."""
    texts = [path.read_text(encoding="utf-8") for path in pages]
    assert not any('class="mermaid"' in text for text in texts)


def test_no_escape_is_shown(pages: dict[Path, Page], site: Path) -> None:
    """What GitHub wants escaped in a table is not shown with the stroke."""
    shown = [
        path.relative_to(site) for path in pages if re.search(r"<code>[^<]*\\\|", path.read_text(encoding="utf-8"))
    ]
    shown += [path.relative_to(site) for path in pages if "\\&lt;" in path.read_text(encoding="utf-8")]
    assert shown == []


def is_foreign(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https") or url.startswith("//")


def test_internal_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif anchor and target in pages and anchor not in pages[target].names | {"__toc", "__search"}:
                broken.append(f"{path.relative_to(site)}: no #{anchor} in {target.relative_to(site)}")
    assert broken == []


def test_the_checks_can_fail() -> None:
    page = Page('<script src="https://cdn.example/x.js"></script><a href="no.html#x">t</a><p id="y">')
    assert [is_foreign(url) for url in page.loaded] == [True]
    assert page.links == ["no.html#x"] and page.names == {"y"}
