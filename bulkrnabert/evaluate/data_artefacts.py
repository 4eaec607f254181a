"""What the report shows of the data beside the cohorts: genes of each source, endpoints, pairs, diagnoses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bulkrnabert.errors import DataError, join_problems


class _Part(BaseModel):
    """Frozen; keys that the report does not show are allowed."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GeneSource(_Part):
    """What became of the genes of one source.

    Attributes:
        source: Name of the source.
        n_genes: Genes that it has.
        n_kept: Those that are in the gene list of the run.
        n_missing: Genes of the run's list that it lacks; missing values in its samples.
    """

    source: str
    n_genes: int
    n_kept: int
    n_missing: int = 0


class ModalityGenes(_Part):
    """Genes of one modality."""

    n_kept: int
    sources: list[GeneSource] = []


class ModalitySummary(_Part):
    """One modality of `summary.json`."""

    unit: str = ""
    n_samples: int = 0
    genes: ModalityGenes


class Pairs(_Part):
    """Who of a cohort has both modalities."""

    cohort: str
    n_paired_samples: int
    n_paired_patients: int
    n_rnaseq_only: int
    n_methylation_only: int
    other_vials: list[dict[str, Any]] = []


class Endpoint(_Part):
    """One line of `survival.tsv`."""

    cohort: str
    endpoint: str = ""
    used: bool
    endpoint_source: str = ""
    n_patients: int
    n_usable: int
    n_events: int
    median_follow_up_days: float | None = None
    excluded: str = ""
    recommendation: str = ""

    @property
    def reasons(self) -> list[tuple[str, int]]:
        """Why patients are out, with their number."""
        pairs = [item.rpartition(":") for item in self.excluded.split(";") if item]
        return [(reason, int(count)) for reason, _, count in pairs]


class DiagnosisCheck(_Part):
    """One thing that `doctor` looked at."""

    name: str
    status: str
    found: str = ""
    expected: str = ""
    cure: str = ""


class DriftPoint(_Part):
    """Cosine of embeddings to those with all genes, at one share of missing genes."""

    missing_fraction: float
    mean: float
    low: float
    high: float
    n_samples: int


class Diagnosis(_Part):
    """What `doctor` said of one table."""

    table: str
    verdict: str
    checks: list[DiagnosisCheck] = []
    drift: list[DriftPoint] = Field(default_factory=list)


def read_endpoints(path: Path | None) -> list[Endpoint]:
    """Read `survival.tsv`; nothing without a file.

    Raises:
        DataError: not what `preprocess` wrote.
    """
    if path is None:
        return []
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        return [Endpoint.model_validate({name: value for name, value in row.items() if value}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        raise DataError(_explain(path, error)) from error


def read_diagnoses(path: Path | None) -> list[Diagnosis]:
    """Read `doctor.json`: one diagnosis, or a list of them; nothing without a file.

    Raises:
        DataError: not what `doctor` wrote.
    """
    if path is None:
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    try:
        return [Diagnosis.model_validate(item) for item in (content if isinstance(content, list) else [content])]
    except ValidationError as error:
        raise DataError(_explain(path, error)) from error


def _explain(path: Path, error: ValidationError) -> str:
    problems = [f"`{'.'.join(map(str, item['loc']))}`: {item['msg']}" for item in error.errors()]
    return join_problems(f"{path}: not what this release writes", problems)
