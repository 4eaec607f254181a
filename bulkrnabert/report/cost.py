"""What a run took, as a part of its page: the trace is only complete when the run, and its page, are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import escape

from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.cost import format_hours
from bulkrnabert.provenance import atomic_path

TEMPLATES = Path(__file__).parent / "templates"
BEGIN = "<!-- cost -->"
END = "<!-- end of cost -->"
BEGIN_SHORT = "<!-- cost in short -->"
END_SHORT = "<!-- end of cost in short -->"


def render_cost(cost: dict[str, Any]) -> str:
    """The tables of `cost.json` as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["hours"] = format_hours
    return environment.get_template("cost.html").render(cost=cost)


def render_short_cost(cost: dict[str, Any]) -> str:
    """The total in one line, for the first screen."""
    total = cost["total"]
    parts = [f"{format_hours(total['cpu_hours'])} CPU hours ({format_hours(total['cpu_hours_used'])} in use)"]
    if total["gpu_hours"]:
        parts.append(f"{format_hours(total['gpu_hours'])} GPU hours")
    parts.append(f"at most {total['peak_memory_gb']:.1f} GB of memory")
    if cost["prices"]:
        parts.append(f"{total['price']:.2f} {cost['prices']['currency']}")
    words = f"{', '.join(parts)} in {_tasks(total['n_tasks'])}, {total['n_failed']:,} of them failed"
    if total["n_cached"]:
        words += (
            f"; {_tasks(total['n_cached'])} of earlier runs took {format_hours(total['earlier_cpu_hours'])} CPU hours"
        )
        words += f" and {format_hours(total['earlier_gpu_hours'])} GPU hours" if total["earlier_gpu_hours"] else ""
    return f'<p class="cost-line"><b>Time and cost:</b> {escape(words)}; <a href="#cost">by stage and cohort</a>.</p>'


def _tasks(n: int) -> str:
    return f"{n:,} task{'s' * (n != 1)}"


def _put(html: str, begin: str, end: str, text: str, page: Path) -> str:
    before, found, rest = html.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise DataError(f"{page}: has no place for the cost of a run; give the report.html of `bulkrnabert report`")
    return f"{before}{begin}\n{text}\n{end}{after}"


def insert_cost(page: Path, cost: dict[str, Any]) -> None:
    """Put the tables into a report, and the total on its first screen, in place of those of an earlier call.

    Raises:
        DataError: the page is no report of ours.
    """
    try:
        html = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{page}: cannot be read as a page: {error}") from error
    html = _put(html, BEGIN, END, render_cost(cost), page)
    if BEGIN_SHORT in html:
        html = _put(html, BEGIN_SHORT, END_SHORT, render_short_cost(cost), page)
    with atomic_path(page) as partial:
        partial.write_text(html, encoding="utf-8")
