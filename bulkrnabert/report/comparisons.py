"""Models against baselines: the headlines, and the table of what holds under the corrected test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, Comparison, Metric, Numbers, badness, best_of, select
from bulkrnabert.report.drawing import kind_of
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
class Bar:
    """Where a value and its interval lie on the axis that a card's lines share, in percent of its width."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """The best method of one kind of model, or the best baseline.

    Attributes:
        kind: Of model, as `mojo`; empty where the method names none, and for the baseline.
        metric: Its number.
        sentence: What holds of it against the best baseline; empty for the baseline itself.
        holds: The same in a word; empty where the two were not compared.
        sign: The same as a sign.
        bar: None where it is not estimable.
    """

    kind: str
    metric: Metric
    sentence: str = ""
    holds: str = ""
    sign: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Headline:
    """The best method of each kind of model beside the best baseline on one task and scope.

    Attributes:
        axis: Where the bars begin and end; empty without bars.
        sentence: What to say where no model could be scored; else empty.
    """

    task: str
    scope: str
    metric: str
    models: list[Line]
    baseline: Line | None
    n_patients: str
    n_events: str
    axis: tuple[str, str] | tuple[()]
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


def _describe(found: Comparison, subject: str) -> str:
    """What holds of a model and the best baseline, with the difference that it rests on."""
    assert found.difference is not None
    interval = format_difference_interval(found.low, found.high)
    p = format_p(found.p_corrected)
    numbers = [f"95\u00a0% interval {interval}" if interval else "no interval", f"corrected {p}" if p else ""]
    difference = f"difference {format_difference(found.difference)} ({'; '.join(filter(None, numbers))})"
    if found.holds == "ahead":
        return f"{subject} is ahead of the best baseline: {difference}."
    if found.holds == "behind":
        return f"{subject} is behind the best baseline: {difference}."
    if found.low is not None and found.high is not None and found.low * found.high > 0:
        who = subject if found.difference > 0 else "The baseline"
        return f"{who} scores higher: {difference}; a corrected test over {found.n_folds} folds cannot confirm it."
    return f"{subject} is level with the best baseline: {difference}; that may be chance."


def _in_a_word(found: Comparison) -> tuple[str, str]:
    """What holds, and its sign; an interval that excludes 0 without a test that agrees is not called level."""
    assert found.holds is not None and found.difference is not None
    if found.holds == "level" and found.low is not None and found.high is not None and found.low * found.high > 0:
        return ("higher, not confirmed", "△") if found.difference > 0 else ("lower, not confirmed", "▽")
    return found.holds, SIGNS[found.holds]


def _line(model: Metric, baseline: Metric | None, comparisons: Sequence[Comparison]) -> Line:
    """What holds of the two by the comparison that `evaluate` made of them, else which has the better value."""
    kind = kind_of(model.method)
    subject = keys.MODEL_TITLES.get(kind, "The encoder")
    pretraining = " This encoder was not pretrained." if RANDOM_START in model.method else ""
    if baseline is None or baseline.value is None:
        return Line(kind, model, f"No baseline could be scored, so there is nothing to hold it against.{pretraining}")
    for item in comparisons:
        is_this = (item.task, item.scope, item.metric) == (model.task, model.scope, model.metric)
        is_pair = (item.method, item.against) == (model.method, baseline.method)
        if is_this and is_pair and item.difference is not None and item.holds is not None:
            word, sign = _in_a_word(item)
            return Line(kind, model, _describe(item, subject) + pretraining, word, sign)
    if model.value == baseline.value:
        return Line(kind, model, f"{subject} and the best baseline score the same.{pretraining}")
    better = subject if best_of([model, baseline]) is model else "The baseline"
    return Line(kind, model, f"{better} scores better, but the two were not compared by a test.{pretraining}")


def best_of_kinds(metrics: Sequence[Metric]) -> list[Metric]:
    """The best model of each kind that has an estimable one, the best kind first."""
    models = [item for item in metrics if item.role == "model"]
    kinds = dict.fromkeys(kind_of(item.method) for item in models)
    best = [best_of(item for item in models if kind_of(item.method) == kind) for kind in kinds]
    return sorted((item for item in best if item is not None), key=badness)


def _with_bars(lines: Sequence[Line]) -> tuple[list[Line], tuple[str, str] | tuple[()]]:
    """The lines with their bars, and the ends of the axis."""
    bounds = [
        bound for line in lines for bound in (line.metric.value, line.metric.low, line.metric.high) if bound is not None
    ]
    if not bounds:
        return list(lines), ()
    margin = 0.06 * (max(bounds) - min(bounds)) or 0.05
    start, width = min(bounds) - margin, max(bounds) - min(bounds) + 2 * margin

    def place(value: float) -> float:
        return round(100 * (value - start) / width, 1)

    made = []
    for line in lines:
        value, low, high = line.metric.value, line.metric.low, line.metric.high
        bar = None
        if value is not None:
            bar = Bar(place(value), place(value if low is None else low), place(value if high is None else high))
        made.append(replace(line, bar=bar))
    return made, (f"{start:.2f}", f"{start + width:.2f}")


def build_headlines(numbers: Numbers, small_cells: int) -> list[Headline]:
    """The best models beside the best baseline for each task over all cohorts, by the task's primary metric."""
    headlines = []
    for task, metric in PRIMARY_METRIC.items():
        found = select(numbers, task, keys.PAN, [metric])
        if not found:
            continue
        models = best_of_kinds(found)
        baseline = best_of(item for item in found if item.role == "baseline")
        sizes = next(iter(models), None) or baseline or found[0]
        lines = [_line(item, baseline, numbers.comparisons) for item in models]
        lines, axis = _with_bars([*lines, *([Line("", baseline)] if baseline else [])])
        headlines.append(
            Headline(
                task=task,
                scope=keys.PAN,
                metric=metric,
                models=lines[: len(models)],
                baseline=lines[-1] if baseline else None,
                n_patients=format_count(sizes.n_patients, small_cells),
                n_events="" if sizes.n_events is None else format_count(sizes.n_events, small_cells),
                axis=axis,
                sentence="" if models else "No encoder-based method could be scored.",
            )
        )
    return headlines
