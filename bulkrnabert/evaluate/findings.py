"""What analyses beside the predictions found, as the report reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkrnabert.errors import DataError, join_problems

Holds = Literal["ahead", "level", "behind"]
MAX_PROBLEMS_SHOWN = 10


class _Part(BaseModel):
    """Frozen; keys that the report does not show are allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Value(_Part):
    """One number of one method with its interval; None where it is not estimable."""

    method: str
    role: Literal["model", "baseline"]
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None


class Difference(_Part):
    """One method minus another by one metric; `holds` says which is better, whatever the metric's direction."""

    metric: str
    method: str
    against: str
    difference: float | None
    low: float | None = None
    high: float | None = None
    p_corrected: float | None = None
    holds: Holds | None = None


class PanelValue(Value):
    """Of classification from one panel of genes."""

    size: int
    chooser: str
    n_samples: int


class PanelDifference(Difference):
    """Of two methods on one panel."""

    size: int
    chooser: str


class Panels(_Part):
    """`panels.json`."""

    kind: Literal["panels"]
    n_classes: int
    rows: list[PanelValue]
    comparisons: list[PanelDifference]


class RestoredValue(Value):
    """Of values restored under one pattern and rate of missing ones."""

    pattern: str
    rate: float
    n_samples: int
    n_cells: int


class RestoredDifference(Difference):
    """Of two methods under one pattern and rate."""

    pattern: str
    rate: float


class Coverage(_Part):
    """Share of true values inside the stated interval of one level."""

    pattern: str
    rate: float
    method: str
    level: float
    value: float | None


class Imputation(_Part):
    """`imputation.json`."""

    kind: Literal["imputation"]
    split_id: str
    n_samples: int
    n_genes: int
    rows: list[RestoredValue]
    comparisons: list[RestoredDifference]
    calibration: list[Coverage]


class AnchorValue(Value):
    """Concordance of a Cox model on some of the genes."""

    scope: str
    scope_cohort: str | None = None
    n_samples: int | None = None
    n_events: int | None = None


class AnchorDifference(Difference):
    """Of two Cox models."""

    scope: str


class Anchors(_Part):
    """`anchors.json`."""

    kind: Literal["anchors"]
    panel_size: int
    n_anchors: int
    rows: list[AnchorValue]
    comparisons: list[AnchorDifference]


class HeatMap(_Part):
    """Excess of attention, shape (classes, genes)."""

    genes: list[str]
    classes: list[str]
    values: list[list[float]]


class Stability(_Part):
    """How far encoders agree on the genes of one class."""

    class_name: str = Field(alias="class")
    rank_correlation: float | None
    top_overlap: float


class Agreement(_Part):
    """How far attention agrees with another score on the genes of one class."""

    class_name: str = Field(alias="class")
    with_score: str = Field(alias="with")
    rank_correlation: float | None
    top_overlap: float
    expected_overlap: float


class EnrichedSet(_Part):
    """A gene set among the first genes of one class."""

    class_name: str = Field(alias="class")
    set_name: str = Field(alias="set")
    n_in_top: int
    n_expected: float
    q_overlap: float | None


class Biomarkers(_Part):
    """`biomarkers.json`."""

    kind: Literal["biomarkers"]
    n_members: int
    n_top: int
    n_genes: int
    stability: list[Stability]
    agreement: list[Agreement]
    heatmap: HeatMap
    enrichment: list[EnrichedSet] = []


class Correlation(_Part):
    """Correlation of predicted and true values of a gene over samples, over all genes."""

    median_pearson: float | None
    quartiles: tuple[float | None, float | None]
    within_cohort_median_pearson: float | None


class Direction(_Part):
    """One omic predicted from another."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    n_genes: int
    n_samples: int
    model: Correlation
    ridge: Correlation
    share_of_genes_ahead_of_ridge: float | None


class CrossModal(_Part):
    """`cross_modal.json`."""

    kind: Literal["cross_modal"]
    split_id: str
    directions: list[Direction]


class AttributedGroup(_Part):
    """First genes of the samples of one class or cohort, and how far members of the model agree on them."""

    class_name: str = Field(alias="class")
    n_samples: int
    n_members: int
    top_overlap: float | None
    top: list[str]


class Attribution(_Part):
    """`attribution.json`."""

    kind: Literal["attribution"]
    method: Literal["ig", "attention"]
    task: str | None
    n_top: int
    n_genes: int
    groups: list[AttributedGroup]
    enrichment: list[EnrichedSet] = []


Finding = Panels | Imputation | Anchors | Biomarkers | CrossModal | Attribution
FindingType = TypeVar("FindingType", Panels, Imputation, Anchors, Biomarkers, CrossModal, Attribution)
KINDS: dict[str, type[Finding]] = {
    "panels": Panels,
    "imputation": Imputation,
    "anchors": Anchors,
    "biomarkers": Biomarkers,
    "cross_modal": CrossModal,
    "attribution": Attribution,
}


@dataclass(frozen=True)
class Findings:
    """All that was found, in the order given."""

    items: tuple[Finding, ...] = ()

    def of(self, kind: type[FindingType]) -> list[FindingType]:
        """Those of one kind."""
        return [item for item in self.items if isinstance(item, kind)]


def read_findings(paths: Sequence[Path]) -> Findings:
    """Read the files of `panels`, `impute-benchmark`, `anchors`, `biomarkers`, `cross-modal` and `attribute`.

    Raises:
        DataError: a file is no JSON, or of none of these kinds; names what is wrong with it.
    """
    return Findings(tuple(_read(path) for path in paths))


def _read(path: Path) -> Finding:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in KINDS:
        raise DataError(f"{path}: `kind` is {kind!r}, expected one of {', '.join(KINDS)}")
    try:
        return KINDS[kind].model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise DataError(
            join_problems(f"{path}: not what `kind` {kind} holds", problems[:MAX_PROBLEMS_SHOWN])
        ) from error
