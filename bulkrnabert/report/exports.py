"""The numbers for other programs: a CSV file, and a table that MultiQC shows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from bulkrnabert.evaluate.artefacts import Metric
from bulkrnabert.provenance import atomic_path
from bulkrnabert.report import text

MULTIQC_JSON = "bulkrnabert_mqc.json"
RESULT_COLUMNS = (
    "task", "scope", "method", "role", "metric", "value", "low", "high", "n_samples", "n_patients", "n_events",
    "n_pretrained_patients_in_test", "reason", "split_sha256", "seed",
)  # fmt: skip
COUNT_COLUMNS = {"n_samples", "n_patients", "n_events"}


def _result_row(metric: Metric, small_cells: int) -> dict[str, Any]:
    values = metric.model_dump()
    row = {name: values[name] for name in RESULT_COLUMNS}
    for name in COUNT_COLUMNS:
        if row[name] is not None and text.is_small(row[name], small_cells):
            row[name] = text.format_count(row[name], small_cells)
    return row


def write_results(path: Path, metrics: list[Metric], small_cells: int) -> None:
    """Write the metrics as CSV, one a line; small counts are hidden as in the page."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, RESULT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_result_row(metric, small_cells) for metric in metrics)


def multiqc_table(metrics: list[Metric]) -> dict[str, Any]:
    """Custom content for MultiQC: a line a task, scope and method, a column a metric."""
    data: dict[str, dict[str, float]] = {}
    for item in metrics:
        row = data.setdefault(f"{item.task} | {item.scope} | {item.method}", {})
        if item.value is not None:
            row[item.metric] = item.value
    names = dict.fromkeys(item.metric for item in metrics)
    return {
        "id": "bulkrnabert",
        "section_name": "bulkrnabert",
        "description": "Out-of-fold numbers of encoder-based methods and baselines; intervals are in the report.",
        "plot_type": "table",
        "pconfig": {"id": "bulkrnabert_table", "title": "bulkrnabert: results", "col1_header": "Task | scope | method"},
        "headers": {
            name: {"title": text.name_of_metric(name), "min": 0, "max": 1, "format": "{:,.3f}"} for name in names
        },
        "data": {name: row for name, row in data.items() if row},
    }
