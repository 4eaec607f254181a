"""GexBERT's part of the page: panels, restored values, survival from them, biomarkers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bulkrnabert import keys
from bulkrnabert.evaluate.findings import (
    Anchors,
    Biomarkers,
    Findings,
    Imputation,
    Panels,
    PanelValue,
    RestoredValue,
    Value,
)
from bulkrnabert.report.drawing import Figure, kind_of
from bulkrnabert.report.figures import draw_forest
from bulkrnabert.report.heat import MAX_GENES, HeatTable, gene_table
from bulkrnabert.report.line_charts import Chart, Point, Series, draw_charts
from bulkrnabert.report.parts import Captioned, capitalised, scope_name
from bulkrnabert.report.simple_tables import SimpleTable, difference_text, value_text
from bulkrnabert.report.tables import IntervalGroup, IntervalRow
from bulkrnabert.report.text import format_number, name_of_metric

PATTERN_NAMES = {
    "at_random": "values missing at random",
    "whole_genes": "whole genes unmeasured",
    "low_expression": "low values missing",
}
CHOOSER_NAMES = {
    "variance": "most variable genes",
    "anova": "highest ANOVA F",
    "mutual_info": "most mutual information",
    "list": "own list",
}
PANEL_METRICS = ("accuracy", "macro_f1")
RMSE = "rmse"
MAX_ENRICHED_SHOWN = 40


def gexbert_part(findings: Findings) -> dict[str, Any]:
    """Figures and tables of GexBERT's tasks; `has_gexbert` says whether there is anything to show."""
    return {
        "has_gexbert": any(isinstance(item, Panels | Imputation | Anchors | Biomarkers) for item in findings.items),
        "panel_figures": _panel_figures(findings),
        "panel_tables": _panel_tables(findings),
        "imputation_figures": _imputation_figures(findings.of(Imputation)),
        "imputation_tables": _imputation_tables(findings.of(Imputation)),
        "anchor_figures": _anchor_figures(findings),
        "anchor_tables": _anchor_tables(findings),
        "gene_maps": _gene_maps(findings.of(Biomarkers)),
        "biomarker_tables": _biomarker_tables(findings.of(Biomarkers)),
    }


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _series(rows: list[Any], place: Callable[[Any], float]) -> list[Series]:
    found = []
    for method in _in_order(row.method for row in rows):
        own = sorted((row for row in rows if row.method == method and row.value is not None), key=place)
        points = [Point(place(row), row.value, row.low, row.high) for row in own]
        if points:
            found.append(Series(method, own[0].role == "model", points))
    return found


def _size(row: PanelValue) -> float:
    return float(row.size)


def _percent(row: RestoredValue) -> float:
    return round(100 * row.rate, 1)


def _panel_figures(findings: Findings) -> list[Captioned]:
    rows = [row for item in findings.of(Panels) for row in item.rows]
    figures = []
    for number, chooser in enumerate(_in_order(row.chooser for row in rows)):
        own = [row for row in rows if row.chooser == chooser]
        name = CHOOSER_NAMES.get(chooser, chooser)
        text = "Genes chosen in the training part of each fold; 95 % intervals by bootstrap over patients."
        sizes = {row.size for row in own}
        if len(sizes) == 1:
            figure = _one_panel(own, f"fig-panels-{number}", f"{sizes.pop()} genes")
        else:
            figure = _panels_by_size(own, f"fig-panels-{number}", name)
        if figure is not None:
            figures.append(Captioned(figure, f"Cancer type from few genes: {name}.", text))
    return figures


def _panels_by_size(rows: list[PanelValue], identifier: str, name: str) -> Figure | None:
    charts = [
        Chart(name_of_metric(metric), "higher is better", series)
        for metric in PANEL_METRICS
        if (series := _series([row for row in rows if row.metric == metric], _size))
    ]
    description = f"Accuracy and macro F1 by panel size, {name}; a line a method."
    return draw_charts(charts, identifier, "genes in the panel", description, has_log_x=True) if charts else None


def _one_panel(rows: list[PanelValue], identifier: str, name: str) -> Figure | None:
    groups = [
        IntervalGroup(f"{name_of_metric(metric)}, {name}", [_interval(row) for row in rows if row.metric == metric])
        for metric in PANEL_METRICS
    ]
    groups = [group for group in groups if group.rows]
    return draw_forest(groups, identifier, "higher is better", f"Scores by method: {name}") if groups else None


def _interval(row: Value) -> IntervalRow:
    """A value as a line of a forest plot; every model of this part is GexBERT, whether its name says so or not."""
    is_named = row.role == "baseline" or bool(kind_of(row.method))
    label = row.method if is_named else f"{row.method} ({keys.MODEL_TITLES[keys.GEXBERT]})"
    note = "" if row.value is not None else "not estimable"
    return IntervalRow(label, row.value, row.low, row.high, row.role, note)


def _panel_tables(findings: Findings) -> list[SimpleTable]:
    tables = []
    rows = [row for item in findings.of(Panels) for row in item.rows]
    comparisons = [row for item in findings.of(Panels) for row in item.comparisons]
    for chooser, size in sorted({(row.chooser, row.size) for row in rows}, key=lambda item: (item[0], item[1])):
        own = [row for row in rows if (row.chooser, row.size) == (chooser, size)]
        metrics = _in_order(row.metric for row in own)
        against = {
            row.against: row
            for row in comparisons
            if (row.chooser, row.size, row.metric) == (chooser, size, PANEL_METRICS[0])
        }
        lines = []
        for method in _in_order(row.method for row in own):
            cells = [value_text(_of(own, method, metric)) for metric in metrics]
            lines.append([method, *cells, difference_text(against[method]) if method in against else "–"])
        tables.append(
            SimpleTable(
                f"{size} genes, {CHOOSER_NAMES.get(chooser, chooser)}",
                ["Method", *map(name_of_metric, metrics), "GexBERT minus this, accuracy"],
                lines,
            )
        )
    return tables


def _of(rows: Iterable[Value], method: str, metric: str) -> Value | None:
    return next((row for row in rows if (row.method, row.metric) == (method, metric)), None)


def _imputation_figures(items: list[Imputation]) -> list[Captioned]:
    rows = [row for item in items for row in item.rows if row.metric == RMSE]
    charts = [
        Chart(PATTERN_NAMES.get(pattern, pattern), "RMSE, z (lower is better)", series)
        for pattern in _in_order(row.pattern for row in rows)
        if (series := _series([row for row in rows if row.pattern == pattern], _percent))
    ]
    if not charts:
        return []
    description = "Root mean squared error of restored values by the share that is missing; a line a method."
    figure = draw_charts(charts, "fig-imputation", "missing, %", description)
    text = (
        "Error in standard deviations of a gene, on samples that no method was fitted on; 1 is the gene's mean. "
        "95 % intervals by bootstrap over patients."
    )
    return [Captioned(figure, "Restored values.", text)]


def _imputation_tables(items: list[Imputation]) -> list[SimpleTable]:
    tables = []
    for item in items:
        for pattern in _in_order(row.pattern for row in item.rows):
            title = f"{PATTERN_NAMES.get(pattern, pattern)}, split {item.split_id}, {item.n_samples:,} samples"
            tables.append(_errors(item, pattern, title))
            if covered := _coverages(item, pattern):
                tables.append(SimpleTable(f"Share of true values inside the stated intervals: {title}", *covered))
    return tables


def _errors(item: Imputation, pattern: str, title: str) -> SimpleTable:
    rows = [row for row in item.rows if row.pattern == pattern and row.metric == RMSE]
    differences = {
        (row.against, row.rate): row for row in item.comparisons if row.pattern == pattern and row.metric == RMSE
    }
    rates = sorted({row.rate for row in rows})
    values = {(row.method, row.rate): row for row in rows}
    lines = []
    for method in _in_order(row.method for row in rows):
        cells = []
        for rate in rates:
            compared = differences.get((method, rate))
            verdict = f"; GexBERT {compared.holds}" if compared is not None and compared.holds else ""
            cells.append(value_text(values.get((method, rate))) + verdict)
        lines.append([method, *cells])
    return SimpleTable(
        f"RMSE (z, lower is better): {title}", ["Method", *(f"{100 * rate:g} %" for rate in rates)], lines
    )


def _coverages(item: Imputation, pattern: str) -> tuple[list[str], list[list[str]]] | None:
    rows = [row for row in item.calibration if row.pattern == pattern]
    if not rows:
        return None
    rates = sorted({row.rate for row in rows})
    levels = sorted({row.level for row in rows})
    values = {(row.method, row.level, row.rate): row.value for row in rows}
    lines = [
        [f"{method}, {100 * level:g} % interval", *(format_number(values.get((method, level, rate))) for rate in rates)]
        for method in _in_order(row.method for row in rows)
        for level in levels
    ]
    return ["Method", *(f"{100 * rate:g} %" for rate in rates)], lines


def _anchor_figures(findings: Findings) -> list[Captioned]:
    """Concordance by scope and set of genes, all cohorts first."""
    groups: dict[str, list[IntervalRow]] = {}
    for item in findings.of(Anchors):
        for row in item.rows:
            if row.scope_cohort is None and row.metric == _first_metric(item, row.scope):
                groups.setdefault(row.scope, []).append(_interval(row))
    if not groups:
        return []
    ordered = sorted(groups, key=lambda scope: scope != keys.PAN)
    drawn = [IntervalGroup(capitalised(scope_name(scope)), groups[scope]) for scope in ordered]
    words = "Concordance of Cox models by the genes that they read, and by scope"
    figure = draw_forest(drawn, "fig-anchors", "concordance C (higher is better)", words, reference=0.5)
    return [Captioned(figure, "Concordance by the genes that a Cox model reads.", "Dashed line: chance.")]


def _first_metric(item: Anchors, scope: str) -> str:
    return next(row.metric for row in item.rows if row.scope == scope and row.scope_cohort is None)


def _anchor_tables(findings: Findings) -> list[SimpleTable]:
    tables = []
    for item in findings.of(Anchors):
        for scope in _in_order(row.scope for row in item.rows):
            own = [row for row in item.rows if row.scope == scope and row.scope_cohort is None]
            metrics = _in_order(row.metric for row in own)
            methods = _in_order(row.method for row in own)
            lines = [[method, *(value_text(_of(own, method, metric)) for metric in metrics)] for method in methods]
            tables.append(
                SimpleTable(
                    f"Concordance of Cox models, {scope_name(scope)}: {item.n_anchors} anchor genes restored from a "
                    f"panel of {item.panel_size}",
                    ["Genes that the model reads", *map(name_of_metric, metrics)],
                    lines,
                )
            )
            compared = [row for row in item.comparisons if row.scope == scope]
            if compared:
                lines = [[row.method, row.against, difference_text(row)] for row in compared]
                tables.append(
                    SimpleTable(f"Differences of concordance, {scope_name(scope)}", ["This", "Minus", "Is"], lines)
                )
    return tables


@dataclass(frozen=True)
class GeneMap:
    """Genes by classes with the words under it."""

    table: HeatTable
    text: str


def _gene_maps(items: list[Biomarkers]) -> list[GeneMap]:
    return [
        GeneMap(
            gene_table(item.heatmap),
            "How much more attention an input gene gets in one class than in the others when genes are restored, "
            f"over {item.n_members} encoders; {min(len(item.heatmap.genes), MAX_GENES)} genes. What is looked at is no "
            "proof of an effect.",
        )
        for item in items
        if item.heatmap.genes and item.heatmap.classes
    ]


def _biomarker_tables(items: list[Biomarkers]) -> list[SimpleTable]:
    tables = []
    for item in items:
        scores = _in_order(row.with_score for row in item.agreement)
        by_class = {(row.class_name, row.with_score): row for row in item.agreement}
        stable = {row.class_name: row for row in item.stability}
        lines = []
        for name in item.heatmap.classes:
            of_class = stable.get(name)
            cells = (
                [format_number(of_class.rank_correlation), format_number(of_class.top_overlap)]
                if of_class
                else ["–", "–"]
            )
            for score in scores:
                row = by_class.get((name, score))
                cells.append(f"{row.top_overlap:.2f} (chance {row.expected_overlap:.2f})" if row else "–")
            lines.append([name, *cells])
        tables.append(
            SimpleTable(
                f"The first {item.n_top} of {item.n_genes:,} genes of each class",
                [
                    "Class",
                    "Rank correlation of encoders",
                    "Overlap of encoders",
                    *(f"Overlap with {score}" for score in scores),
                ],
                lines,
            )
        )
        if item.enrichment:
            lines = [
                [row.class_name, row.set_name, str(row.n_in_top), f"{row.n_expected:.1f}", format_number(row.q_overlap)]
                for row in item.enrichment[:MAX_ENRICHED_SHOWN]
            ]
            columns = ["Class", "Gene set", "Among the first", "Expected", "q"]
            tables.append(SimpleTable("Gene sets among the first genes", columns, lines))
    return tables
