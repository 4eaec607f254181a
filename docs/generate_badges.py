"""Writes `docs/img/badges/*.svg` from `pyproject.toml` and `nextflow.config`: run it after a change of either."""

from __future__ import annotations

import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "img" / "badges"
LETTER_WIDTH, PADDING, HEIGHT = 6.6, 8, 20


def facts() -> dict[str, tuple[str, str]]:
    """Left and right text of each badge, by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    pythons = [name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)]
    config = (ROOT / "nextflow.config").read_text(encoding="utf-8")
    found = re.search(r"nextflowVersion\s*=\s*'!?>=([\d.]+)'", config)
    assert found is not None, "nextflow.config states the oldest Nextflow"
    return {
        "licence": ("licence", project["license"]),
        "python": ("python", " | ".join(pythons)),
        "nextflow": ("nextflow", f"≥ {found.group(1)}"),
        "version": ("version", project["version"]),
    }


def draw(left: str, right: str) -> str:
    """A badge of two texts as SVG; the widths of the texts are fixed, so that no font decides them."""
    widths = [len(text) * LETTER_WIDTH for text in (left, right)]
    split, whole = widths[0] + 2 * PADDING, sum(widths) + 4 * PADDING
    label = escape(f"{left}: {right}")
    texts = "".join(
        f'<text x="{x:.1f}" y="14" textLength="{width:.1f}">{escape(text)}</text>'
        for text, width, x in ((left, widths[0], PADDING), (right, widths[1], split + PADDING))
    )
    size = f'width="{whole:.1f}" height="{HEIGHT}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">'
        f"<title>{label}</title>"
        f'<clipPath id="round"><rect {size} rx="3"/></clipPath>'
        f'<g clip-path="url(#round)"><rect {size} fill="#0969da"/>'
        f'<rect width="{split:.1f}" height="{HEIGHT}" fill="#424a53"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g></svg>\n'
    )


def badges() -> dict[str, str]:
    """Contents of each badge's file, by file name."""
    return {f"{name}.svg": draw(left, right) for name, (left, right) in facts().items()}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, text in badges().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
