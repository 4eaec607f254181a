"""Tables of text for the parts of the page that need no more."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.evaluate.artefacts import Metric
from bulkrnabert.evaluate.findings import Difference, Value
from bulkrnabert.report.text import NOT_ESTIMABLE, format_difference, format_difference_interval, format_interval


@dataclass(frozen=True)
class SimpleTable:
    """Rows of text under a caption; the first column names the row."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


def value_text(item: Value | Metric | None, n_digits: int = 3) -> str:
    """`0.912 (0.901 to 0.923)`."""
    if item is None or item.value is None:
        return NOT_ESTIMABLE
    interval = format_interval(item.low, item.high, n_digits)
    return f"{item.value:.{n_digits}f}" + (f" ({interval})" if interval else "")


def difference_text(item: Difference | None) -> str:
    """`−0.012 (−0.020 to −0.004), ahead`."""
    if item is None or item.difference is None:
        return NOT_ESTIMABLE
    interval = format_difference_interval(item.low, item.high)
    shown = format_difference(item.difference) + (f" ({interval})" if interval else "")
    return f"{shown}, {item.holds}" if item.holds else shown
