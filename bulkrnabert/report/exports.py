"""The numbers for other programs: a CSV file, and a table that MultiQC shows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from bulkrnabert.evaluate.artefacts import LOWER_IS_BETTER, Metric
from bulkrnabert.provenance import atomic_path
from bulkrnabert.report import text

MULTIQC_JSON = "bulkrnabert_mqc.json"
RESULT_COLUMNS = (
    "task", "scope", "method", "role", "metric", "value", "low", "high", "n_samples", "n_patients", "n_events",
    "n_pretrained_patients_in_test", "reason", "split_sha256", "seed", "scope_cohort", "at_days", "n_repeats",
    "sd_over_repeats",
)  # fmt: skip
UNBOUNDED = {"brier_score", "log_loss"}
SD_SUFFIX = "_sd"
COUNT_COLUMNS = {"n_samples", "n_patients", "n_events"}


def _result_row(metric: Metric, small_cells: int) -> dict[str, Any]:
    values = metric.model_dump()
    row = {name: values[name] for name in RESULT_COLUMNS}
    for name in COUNT_COLUMNS:
        if row[name] is not None and text.is_small(row[name], small_cells):
            row[name] = text.format_count(row[name], small_cells)
    if row["reason"]:
        row["reason"] = text.hide_small_counts(row["reason"], small_cells)
    return row


def write_results(path: Path, metrics: list[Metric], small_cells: int) -> None:
    """Write the metrics as CSV, one a line; small counts are hidden as in the page."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, RESULT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_result_row(metric, small_cells) for metric in metrics)


def _multiqc_row_name(item: Metric) -> str:
    scope = f"{item.scope}, in {item.scope_cohort}" if item.scope_cohort else item.scope
    return f"{item.task} | {scope} | {item.method}"


def _multiqc_headers(metrics: list[Metric]) -> dict[str, dict[str, Any]]:
    headers: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(item.metric for item in metrics):
        is_lower_better = name in LOWER_IS_BETTER
        title = text.name_of_metric(name)
        headers[name] = {"title": title, "description": text.name_of_orientation(name), "min": 0, "format": "{:,.3f}"}
        headers[name]["scale"] = "GnBu-rev" if is_lower_better else "GnBu"
        if name not in UNBOUNDED:
            headers[name]["max"] = 1
        if any(item.metric == name and item.sd_over_repeats is not None for item in metrics):
            headers[f"{name}{SD_SUFFIX}"] = {
                "title": f"{title}, SD",
                "description": "Standard deviation over repeats.",
                "min": 0,
                "format": "{:,.3f}",
                "hidden": True,
            }
    return headers


def multiqc_table(metrics: list[Metric]) -> dict[str, Any]:
    """Custom content for MultiQC: a line a task, scope (and cohort within it) and method, a column a metric."""
    data: dict[str, dict[str, float]] = {}
    for item in metrics:
        row = data.setdefault(_multiqc_row_name(item), {})
        if item.value is not None:
            row[item.metric] = item.value
            if item.sd_over_repeats is not None:
                row[f"{item.metric}{SD_SUFFIX}"] = item.sd_over_repeats
    return {
        "id": "bulkrnabert",
        "section_name": "bulkrnabert",
        "description": "Numbers of encoder-based methods and baselines on patients that were held out; intervals are "
        "in the report.",
        "plot_type": "table",
        "pconfig": {"id": "bulkrnabert_table", "title": "bulkrnabert: results", "col1_header": "Task | scope | method"},
        "headers": _multiqc_headers(metrics),
        "data": {name: row for name, row in data.items() if row},
    }
