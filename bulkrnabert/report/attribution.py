"""Which genes fine-tuned models rest on, as a part of the page."""

from __future__ import annotations

from typing import Any

from bulkrnabert.evaluate.findings import Attribution, Findings
from bulkrnabert.report.simple_tables import SimpleTable
from bulkrnabert.report.text import format_number, name_of_task

METHOD_TITLES = {"ig": "integrated gradients", "attention": "attention"}
N_GENES_SHOWN = 10
MAX_SETS_SHOWN = 100


def attribution_part(findings: Findings, label_column: str, small_cells: int) -> dict[str, Any]:
    """Tables of first genes and gene sets; `has_attribution` says whether there are any.

    Args:
        findings: All that was found.
        label_column: What the classes are.
        small_cells: Classes with fewer samples than this are left out, and counted; 0 shows all.
    """
    tables = [
        table for item in findings.of(Attribution) for table in _tables(item, _title(item, label_column), small_cells)
    ]
    return {"has_attribution": bool(tables), "attribution_tables": tables}


def _title(item: Attribution, label_column: str) -> str:
    return METHOD_TITLES[item.method] if item.task is None else name_of_task(item.task, label_column)


def _tables(item: Attribution, title: str, small_cells: int) -> list[SimpleTable]:
    shown = [group for group in item.groups if group.n_samples >= small_cells]
    n_hidden = len(item.groups) - len(shown)
    hidden = f"; {n_hidden} groups of fewer than {small_cells} samples are left out" if n_hidden else ""
    lines = [
        [
            group.class_name,
            f"{group.n_samples:,}",
            format_number(group.top_overlap),
            ", ".join(group.top[:N_GENES_SHOWN]),
        ]
        for group in shown
    ]
    caption = f"{title}: first genes of {item.n_genes:,}, by {METHOD_TITLES[item.method]}{hidden}"
    tables = [SimpleTable(caption, ["Predicted", "Samples", f"Shared first {item.n_top}", "First genes"], lines)]
    names = {group.class_name for group in shown}
    sets = [row for row in item.enrichment if row.class_name in names][:MAX_SETS_SHOWN]
    if sets:
        lines = [
            [row.class_name, row.set_name, str(row.n_in_top), f"{row.n_expected:.1f}", format_number(row.q_overlap)]
            for row in sets
        ]
        columns = ["Predicted", "Gene set", "Among the first", "Expected", "q"]
        tables.append(SimpleTable(f"{title}: gene sets among the first {item.n_top} genes", columns, lines))
    return tables
