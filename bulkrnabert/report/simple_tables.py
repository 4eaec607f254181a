"""Tables of text for the parts of the page that need no more."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.evaluate.artefacts import Metric
from bulkrnabert.evaluate.findings import Difference, Value
from bulkrnabert.report.text import NOT_ESTIMABLE, format_difference, format_difference_interval, format_interval

NUMBER_STARTS = tuple("0123456789+\u2212<\u2013")


@dataclass(frozen=True)
class SimpleTable:
    """Rows of text under a caption; the first column names the row."""

    caption: str
    columns: list[str]
    rows: list[list[str]]

    @property
    def heads(self) -> list[tuple[str, bool]]:
        """Names of the columns, and whether all that is in one is numbers, or says that there is none."""
        return [
            (
                name,
                number > 0
                and all(row[number][:1] in NUMBER_STARTS or row[number] == NOT_ESTIMABLE for row in self.rows),
            )
            for number, name in enumerate(self.columns)
        ]


def value_text(item: Value | Metric | None, n_digits: int = 3) -> str:
    """`0.912 [0.901, 0.923]`."""
    if item is None or item.value is None:
        return NOT_ESTIMABLE
    interval = format_interval(item.low, item.high, n_digits)
    return f"{item.value:.{n_digits}f}" + (f" {interval}" if interval else "")


def difference_text(item: Difference | None) -> str:
    """`−0.012 [−0.020, −0.004], ahead`."""
    if item is None or item.difference is None:
        return NOT_ESTIMABLE
    interval = format_difference_interval(item.low, item.high)
    shown = format_difference(item.difference) + (f" {interval}" if interval else "")
    return f"{shown}, {item.holds}" if item.holds else shown
