"""What the parts of the page share: captioned figures, the best methods, and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, Numbers, best_of, select
from bulkrnabert.report.comparisons import best_of_kinds
from bulkrnabert.report.drawing import Figure
from bulkrnabert.report.tables import first_metrics


class HasMethod(Protocol):
    """What `metrics.json` holds of one method on one scope."""

    @property
    def method(self) -> str:
        """Its name."""

    @property
    def scope(self) -> str:
        """`pan`, or a cohort."""


WithMethod = TypeVar("WithMethod", bound=HasMethod)


@dataclass(frozen=True)
class Captioned:
    """A figure with the words under it."""

    figure: Figure
    title: str
    text: str = ""


@dataclass(frozen=True)
class Shown:
    """Figures in the open, and those behind a line to unfold."""

    first: list[Captioned]
    others: list[Captioned]


@dataclass(frozen=True)
class Best:
    """The best method of each kind of model, the best kind first, and the best baseline of one task and scope."""

    models: list[str]
    baseline: str | None

    @property
    def methods(self) -> list[str]:
        """Those that there are, the models first."""
        return [*self.models, *([self.baseline] if self.baseline is not None else [])]


def scope_name(scope: str) -> str:
    """`all cohorts` for the pan scope, else the cohort."""
    return "all cohorts" if scope == keys.PAN else scope


def capitalised(sentence: str) -> str:
    """With a capital letter at the start, the other letters as they are."""
    return sentence[:1].upper() + sentence[1:]


def best_methods(numbers: Numbers, task: str, scope: str) -> Best:
    """The best of each role by the primary metric; within one cohort survival has other names for it."""
    if task == keys.SURVIVAL:
        found = first_metrics(numbers, scope)
    else:
        found = select(numbers, task, scope, [PRIMARY_METRIC[task]])

    baseline = best_of(item for item in found if item.role == "baseline")
    return Best([item.method for item in best_of_kinds(found)], baseline.method if baseline is not None else None)


def of_methods(items: Sequence[WithMethod], scope: str, methods: Sequence[str]) -> list[WithMethod]:
    """Those of one scope and these methods, in the order of the methods."""
    by_method = {item.method: item for item in items if item.scope == scope}
    return [by_method[name] for name in methods if name in by_method]


def best_first(items: Sequence[WithMethod], best: Sequence[str]) -> list[WithMethod]:
    """Those of the best methods before the others, which keep their order."""
    return sorted(items, key=lambda item: best.index(item.method) if item.method in best else len(best))


def n_repeats(numbers: Numbers) -> int:
    """How often the patients were split; 1 where that is not recorded."""
    return max((item.n_repeats or 1 for item in numbers.metrics), default=1)
