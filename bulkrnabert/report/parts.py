"""What the parts of the page share: captioned figures, the best methods, and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bulkrnabert import keys
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC, Metric, Numbers, best_of, select
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
    """Figures in the open, those behind a line to unfold, and how many are not drawn because they are too large."""

    first: list[Captioned]
    others: list[Captioned]
    n_not_drawn: int = 0


@dataclass(frozen=True)
class Best:
    """The best model and the best baseline of one task and scope; None where there is none."""

    model: str | None
    baseline: str | None

    @property
    def methods(self) -> list[str]:
        """Those that there are, the model first."""
        return [name for name in (self.model, self.baseline) if name is not None]


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

    def best(role: str) -> str | None:
        metric: Metric | None = best_of(item for item in found if item.role == role)
        return metric.method if metric is not None else None

    return Best(best("model"), best("baseline"))


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
