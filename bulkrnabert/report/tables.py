"""Tables and sentences of the report: chosen and formatted from the numbers, never computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import (
    LOWER_IS_BETTER,
    DroppedGenes,
    Metric,
    Numbers,
    badness,
    best_of,
    select,
)
from bulkrnabert.report.text import (
    NOT_ESTIMABLE,
    format_count,
    format_interval,
    format_number,
    format_sd,
    format_time,
    hide_small_counts,
    name_of_method,
    name_of_metric,
)

CLASSIFICATION_METRICS = ("macro_f1", "weighted_f1", "balanced_accuracy", "accuracy", "auroc_ovr_macro")
PROBABILITY_METRICS = ("log_loss", "brier_score", "expected_calibration_error")
SURVIVAL_METRICS = ("c_index_within_weighted", "c_index_within_macro", "c_index_pooled")
CENSORING_METRICS = ("uno_c_within_weighted", "uno_c", "auc_1y", "auc_3y", "auc_5y", "auc_mean")
SURVIVAL_PROBABILITY_METRICS = ("integrated_brier_score", "calibration_error")
# Within one cohort all of these are the same quantity; the first that is there is shown.
SURVIVAL_COHORT_METRICS = ("c_index_within_weighted", "c_index_pooled", "c_index_within_macro")

# Rows and columns of the input that never were genes.
NO_GENES = ("summary_row", "not_expression", "spike_in", "empty_id")
N_EXAMPLES = 3


@dataclass(frozen=True)
class Cell:
    """One number of a table, as text; `sd` is its spread over repeats, `note` the number of a footnote, 0 for none."""

    text: str
    interval: str = ""
    is_best: bool = False
    note: int = 0
    sd: str = ""


@dataclass(frozen=True)
class Column:
    """One metric of a table: its name, and what must be known to read it (orientation, time)."""

    name: str
    hint: str = ""


@dataclass(frozen=True)
class MethodRow:
    """One method: its cells in the order of the table's columns."""

    method: str
    is_baseline: bool
    cells: list[Cell]


@dataclass(frozen=True)
class MethodTable:
    """Methods by metrics (or by cohorts), with the reasons of what is not estimable."""

    columns: list[Column]
    rows: list[MethodRow]
    notes: list[str]


@dataclass(frozen=True)
class CohortRow:
    """Survival within one cohort: its size, and a cell a method."""

    cohort: str
    n_patients: str
    n_events: str
    cells: list[Cell]


@dataclass(frozen=True)
class CohortTable:
    """Cohorts by methods."""

    methods: list[str]
    baselines: set[str]
    rows: list[CohortRow]
    notes: list[str]


@dataclass(frozen=True)
class IntervalRow:
    """One line of a forest plot; a row without a value is drawn as its note."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    role: str
    note: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class IntervalGroup:
    """Lines of a forest plot under one heading (empty: no heading)."""

    heading: str
    rows: list[IntervalRow]


@dataclass(frozen=True)
class GeneRule:
    """What one rule left out of the gene list.

    Attributes:
        rule: The rule.
        n: The largest number in one source: the same genes are left out of each, so that their sum says nothing.
        n_sources: Sources that it left something out of.
        examples: Some of what was left out of the source with the largest number.
        are_genes: False for rows and columns that never were genes.
    """

    rule: str
    n: int
    n_sources: int
    examples: list[str]
    are_genes: bool


class Footnotes:
    """Numbers each reason once, in the order of appearance; counts below `small_cells` are hidden in them."""

    def __init__(self, small_cells: int) -> None:
        self.texts: list[str] = []
        self._small_cells = small_cells

    def number(self, reason: str) -> int:
        """The number under which a reason stands below the table."""
        text = hide_small_counts(reason, self._small_cells)
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def scopes_of(numbers: Numbers, task: str) -> list[str]:
    """Scopes of a task in their order of appearance."""
    return list(dict.fromkeys(item.scope for item in numbers.metrics if item.task == task))


def first_metrics(numbers: Numbers, scope: str) -> list[Metric]:
    """One survival metric a method within one cohort: the first of `SURVIVAL_COHORT_METRICS` that there is."""
    found = select(numbers, keys.SURVIVAL, scope, SURVIVAL_COHORT_METRICS)
    chosen = []
    for method in dict.fromkeys(item.method for item in found):
        of_method = {item.metric: item for item in found if item.method == method}
        chosen.append(next(of_method[name] for name in SURVIVAL_COHORT_METRICS if name in of_method))
    return chosen


def _make_cell(metric: Metric | None, best: float | None, footnotes: Footnotes) -> Cell:
    if metric is None:
        return Cell(text="")
    if metric.value is None:
        return Cell(text=NOT_ESTIMABLE, note=footnotes.number(metric.reason or "no reason given"))
    return Cell(
        text=format_number(metric.value),
        interval=format_interval(metric.low, metric.high),
        is_best=metric.value == best,
        sd=format_sd(metric.sd_over_repeats),
    )


def _make_column(metrics: Sequence[Metric]) -> Column:
    """The head of a column that holds these values of one metric."""
    first = metrics[0]
    is_end = first.metric.startswith("uno") or first.metric == "integrated_brier_score"
    is_dated = is_end or first.metric == "calibration_error"
    at = next((item.at_days for item in metrics if item.at_days is not None), None) if is_dated else None
    time = f"{'up to' if is_end else 'at'} {format_time(at)}" if at is not None else ""
    orientation = "lower is better" if first.metric in LOWER_IS_BETTER else ""
    return Column(name_of_metric(first.metric), ", ".join(filter(None, [time, orientation])))


def build_method_table(
    numbers: Numbers, task: str, scope: str, columns: Sequence[str], small_cells: int = 0
) -> MethodTable | None:
    """Methods by metrics of one scope, best method first, the best number of each column marked.

    Args:
        numbers: What was evaluated.
        task: Which task.
        scope: Which scope of it.
        columns: Metrics; one that no method has is left out, and so is a table without any.
        small_cells: Smaller counts are hidden in the footnotes.
    """
    by_name = {name: select(numbers, task, scope, [name]) for name in columns}
    shown = [name for name in columns if by_name[name]]
    if not shown:
        return None
    footnotes = Footnotes(small_cells)
    best = {name: item.value if (item := best_of(by_name[name])) else None for name in shown}
    of_method: dict[str, dict[str, Metric]] = {}
    for name in shown:
        for item in by_name[name]:
            of_method.setdefault(item.method, {})[name] = item

    def rank(method: str) -> float:
        first = of_method[method].get(shown[0])
        return inf if first is None else badness(first)

    rows = [
        MethodRow(
            method=name_of_method(method),
            is_baseline=next(iter(of_method[method].values())).role == "baseline",
            cells=[_make_cell(of_method[method].get(name), best[name], footnotes) for name in shown],
        )
        for method in sorted(of_method, key=rank)
    ]
    return MethodTable([_make_column(by_name[name]) for name in shown], rows, footnotes.texts)


def build_cohort_table(numbers: Numbers, small_cells: int, metric: str = "") -> CohortTable:
    """One number of each cohort that had a survival job of its own: cohorts by methods.

    Args:
        numbers: What was evaluated.
        small_cells: Smaller counts are hidden.
        metric: Which number; empty for Harrell's concordance.
    """
    found = {
        scope: select(numbers, keys.SURVIVAL, scope, [metric]) if metric else items
        for scope, items in own_cohort_metrics(numbers).items()
    }
    return _cohorts_by_methods({scope: items for scope, items in found.items() if items}, small_cells)


def cohort_metrics(numbers: Numbers) -> dict[str, list[Metric]]:
    """Concordance within each cohort of the methods that learnt from all cohorts, by cohort."""
    found: dict[str, list[Metric]] = {}
    for item in select(numbers, keys.SURVIVAL, keys.PAN, ["c_index_cohort"]):
        if item.scope_cohort is not None:
            found.setdefault(item.scope_cohort, []).append(item)
    return found


def build_pan_cohort_table(numbers: Numbers, small_cells: int) -> CohortTable:
    """Concordance within each cohort of the methods that learnt from all cohorts: cohorts by methods."""
    return _cohorts_by_methods(cohort_metrics(numbers), small_cells)


def _cohorts_by_methods(metrics: Mapping[str, Sequence[Metric]], small_cells: int) -> CohortTable:
    scopes = list(metrics)
    by_scope = {scope: {item.method: item for item in metrics[scope]} for scope in scopes}
    roles = {item.method: item.role for found in by_scope.values() for item in found.values()}
    methods = sorted(roles, key=lambda method: (roles[method] == "baseline", method))
    footnotes = Footnotes(small_cells)
    rows = []
    for scope in scopes:
        found = by_scope[scope]
        best = best_of(found.values())
        sizes = next(iter(found.values()), None)
        rows.append(
            CohortRow(
                cohort=scope,
                n_patients=format_count(sizes.n_patients if sizes else None, small_cells),
                n_events=format_count(sizes.n_events if sizes else None, small_cells),
                cells=[_make_cell(found.get(method), best.value if best else None, footnotes) for method in methods],
            )
        )
    baselines = {name_of_method(method) for method in methods if roles[method] == "baseline"}
    return CohortTable([name_of_method(method) for method in methods], baselines, rows, footnotes.texts)


def interval_row(metric: Metric, best: float | None = None, small_cells: int = 0) -> IntervalRow:
    """A metric as a line of a forest plot; `best` is the value that is marked."""
    reason = hide_small_counts(metric.reason or "no reason given", small_cells)
    note = f"not estimable: {reason}" if metric.value is None else ""
    is_best = metric.value is not None and metric.value == best
    name = name_of_method(metric.method)
    return IntervalRow(name, metric.value, metric.low, metric.high, metric.role, note, is_best)


def interval_groups(numbers: Numbers, task: str, scope: str, metric: str, small_cells: int = 0) -> list[IntervalGroup]:
    """All methods of one scope by one metric, best first, as a forest plot without headings."""
    found = sorted(select(numbers, task, scope, [metric]), key=badness)
    best = found[0].value if found else None
    return [IntervalGroup("", [interval_row(item, best, small_cells) for item in found])] if found else []


def cohort_interval_groups(metrics: Mapping[str, Sequence[Metric]], small_cells: int = 0) -> list[IntervalGroup]:
    """Values by cohort as a forest plot: a heading a cohort, models first."""
    return [
        IntervalGroup(
            cohort,
            [
                interval_row(item, small_cells=small_cells)
                for item in sorted(items, key=lambda item: (item.role == "baseline", item.method))
            ],
        )
        for cohort, items in metrics.items()
    ]


def own_cohort_metrics(numbers: Numbers) -> dict[str, list[Metric]]:
    """Concordance of every method within each cohort that had a survival job of its own, by cohort."""
    return {scope: first_metrics(numbers, scope) for scope in scopes_of(numbers, keys.SURVIVAL) if scope != keys.PAN}


def build_gene_rules(dropped: Sequence[DroppedGenes]) -> list[GeneRule]:
    """What was left out of the gene list, one line a rule over all sources, what never was a gene last."""
    by_rule: dict[str, list[DroppedGenes]] = {}
    for item in dropped:
        by_rule.setdefault(item.rule, []).append(item)
    rules = []
    for rule, items in by_rule.items():
        largest = max(items, key=lambda item: item.n)
        rules.append(GeneRule(rule, largest.n, len(items), largest.examples[:N_EXAMPLES], rule not in NO_GENES))
    return sorted(rules, key=lambda item: not item.are_genes)


def pretraining_overlap(numbers: Numbers) -> tuple[str, bool]:
    """What to say about test patients that the encoder saw in pretraining, and whether it is a warning."""
    known = [item for item in numbers.metrics if item.n_pretrained_patients_in_test is not None]
    if not known:
        return "Whether pretraining saw test patients is not recorded.", True
    worst = max(known, key=lambda item: item.n_pretrained_patients_in_test or 0)
    if not worst.n_pretrained_patients_in_test:
        return "Pretraining saw none of the patients that a number is judged on.", False
    return (
        f"Pretraining saw {worst.n_pretrained_patients_in_test:,} of the {format_count(worst.n_patients)} patients "
        f"that a number is judged on (no labels were used). Numbers of encoder-based methods may be too good.",
        True,
    )
