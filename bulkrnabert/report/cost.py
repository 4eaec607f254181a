"""What a run took, as a part of its page: the trace is only complete when the run, and its page, are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from bulkrnabert.errors import DataError
from bulkrnabert.provenance import atomic_path

TEMPLATES = Path(__file__).parent / "templates"
BEGIN = "<!-- cost -->"
END = "<!-- end of cost -->"


def render_cost(cost: dict[str, Any]) -> str:
    """The tables of `cost.json` as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("cost.html").render(cost=cost)


def insert_cost(page: Path, cost: dict[str, Any]) -> None:
    """Put the tables into a report, in place of those of an earlier call.

    Raises:
        DataError: the page is no report of ours.
    """
    try:
        html = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{page}: cannot be read as a page: {error}") from error
    before, found, rest = html.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise DataError(f"{page}: has no place for the cost of a run; give the report.html of `bulkrnabert report`")
    with atomic_path(page) as partial:
        partial.write_text(f"{before}{BEGIN}\n{render_cost(cost)}\n{END}{after}", encoding="utf-8")
