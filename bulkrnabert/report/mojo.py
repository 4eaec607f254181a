"""MOJO's part of the page: what a missing modality costs, and one modality predicted from the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, Metric, Numbers, select
from bulkrnabert.evaluate.findings import CrossModal, Direction, Findings
from bulkrnabert.report.figures import draw_forest
from bulkrnabert.report.parts import Captioned, capitalised
from bulkrnabert.report.simple_tables import SimpleTable, value_text
from bulkrnabert.report.tables import IntervalGroup, interval_row
from bulkrnabert.report.text import format_number, name_of_metric, name_of_task

ALONE = tuple((f", {name} alone", name) for name in keys.OMIC_TITLES.values())


def mojo_part(findings: Findings, numbers: Numbers, label_column: str) -> dict[str, Any]:
    """Tables of the modalities; `has_mojo` says whether there is anything to show."""
    dropped = _dropped(numbers, label_column)
    return {
        "has_mojo": bool(findings.of(CrossModal) or dropped),
        "dropped_figures": _dropped_figures(numbers, label_column),
        "dropped_tables": dropped,
        "cross_modal_tables": _cross_modal(findings.of(CrossModal)),
    }


@dataclass(frozen=True)
class _Hidden:
    """One method with both modalities, and with either alone; None where that was not judged."""

    method: str
    whole: Metric
    alone: list[Metric | None]


def _with_hidden(numbers: Numbers, task: str, metric: str) -> list[_Hidden]:
    found = {item.method: item for item in select(numbers, task, keys.PAN, [metric]) if item.role == "model"}
    judged = [
        _Hidden(method, whole, [found.get(method + suffix) for suffix, _ in ALONE]) for method, whole in found.items()
    ]
    return [item for item in judged if any(item.alone)]


def _dropped(numbers: Numbers, label_column: str) -> list[SimpleTable]:
    """Each fine-tuned model with both modalities, and with one of them hidden at test."""
    tables = []
    for task, metric in PRIMARY_METRIC.items():
        judged = _with_hidden(numbers, task, metric)
        if judged:
            lines = [[item.method, *map(value_text, (item.whole, *item.alone))] for item in judged]
            columns = ["Method", "Both", *(f"{capitalised(name)} alone" for _, name in ALONE)]
            caption = f"{name_of_task(task, label_column)}, {name_of_metric(metric)}: a modality hidden at test"
            tables.append(SimpleTable(caption, columns, lines))
    return tables


def _dropped_figures(numbers: Numbers, label_column: str) -> list[Captioned]:
    """The same as forest plots, one a task."""
    figures: list[Captioned] = []
    title = keys.MODEL_TITLES[keys.MOJO]
    for task, metric in PRIMARY_METRIC.items():
        groups = []
        for item in _with_hidden(numbers, task, metric):
            named = [("both modalities", item.whole)]
            named += [(f"{name} alone", alone) for (_, name), alone in zip(ALONE, item.alone, strict=True) if alone]
            rows = [replace(interval_row(value), label=f"{title}, {words}") for words, value in named]
            groups.append(IntervalGroup(item.method, rows))
        if groups:
            words = f"{name_of_task(task, label_column)} by {name_of_metric(metric)}: both modalities, and either alone"
            figure = draw_forest(
                groups, f"fig-modalities-{len(figures)}", f"{name_of_metric(metric)} (higher is better)", words
            )
            figures.append(Captioned(figure, f"{name_of_task(task, label_column)}.", "With 95\u00a0% intervals."))
    return figures


def _cross_modal(items: list[CrossModal]) -> list[SimpleTable]:
    rows: dict[tuple[str, str], list[list[str]]] = {}
    for item in items:
        for direction in item.directions:
            rows.setdefault((direction.source, direction.target), []).append([item.split_id, *_cells(direction)])
    columns = [
        "Split",
        "Samples",
        "Genes",
        "Model",
        "Ridge",
        "Model, within cohorts",
        "Ridge, within cohorts",
        "Genes ahead",
    ]
    return [
        SimpleTable(
            f"{capitalised(keys.OMIC_TITLES.get(target, target))} from {keys.OMIC_TITLES.get(source, source)}: "
            "median correlation of a gene over held-out samples",
            columns,
            lines,
        )
        for (source, target), lines in rows.items()
    ]


def _cells(item: Direction) -> list[str]:
    share = item.share_of_genes_ahead_of_ridge
    return [
        f"{item.n_samples:,}",
        f"{item.n_genes:,}",
        format_number(item.model.median_pearson),
        format_number(item.ridge.median_pearson),
        format_number(item.model.within_cohort_median_pearson),
        format_number(item.ridge.within_cohort_median_pearson),
        "–" if share is None else f"{100 * share:.0f} %",
    ]
