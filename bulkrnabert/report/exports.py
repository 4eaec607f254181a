"""The numbers for other programs, as a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from bulkrnabert.evaluate.artefacts import Metric
from bulkrnabert.provenance import atomic_path
from bulkrnabert.report import text

RESULT_COLUMNS = (
    "task", "scope", "method", "role", "metric", "value", "low", "high", "n_samples", "n_patients", "n_events",
    "n_pretrained_patients_in_test", "reason", "split_sha256", "seed", "scope_cohort", "at_days", "n_repeats",
    "sd_over_repeats",
)  # fmt: skip
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
