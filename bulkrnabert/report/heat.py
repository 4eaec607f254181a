"""Heat maps as tables: every cell is text, so that it can be read, sorted and printed."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.evaluate.artefacts import Confusion
from bulkrnabert.evaluate.findings import HeatMap
from bulkrnabert.report.text import format_count, is_small

MAX_GENES = 60
# A cell of the deepest colour still carries dark text (light text in dark mode).
DEEPEST = 0.6


@dataclass(frozen=True)
class HeatCell:
    """One cell: its text, how deep its colour is (0 to `DEEPEST`), and whether it is on the other side of 0."""

    text: str
    depth: float
    is_negative: bool = False


@dataclass(frozen=True)
class HeatRow:
    """One line; `n` and `share` are what the lines can be ordered by, empty where they are hidden."""

    name: str
    cells: list[HeatCell]
    n: str = ""
    share: str = ""


@dataclass(frozen=True)
class HeatTable:
    """Lines by columns; `is_square` where both are the same classes, in the same order."""

    columns: list[str]
    rows: list[HeatRow]
    is_square: bool


def confusion_table(confusion: Confusion, small_cells: int) -> HeatTable:
    """Counts of a confusion matrix, coloured by their share of the true class.

    Args:
        confusion: Rows are true classes, columns predicted ones.
        small_cells: Counts from 1 to below this are shown as `<N` and not coloured; 0 switches that off.
    """
    rows = []
    for true_idx, (name, counts) in enumerate(zip(confusion.classes, confusion.matrix, strict=True)):
        n = sum(counts)
        cells = [_count_cell(count, n, small_cells) for count in counts]
        is_hidden = is_small(n, small_cells) or is_small(counts[true_idx], small_cells)
        share = "" if is_hidden or not n else f"{counts[true_idx] / n:.3f}"
        rows.append(HeatRow(name, cells, format_count(n, small_cells), share))
    return HeatTable(confusion.classes, rows, is_square=True)


def _count_cell(count: int, n: int, small_cells: int) -> HeatCell:
    depth = 0.0 if not n or is_small(count, small_cells) else round(DEEPEST * count / n, 2)
    return HeatCell(format_count(count, small_cells) if count else "", depth)


def gene_table(heat: HeatMap) -> HeatTable:
    """Genes by classes, at most `MAX_GENES` genes; the colour is the value over the largest one."""
    genes = heat.genes[:MAX_GENES]
    limit = max((abs(value) for row in heat.values for value in row[: len(genes)]), default=0.0) or 1.0
    rows = [
        HeatRow(gene, [_value_cell(heat.values[class_idx][gene_idx], limit) for class_idx in range(len(heat.classes))])
        for gene_idx, gene in enumerate(genes)
    ]
    return HeatTable(heat.classes, rows, is_square=False)


def _value_cell(value: float, limit: float) -> HeatCell:
    return HeatCell(_signed(value), round(DEEPEST * abs(value) / limit, 2), value < 0)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")
