"""The part of the page on survival: tables and figures, chosen from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import KaplanMeier, Metric, Numbers, select
from bulkrnabert.report import figures, tables, text
from bulkrnabert.report.calibration_figures import CalibrationOf, draw_calibration
from bulkrnabert.report.comparisons import build_comparisons
from bulkrnabert.report.drawing import Figure
from bulkrnabert.report.line_charts import Chart, Point, Series, draw_charts
from bulkrnabert.report.parts import Captioned, Shown, best_first, best_methods, capitalised, of_methods, scope_name

X_LABEL = "concordance C (higher is better)"
CHANCE = 0.5
AUC_YEARS = (1, 3, 5)
MAX_OPEN_CURVES = 8
# Of each cohort's own models, beside Harrell's C; all others are in `results.csv`.
COHORT_METRICS = ("uno_c", "auc_3y", "integrated_brier_score")


@dataclass(frozen=True)
class NamedTable:
    """Cohorts by methods by one metric, and how that metric is read."""

    name: str
    orientation: str
    table: tables.CohortTable


def _curve_text(curves: KaplanMeier) -> str:
    endpoint = f"Endpoint {curves.endpoint}." if curves.endpoint else ""
    logrank = text.format_p(curves.logrank_p)
    return f"{endpoint} {f'Log-rank {logrank}.' if logrank else 'The log-rank test is not estimable.'}".strip()


def draw_curves(numbers: Numbers, small_cells: int) -> Shown:
    """Curves over all cohorts of the best model of each kind, those of each cohort of the very best; then the rest."""
    shown = Shown([], [])
    best = best_methods(numbers, keys.SURVIVAL, keys.PAN).models
    all_curves = [curves for curves in numbers.kaplan_meier if curves.groups]
    for index, curves in enumerate(best_first(all_curves, best)):
        caption = Captioned(
            figures.draw_kaplan_meier(curves, f"fig-survival-{index}", small_cells),
            f"{capitalised(scope_name(curves.scope))}, {text.name_of_method(curves.method)}.",
            _curve_text(curves),
        )
        is_first = curves.method in (best if curves.scope == keys.PAN else best[:1])
        (shown.first if is_first else shown.others).append(caption)
    if not shown.first:
        shown = Shown(shown.others, [])
    return Shown(shown.first[:MAX_OPEN_CURVES], shown.first[MAX_OPEN_CURVES:] + shown.others)


def draw_auc(numbers: Numbers) -> list[Captioned]:
    """AUC at 1, 3 and 5 years of the best model of each kind and the best baseline."""
    best = best_methods(numbers, keys.SURVIVAL, keys.PAN)
    series = []
    for method in best.methods:
        found = [
            (years, item)
            for years in AUC_YEARS
            for item in select(numbers, keys.SURVIVAL, keys.PAN, [f"auc_{years}y"])
            if item.method == method
        ]
        points = [Point(years, item.value, item.low, item.high) for years, item in found if item.value is not None]
        if points:
            series.append(Series(text.name_of_method(method), method != best.baseline, points))
    if not series:
        return []
    description = "Time-dependent AUC by years; a line a method, higher is better, 0.5 is chance."
    chart = Chart("", "AUC (higher is better)", series)
    figure = draw_charts([chart], "fig-auc", "years", description, reference=CHANCE)
    return [
        Captioned(
            figure,
            "AUC by time.",
            "How often a patient with the event by that time has a higher predicted risk than one who is free of it. "
            "95\u00a0% intervals; the dashed line is chance. It compares patients of different cancers too.",
        )
    ]


def draw_calibrations(numbers: Numbers, small_cells: int) -> list[Captioned]:
    """Calibration of the best model and the best baseline over all cohorts, or within each where there is no such."""
    scopes = list(dict.fromkeys(item.scope for item in numbers.calibration))
    drawn = []
    for index, scope in enumerate([keys.PAN] if keys.PAN in scopes else scopes):
        best = best_methods(numbers, keys.SURVIVAL, scope)
        chosen = [item for item in of_methods(numbers.calibration, scope, best.methods) if item.groups]
        curves = [CalibrationOf(item, item.method == best.baseline) for item in chosen]
        curves = [item for item in curves if item.calibration.at_days == curves[0].calibration.at_days]
        if not curves:
            continue
        hidden = f" Groups of fewer than {small_cells} patients are not drawn." if small_cells else ""
        drawn.append(
            Captioned(
                draw_calibration(curves, f"fig-calibration-{index}", small_cells),
                f"Calibration, {scope_name(scope)}.",
                "Patients in groups by predicted survival: the mean prediction of each group against Kaplan-Meier's "
                f"survival in it, with 95\u00a0% intervals. On the dashed line the predictions hold.{hidden}",
            )
        )
    return drawn


def _best_of_each_cohort(numbers: Numbers) -> dict[str, list[Metric]]:
    """Of the methods that learnt from all cohorts the best of either role, by cohort."""
    best = best_methods(numbers, keys.SURVIVAL, keys.PAN).methods
    chosen = {
        cohort: [item for item in items if item.method in best]
        for cohort, items in tables.cohort_metrics(numbers).items()
    }
    return {cohort: items for cohort, items in chosen.items() if items}


def _forest(metrics: Mapping[str, Sequence[Metric]], identifier: str, words: str, small_cells: int) -> list[Figure]:
    groups = tables.cohort_interval_groups(metrics, small_cells)
    return [figures.draw_forest(groups, identifier, X_LABEL, words, CHANCE)] if groups else []


def _left_out(numbers: Numbers, small_cells: int) -> str:
    """What a reader must know of the means within cohorts: who is not in them."""
    found = select(numbers, keys.SURVIVAL, keys.PAN, tables.SURVIVAL_METRICS)
    notes = dict.fromkeys(item.reason for item in found if item.value is not None and item.reason)
    return "; ".join(text.hide_small_counts(note, small_cells) for note in notes if note)


def _cohort_tables(numbers: Numbers, small_cells: int) -> list[NamedTable]:
    """Further metrics of the models that learnt from one cohort."""
    made = []
    for metric in COHORT_METRICS:
        table = tables.build_cohort_table(numbers, small_cells, metric)
        if table.rows:
            made.append(NamedTable(text.name_of_metric(metric), text.name_of_orientation(metric), table))
    return made


def survival_part(numbers: Numbers, small_cells: int) -> dict[str, Any]:
    """What the template of this part is given."""
    task = keys.SURVIVAL
    cohorts = [scope for scope in tables.scopes_of(numbers, task) if scope != keys.PAN]
    pan = tables.interval_groups(numbers, task, keys.PAN, "c_index_within_weighted", small_cells)

    def table(columns: Sequence[str]) -> tables.MethodTable | None:
        return tables.build_method_table(numbers, task, keys.PAN, columns, small_cells)

    return {
        "survival_table": table(tables.SURVIVAL_METRICS),
        "survival_left_out": _left_out(numbers, small_cells),
        "survival_forests": [
            figures.draw_forest(pan, "fig-concordance-pan", X_LABEL, "Concordance within cohorts by method", CHANCE)
        ]
        if pan
        else [],
        "survival_comparisons": build_comparisons(numbers, task, [keys.PAN], small_cells),
        "censoring_table": table(tables.CENSORING_METRICS),
        "auc_figures": draw_auc(numbers),
        "survival_probabilities": table(tables.SURVIVAL_PROBABILITY_METRICS),
        "calibrations": draw_calibrations(numbers, small_cells),
        "pan_cohort_table": tables.build_pan_cohort_table(numbers, small_cells),
        "pan_cohort_forests": _forest(
            _best_of_each_cohort(numbers),
            "fig-concordance-each",
            "Concordance within each cohort, learnt from all cohorts: best model and best baseline",
            small_cells,
        ),
        "cohort_table": tables.build_cohort_table(numbers, small_cells),
        "cohort_forests": _forest(
            tables.own_cohort_metrics(numbers),
            "fig-concordance-cohorts",
            "Concordance by cohort and method",
            small_cells,
        ),
        "cohort_comparisons": build_comparisons(numbers, task, cohorts, small_cells, name_scopes=True),
        "cohort_tables": _cohort_tables(numbers, small_cells),
        "curves": draw_curves(numbers, small_cells),
    }
