"""What the report and the tracking read: numbers, the summary of the cohorts, encoders, facts about the run."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bulkrnabert import keys
from bulkrnabert.errors import DataError, join_problems
from bulkrnabert.evaluate.data_artefacts import Diagnosis, Endpoint, ModalitySummary, Pairs
from bulkrnabert.evaluate.embedding_maps import EmbeddingMaps
from bulkrnabert.evaluate.findings import Findings

MAX_PROBLEMS_SHOWN = 10
PRIMARY_METRIC = {keys.CANCER_TYPE: "macro_f1", keys.SURVIVAL: "c_index_within_weighted"}
LOWER_IS_BETTER = frozenset(
    {"expected_calibration_error", "brier_score", "log_loss", "integrated_brier_score", "calibration_error"}
)


class _Artefact(BaseModel):
    """Base of what is read: frozen; keys that the report does not show are allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Metric(_Artefact):
    """One number of one method; `value` is None where it is not estimable, and `reason` says why."""

    task: str
    scope: str
    method: str
    role: Literal["model", "baseline"]
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n_samples: int | None = None
    n_patients: int | None = None
    n_events: int | None = None
    reason: str | None = None
    n_pretrained_patients_in_test: int | None = None
    split_sha256: str = ""
    seed: int | None = None
    scope_cohort: str | None = None
    at_days: float | None = None
    n_repeats: int | None = None
    sd_over_repeats: float | None = None


class Confusion(_Artefact):
    """Counts of samples, a row a true class and a column a predicted one."""

    scope: str
    method: str
    classes: list[str]
    matrix: list[list[int]]

    @model_validator(mode="after")
    def _is_square(self) -> Self:
        if [len(row) for row in self.matrix] != [len(self.classes)] * len(self.classes):
            raise ValueError(f"the matrix must have {len(self.classes)} rows and columns, one a class")
        return self


class SurvivalCurve(_Artefact):
    """A Kaplan-Meier curve of one group, times in days."""

    name: str
    n: int
    times: list[float]
    survival: list[float]
    low: list[float | None]
    high: list[float | None]

    @model_validator(mode="after")
    def _has_one_length(self) -> Self:
        if len({len(self.times), len(self.survival), len(self.low), len(self.high)}) != 1:
            raise ValueError("times, survival, low and high must have one length")
        return self


class KaplanMeier(_Artefact):
    """Curves of the risk groups of one method, with the number at risk; times in days."""

    scope: str
    method: str
    endpoint: str | None = None
    logrank_p: float | None = None
    groups: list[SurvivalCurve]
    at_risk_times: list[float] = []
    at_risk: dict[str, list[int]] = {}


class ClassScore(_Artefact):
    """One class: precision, recall and F1 (None where nothing was predicted, or is true), and its samples."""

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    n: int


class PerClass(_Artefact):
    """Scores of single classes of one method."""

    scope: str
    method: str
    classes: list[ClassScore]


class ReliabilityBin(_Artefact):
    """Samples whose predicted class got a probability in [low, high]."""

    low: float
    high: float
    mean_probability: float
    observed_share: float
    n: int


class Reliability(_Artefact):
    """How often a prediction is right, by the probability that it was made with."""

    scope: str
    method: str
    bins: list[ReliabilityBin]


class CalibrationGroup(_Artefact):
    """Patients of like predicted survival: its mean, and Kaplan-Meier's with a 95 % interval."""

    n: int
    predicted: float
    observed: float
    low: float | None = None
    high: float | None = None


class Calibration(_Artefact):
    """Predicted against observed survival at one time, in days."""

    scope: str
    method: str
    at_days: float
    groups: list[CalibrationGroup]


class Comparison(_Artefact):
    """A model against a baseline on the same folds; `holds` is None where not estimable, and `reason` says why."""

    task: str
    scope: str
    metric: str
    method: str
    against: str
    is_best_baseline: bool = False
    difference: float | None
    low: float | None = None
    high: float | None = None
    p_corrected: float | None = None
    n_folds: int | None = None
    holds: Literal["ahead", "level", "behind"] | None = None
    reason: str | None = None


class Point(_Artefact):
    """One sample of the projection."""

    x: float
    y: float
    cohort: str


class Projection(_Artefact):
    """The embedding in two dimensions."""

    method: str
    split_id: str | None = None
    points: list[Point]


class Skipped(_Artefact):
    """A job that did not run, and why."""

    task: str
    scope: str
    reason: str


class Numbers(_Artefact):
    """`metrics.json`."""

    split_sha256: str
    protocol: str
    seed: int | None = None
    metrics: list[Metric]
    confusion: list[Confusion] = []
    kaplan_meier: list[KaplanMeier] = []
    per_class: list[PerClass] = []
    reliability: list[Reliability] = []
    calibration: list[Calibration] = []
    comparisons: list[Comparison] = []
    projection: Projection | None = None
    skipped: list[Skipped] = []


class CohortSummary(_Artefact):
    """One cohort of `summary.json`."""

    cohort: str
    source: str = ""
    unit: str = ""
    n_samples: int
    n_patients: int
    n_tumor: int | None = None
    n_normal: int | None = None
    n_with_survival: int | None = None
    n_events: int | None = None
    endpoint: str | None = None

    @property
    def has_sample_types(self) -> bool:
        """Whether any sample is known to be tumour or normal; where none is, both counts say nothing."""
        return bool(self.n_tumor or self.n_normal) or self.n_samples == 0


class RejectedCount(_Artefact):
    """How many samples of a cohort one rule left out."""

    cohort: str
    rule: str
    n: int


class DroppedGenes(_Artefact):
    """How many genes one rule left out of one source."""

    rule: str
    source: str = ""
    n: int
    examples: list[str] = []


class GeneSummary(_Artefact):
    """The gene list of all cohorts."""

    n_kept: int
    dropped: list[DroppedGenes] = []


class CohortsSummary(_Artefact):
    """`summary.json`."""

    cohorts: list[CohortSummary]
    rejected: list[RejectedCount] = []
    genes: GeneSummary
    unit: str = ""
    data_access: str = "local"
    modalities: dict[str, ModalitySummary] = Field(default_factory=dict)
    pairs: list[Pairs] = []


class RunFacts(_Artefact):
    """`run.json`: what the pipeline knows about the run; everything may be missing."""

    pipeline_version: str | None = None
    command_line: str | None = None
    run_name: str | None = None
    session_id: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    software: dict[str, Any] = Field(default_factory=dict)


class RejectedSample(_Artefact):
    """One line of `rejected.tsv`."""

    sample_id: str = ""
    patient_id: str = ""
    cohort: str = ""
    file: str = ""
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Encoder:
    """What the report shows of one checkpoint folder.

    Attributes:
        name: The outer split it was trained for (`r0f0`), else the folder's name; after the name of any model but
            BulkRNABert.
        n_parameters: Learned numbers, read from the header of the weights; None without a weights file.
        config: `config.json`, or empty.
        provenance: `provenance.json`.
        records: The lines of `records.jsonl` in their order; empty where there is none.
        model: Kind of model, as `bulkrnabert`.
    """

    name: str
    n_parameters: int | None
    config: dict[str, Any]
    provenance: dict[str, Any]
    records: list[dict[str, Any]]
    model: str = keys.BULKRNABERT

    @property
    def model_title(self) -> str:
        """What a reader sees of the kind of model."""
        return keys.MODEL_TITLES.get(self.model, self.model)

    def records_of(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind: `train`, `validation` or `summary`."""
        return [record for record in self.records if record.get("kind") == kind]


ModelType = TypeVar("ModelType", bound=_Artefact)


def _parse_json(path: Path, text: str, where: str = "") -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}{where}: not valid JSON ({error}); was the file written completely?") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from error


def _read_mapping(path: Path) -> dict[str, Any]:
    value = _parse_json(path, _read_text(path))
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _validate(model: type[ModelType], path: Path, value: object) -> ModelType:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()]
        shown = problems[:MAX_PROBLEMS_SHOWN]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        raise DataError(join_problems(f"{path} does not have the expected form", shown)) from error


def read_numbers(path: Path) -> Numbers:
    """Read `metrics.json`.

    Raises:
        DataError: the file is unreadable, or a key is missing or of the wrong type (all are named).
    """
    return _validate(Numbers, path, _read_mapping(path))


def read_summary(path: Path) -> CohortsSummary:
    """Read `summary.json`; errors as `read_numbers`."""
    return _validate(CohortsSummary, path, _read_mapping(path))


def read_run(path: Path | None) -> RunFacts:
    """Read `run.json`; without a file, nothing is known. Errors as `read_numbers`."""
    return RunFacts() if path is None else _validate(RunFacts, path, _read_mapping(path))


def read_rejected(path: Path | None) -> list[RejectedSample]:
    """Read `rejected.tsv`; without a file, an empty list.

    Raises:
        DataError: the file is unreadable, or the column `rule` is missing.
    """
    if path is None:
        return []
    reader = csv.DictReader(_read_text(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
    if keys.RULE not in (reader.fieldnames or []):
        raise DataError(f"{path}: no column `{keys.RULE}`; found {reader.fieldnames or 'an empty file'}")
    return [_validate(RejectedSample, path, {name: row[name] for name in row if name}) for row in reader]


def _read_records(path: Path) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if line.strip():
            record = _parse_json(path, line, f" line {number}")
            if not isinstance(record, dict):
                raise DataError(f"{path} line {number}: expected a JSON object, found {type(record).__name__}")
            records.append(record)
    return records


def _count_parameters(path: Path) -> int:
    """Sum of the tensor sizes in a safetensors header; the tensors themselves are not read."""
    with path.open("rb") as handle:
        header_length = int.from_bytes(handle.read(8), "little")
        if not 0 < header_length < path.stat().st_size:
            raise DataError(f"{path}: not a safetensors file (its header says {header_length} bytes)")
        header = _parse_json(path, handle.read(header_length).decode("utf-8", "replace"), " header")
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def read_encoder(folder: Path) -> Encoder:
    """Read what a checkpoint folder says about its training.

    Args:
        folder: Holds `provenance.json`; `records.jsonl`, `config.json` and `model.safetensors` where there are such.
    Raises:
        DataError: no `provenance.json`, or a file is not what its name says.
    """
    provenance = folder / keys.PROVENANCE_JSON
    if not provenance.is_file():
        raise DataError(f"{folder}: holds no {keys.PROVENANCE_JSON}; give the checkpoint folder that `pretrain` wrote")
    facts = _read_mapping(provenance)
    records, config, weights = folder / keys.RECORDS_JSONL, folder / keys.CONFIG_JSON, folder / keys.WEIGHTS
    described = _read_mapping(config) if config.is_file() else {}
    model = str(described.get("model") or keys.BULKRNABERT)
    name = str(facts.get("split_id") or folder.name)
    return Encoder(
        name=name if model == keys.BULKRNABERT else f"{keys.MODEL_TITLES.get(model, model)} {name}",
        n_parameters=_count_parameters(weights) if weights.is_file() else None,
        config=described,
        provenance=facts,
        records=_read_records(records) if records.is_file() else [],
        model=model,
    )


@dataclass(frozen=True)
class ReportInputs:
    """Everything that a page is made of."""

    numbers: Numbers
    summary: CohortsSummary
    encoders: list[Encoder]
    rejected: list[RejectedSample]
    run: RunFacts
    endpoints: list[Endpoint] = field(default_factory=list)
    diagnoses: list[Diagnosis] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    maps: EmbeddingMaps = field(default_factory=EmbeddingMaps)


def select(numbers: Numbers, task: str, scope: str, names: Sequence[str]) -> list[Metric]:
    """The metrics of one task and scope with one of these names."""
    return [item for item in numbers.metrics if (item.task, item.scope) == (task, scope) and item.metric in names]


def best_of(metrics: Iterable[Metric]) -> Metric | None:
    """The best of several values of one metric, the first of equals; None when none is estimable."""
    estimable = [item for item in metrics if item.value is not None]
    return min(estimable, key=badness, default=None)


def badness(metric: Metric) -> float:
    """The value turned so that a lower one is better; infinite where it is not estimable."""
    if metric.value is None:
        return inf
    return metric.value if metric.metric in LOWER_IS_BETTER else -metric.value
