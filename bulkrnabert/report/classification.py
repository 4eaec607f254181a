"""The part of the page on classification: tables and figures, chosen from the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import Numbers, PerClass
from bulkrnabert.report import figures, tables, text
from bulkrnabert.report.calibration_figures import ReliabilityOf, draw_reliability
from bulkrnabert.report.comparisons import ComparisonTable, build_comparisons
from bulkrnabert.report.drawing import Figure
from bulkrnabert.report.heat import HeatTable, confusion_table
from bulkrnabert.report.parts import (
    Best,
    Captioned,
    best_first,
    best_methods,
    capitalised,
    of_methods,
    scope_name,
)


@dataclass(frozen=True)
class ClassRow:
    """One class: its scores as text, and its samples."""

    label: str
    precision: str
    recall: str
    f1: str
    n: str


@dataclass(frozen=True)
class ClassTable:
    """Scores of single classes of one method."""

    method: str
    rows: list[ClassRow]
    has_hidden: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix of one method, and what it is called."""

    title: str
    table: HeatTable


@dataclass(frozen=True)
class Matrices:
    """Those of the best methods, and those behind a line to unfold."""

    first: list[Matrix]
    others: list[Matrix]


@dataclass(frozen=True)
class ClassificationPart:
    """What the page shows of one scope; None or an empty list is not shown."""

    scope_name: str
    table: tables.MethodTable | None
    forests: list[Figure]
    comparisons: ComparisonTable | None
    class_tables: list[ClassTable]  # the best model's first
    probabilities: tables.MethodTable | None
    reliability: list[Captioned]


def build_class_table(scores: PerClass, small_cells: int) -> ClassTable:
    """Scores of single classes; of a class with few samples neither its number nor its scores are shown."""
    rows = []
    for item in scores.classes:
        is_hidden = text.is_small(item.n, small_cells)
        shown = [None if is_hidden else value for value in (item.precision, item.recall, item.f1)]
        precision, recall, f1 = map(text.format_number, shown)
        rows.append(ClassRow(item.label, precision, recall, f1, text.format_count(item.n, small_cells)))
    has_hidden = any(text.is_small(item.n, small_cells) for item in scores.classes)
    return ClassTable(text.name_of_method(scores.method), rows, has_hidden)


def _reliability(numbers: Numbers, scope: str, best: Best, identifier: str, small_cells: int) -> list[Captioned]:
    chosen = [item for item in of_methods(numbers.reliability, scope, best.methods) if item.bins]
    if not chosen:
        return []
    curves = [ReliabilityOf(item, item.method == best.baseline) for item in chosen]
    hidden = f" Tenths with fewer than {small_cells} samples are not drawn." if small_cells else ""
    return [
        Captioned(
            draw_reliability(curves, identifier, small_cells),
            "Reliability.",
            "How often a prediction is right, by the probability that it was made with, in tenths. On the dashed line "
            "the probabilities can be believed; below it the method is too sure of itself, above it not sure enough. "
            f"The bars count the samples.{hidden}",
        )
    ]


def build_classification(numbers: Numbers, small_cells: int) -> list[ClassificationPart]:
    """What the page shows of each scope that was classified."""
    parts = []
    task = keys.CANCER_TYPE
    for index, scope in enumerate(tables.scopes_of(numbers, task)):
        best = best_methods(numbers, task, scope)
        groups = tables.interval_groups(numbers, task, scope, "macro_f1", small_cells)
        forest = (
            [
                figures.draw_forest(
                    groups, f"fig-classification-{index}", "macro F1 (higher is better)", f"Macro F1 by method, {scope}"
                )
            ]
            if groups
            else []
        )
        parts.append(
            ClassificationPart(
                scope_name=scope_name(scope),
                table=tables.build_method_table(numbers, task, scope, tables.CLASSIFICATION_METRICS, small_cells),
                forests=forest,
                comparisons=build_comparisons(numbers, task, [scope], small_cells),
                class_tables=[
                    build_class_table(item, small_cells) for item in of_methods(numbers.per_class, scope, best.methods)
                ],
                probabilities=tables.build_method_table(numbers, task, scope, tables.PROBABILITY_METRICS, small_cells),
                reliability=_reliability(numbers, scope, best, f"fig-reliability-{index}", small_cells),
            )
        )
    return parts


def build_confusions(numbers: Numbers, small_cells: int) -> Matrices:
    """Matrices of the best model of each kind and the best baseline over all cohorts, then of the other methods."""
    best = best_methods(numbers, keys.CANCER_TYPE, keys.PAN).methods
    roles = {item.method: item.role for item in numbers.metrics}
    found = Matrices([], [])
    for confusion in best_first(numbers.confusion, best):
        baseline = ", baseline" if roles.get(confusion.method) == "baseline" else ""
        title = f"{capitalised(text.name_of_method(confusion.method))}{baseline}, {scope_name(confusion.scope)}"
        matrix = Matrix(title, confusion_table(confusion, small_cells))
        (found.first if confusion.method in best else found.others).append(matrix)
    return found if found.first else Matrices(found.others[:1], found.others[1:])


def classification_part(numbers: Numbers, small_cells: int) -> dict[str, Any]:
    """What the template of this part is given."""
    return {
        "classification": build_classification(numbers, small_cells),
        "confusions": build_confusions(numbers, small_cells),
    }
