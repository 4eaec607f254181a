"""Tables and sentences of the report: chosen and formatted from the numbers, never computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, DroppedGenes, Metric, Numbers, highest, select
from bulkrnabert.report.text import (
    NOT_ESTIMABLE,
    format_count,
    format_interval,
    format_number,
    name_of_method,
    name_of_metric,
)

CLASSIFICATION_METRICS = ("macro_f1", "weighted_f1", "balanced_accuracy", "accuracy", "auroc_ovr_macro")
SURVIVAL_METRICS = ("c_index_within_weighted", "c_index_within_macro", "c_index_pooled")
# Within one cohort all of these are the same quantity; the first that is there is shown.
SURVIVAL_COHORT_METRICS = ("c_index_within_weighted", "c_index_pooled", "c_index_within_macro")

# Rows and columns of the input that never were genes.
NO_GENES = ("summary_row", "not_expression", "spike_in", "empty_id")
N_EXAMPLES = 3


@dataclass(frozen=True)
class Cell:
    """One number of a table, as text; `note` is the number of a footnote, 0 for none."""

    text: str
    interval: str = ""
    is_best: bool = False
    note: int = 0


@dataclass(frozen=True)
class MethodRow:
    """One method: its cells in the order of the table's columns."""

    method: str
    is_baseline: bool
    cells: list[Cell]


@dataclass(frozen=True)
class MethodTable:
    """Methods by metrics (or by cohorts), with the reasons of what is not estimable."""

    columns: list[str]
    rows: list[MethodRow]
    notes: list[str]


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


class _Footnotes:
    """Numbers each reason once, in the order of appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
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


def _make_cell(metric: Metric | None, best: float | None, footnotes: _Footnotes) -> Cell:
    if metric is None:
        return Cell(text="")
    if metric.value is None:
        return Cell(text=NOT_ESTIMABLE, note=footnotes.number(metric.reason or "no reason given"))
    return Cell(
        text=format_number(metric.value),
        interval=format_interval(metric.low, metric.high),
        is_best=metric.value == best,
    )


def build_method_table(numbers: Numbers, task: str, scope: str, columns: Sequence[str]) -> MethodTable:
    """Methods by metrics of one scope, best method first, the highest number of each column marked."""
    by_name = {name: select(numbers, task, scope, [name]) for name in columns}
    shown = [name for name in columns if by_name[name]]
    footnotes = _Footnotes()
    best = {name: item.value if (item := highest(by_name[name])) else None for name in shown}
    of_method: dict[str, dict[str, Metric]] = {}
    for name in shown:
        for item in by_name[name]:
            of_method.setdefault(item.method, {})[name] = item

    def rank(method: str) -> float:
        first = of_method[method].get(shown[0])
        return -first.value if first is not None and first.value is not None else 1.0

    rows = [
        MethodRow(
            method=name_of_method(method),
            is_baseline=next(iter(of_method[method].values())).role == "baseline",
            cells=[_make_cell(of_method[method].get(name), best[name], footnotes) for name in shown],
        )
        for method in sorted(of_method, key=rank)
    ]
    return MethodTable([name_of_metric(name) for name in shown], rows, footnotes.texts)


def build_cohort_table(numbers: Numbers, small_cells: int) -> CohortTable:
    """Concordance within each cohort that had a survival job of its own: cohorts by methods."""
    scopes = [scope for scope in scopes_of(numbers, keys.SURVIVAL) if scope != keys.PAN]
    by_scope = {scope: {item.method: item for item in first_metrics(numbers, scope)} for scope in scopes}
    roles = {item.method: item.role for found in by_scope.values() for item in found.values()}
    methods = sorted(roles, key=lambda method: (roles[method] == "baseline", method))
    footnotes = _Footnotes()
    rows = []
    for scope in scopes:
        found = by_scope[scope]
        best = highest(found.values())
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


def interval_row(metric: Metric, label: str = "") -> IntervalRow:
    """A metric as a line of a forest plot."""
    note = f"not estimable: {metric.reason}" if metric.value is None else ""
    text = label or name_of_method(metric.method)
    return IntervalRow(text, metric.value, metric.low, metric.high, metric.role, note)


def interval_groups(numbers: Numbers, task: str, scope: str, metric: str) -> list[IntervalGroup]:
    """All methods of one scope by one metric, best first, as a forest plot without headings."""
    found = sorted(select(numbers, task, scope, [metric]), key=lambda item: -(item.value or 0.0))
    return [IntervalGroup("", [interval_row(item) for item in found])] if found else []


def cohort_interval_groups(numbers: Numbers) -> list[IntervalGroup]:
    """Concordance of every method within every cohort, a heading a cohort."""
    return [
        IntervalGroup(
            scope,
            [
                interval_row(item)
                for item in sorted(
                    first_metrics(numbers, scope), key=lambda item: (item.role == "baseline", item.method)
                )
            ],
        )
        for scope in scopes_of(numbers, keys.SURVIVAL)
        if scope != keys.PAN
    ]


def _compare(model: Metric | None, baseline: Metric | None) -> str:
    """Which of the two is higher, said plainly, and whether the intervals overlap."""
    if model is None or model.value is None:
        return "No encoder-based method could be scored."
    if baseline is None or baseline.value is None:
        return "No baseline could be scored, so there is nothing to hold the encoder against."
    if model.value == baseline.value:
        return "The encoder and the best baseline score the same."
    verdict = "The encoder scores higher" if model.value > baseline.value else "The baseline scores higher"
    if model.low is None or model.high is None or baseline.low is None or baseline.high is None:
        return f"{verdict}; there is no interval for one of them."
    overlap = model.low <= baseline.high and baseline.low <= model.high
    relation = "overlap, so the order may be chance" if overlap else "do not overlap"
    return f"{verdict}; their 95\u00a0% intervals {relation}."


def build_headlines(numbers: Numbers, small_cells: int) -> list[Headline]:
    """The best model beside the best baseline for each task over all cohorts, by the task's primary metric."""
    headlines = []
    for task, metric in PRIMARY_METRIC.items():
        found = select(numbers, task, keys.PAN, [metric])
        if not found:
            continue
        model = highest(item for item in found if item.role == "model")
        baseline = highest(item for item in found if item.role == "baseline")
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
                sentence=_compare(model, baseline),
            )
        )
    return headlines


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
