"""Models against baselines: the headlines, and the table of what holds under the corrected test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, Comparison, Metric, Numbers, best_of, select
from bulkrnabert.report.tables import Cell, Footnotes
from bulkrnabert.report.text import (
    NOT_ESTIMABLE,
    format_count,
    format_difference,
    format_difference_interval,
    format_p,
    name_of_method,
    name_of_metric,
)

Verdict = Literal["ahead", "level", "behind"]

RANDOM_START = "from a random start"
SIGNS: dict[Verdict, str] = {"ahead": "\u25b2", "level": "=", "behind": "\u25bc"}


@dataclass(frozen=True)
class Headline:
    """The best model beside the best baseline on one task and scope."""

    task: str
    scope: str
    metric: str
    model: Metric | None
    baseline: Metric | None
    n_patients: str
    n_events: str
    sentence: str


@dataclass(frozen=True)
class ComparisonRow:
    """One model against one baseline.

    Attributes:
        scope: The cohort, or empty where the table is of one scope.
        method: The model.
        against: The baseline.
        is_best: Whether this is the best baseline of the scope.
        difference: Model minus baseline, with its interval.
        p: Of the corrected test; empty where there is none.
        n_folds: Folds that the test is over.
        holds: What holds; empty where not estimable.
        sign: The same as a sign.
    """

    scope: str
    method: str
    against: str
    is_best: bool
    difference: Cell
    p: str
    n_folds: str
    holds: str
    sign: str


@dataclass(frozen=True)
class ComparisonTable:
    """Models against baselines by one metric."""

    metric: str
    rows: list[ComparisonRow]
    notes: list[str]

    @property
    def has_scopes(self) -> bool:
        """Whether it is over several scopes, so that a row must name its own."""
        return any(row.scope for row in self.rows)


def _make_row(item: Comparison, scope: str, footnotes: Footnotes) -> ComparisonRow:
    if item.difference is None:
        cell = Cell(NOT_ESTIMABLE, note=footnotes.number(item.reason or "no reason given"))
    else:
        cell = Cell(format_difference(item.difference), format_difference_interval(item.low, item.high))
    return ComparisonRow(
        scope=scope,
        method=name_of_method(item.method),
        against=name_of_method(item.against),
        is_best=item.is_best_baseline,
        difference=cell,
        p=format_p(item.p_corrected).removeprefix("p\u00a0").removeprefix("=\u00a0"),
        n_folds=format_count(item.n_folds),
        holds=item.holds or "",
        sign=SIGNS[item.holds] if item.holds else "",
    )


def build_comparisons(
    numbers: Numbers, task: str, scopes: Sequence[str], small_cells: int, name_scopes: bool = False
) -> ComparisonTable | None:
    """Every model of these scopes against the best baseline and against PCA; None where nothing was compared.

    Args:
        numbers: What was evaluated.
        task: Which task.
        scopes: Which scopes of it.
        small_cells: Smaller counts are hidden in the footnotes.
        name_scopes: Whether a row names its scope.
    """
    found = [item for scope in scopes for item in numbers.comparisons if (item.task, item.scope) == (task, scope)]
    if not found:
        return None
    footnotes = Footnotes(small_cells)
    rows = [_make_row(item, item.scope if name_scopes else "", footnotes) for item in found]
    return ComparisonTable(name_of_metric(found[0].metric), rows, footnotes.texts)


def _describe(found: Comparison) -> str:
    """What holds of the best model and the best baseline, with the difference that it rests on."""
    assert found.difference is not None
    interval = format_difference_interval(found.low, found.high)
    p = format_p(found.p_corrected)
    numbers = [f"95\u00a0% interval {interval}" if interval else "no interval", f"corrected {p}" if p else ""]
    difference = f"difference {format_difference(found.difference)} ({'; '.join(filter(None, numbers))})"
    if found.holds == "ahead":
        return f"The encoder is ahead of the best baseline: {difference}."
    if found.holds == "behind":
        return f"The encoder is behind the best baseline: {difference}."
    if found.low is not None and found.high is not None and found.low * found.high > 0:
        who = "encoder" if found.difference > 0 else "baseline"
        return f"The {who} scores higher: {difference}; a corrected test over {found.n_folds} folds cannot confirm it."
    return f"The encoder is level with the best baseline: {difference}; that may be chance."


def _compare(model: Metric | None, baseline: Metric | None, comparisons: Sequence[Comparison]) -> str:
    """What holds of the two by the comparison that `evaluate` made of them, else which has the better value."""
    if model is None or model.value is None:
        return "No encoder-based method could be scored."
    if baseline is None or baseline.value is None:
        return "No baseline could be scored, so there is nothing to hold the encoder against."
    pretraining = " This encoder was not pretrained." if model.method.endswith(RANDOM_START) else ""
    for item in comparisons:
        is_this = (item.task, item.scope, item.metric) == (model.task, model.scope, model.metric)
        is_pair = (item.method, item.against) == (model.method, baseline.method)
        if is_this and is_pair and item.difference is not None and item.holds is not None:
            return _describe(item) + pretraining
    if model.value == baseline.value:
        return "The encoder and the best baseline score the same." + pretraining
    better = "encoder" if best_of([model, baseline]) is model else "baseline"
    return f"The {better} scores better, but the two were not compared by a test." + pretraining


def build_headlines(numbers: Numbers, small_cells: int) -> list[Headline]:
    """The best model beside the best baseline for each task over all cohorts, by the task's primary metric."""
    headlines = []
    for task, metric in PRIMARY_METRIC.items():
        found = select(numbers, task, keys.PAN, [metric])
        if not found:
            continue
        model = best_of(item for item in found if item.role == "model")
        baseline = best_of(item for item in found if item.role == "baseline")
        sizes = model or baseline or found[0]
        headlines.append(
            Headline(
                task=task,
                scope=keys.PAN,
                metric=metric,
                model=model,
                baseline=baseline,
                n_patients=format_count(sizes.n_patients, small_cells),
                n_events="" if sizes.n_events is None else format_count(sizes.n_events, small_cells),
                sentence=_compare(model, baseline, numbers.comparisons),
            )
        )
    return headlines
