"""`predictions.parquet`: a row a sample, fold and method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bulkrnabert import keys
from bulkrnabert.errors import DataError
from bulkrnabert.provenance import atomic_path

MODEL = "model"
BASELINE = "baseline"

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("scope", pa.string()),
        ("method", pa.string()),
        ("role", pa.string()),
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("split_id", pa.string()),
        (keys.SAMPLE_ID, pa.string()),
        (keys.PATIENT_ID, pa.string()),
        (keys.COHORT, pa.string()),
        (keys.STRATUM, pa.string()),
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
        (keys.TIME_DAYS, pa.float64()),
        (keys.EVENT, pa.int32()),
        ("risk", pa.float64()),
        (keys.SURVIVAL_PROBABILITIES, pa.list_(pa.float32())),
    ]
)
METADATA = (keys.META_CLASSES, keys.META_SPLIT_SHA256, keys.META_SURVIVAL_DAYS, keys.META_NOT_ESTIMABLE)


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold predictions of one job.

    Attributes:
        frame: Columns of `SCHEMA`; those that the task does not use are null. `stratum` is the project within a merged
            cohort, else the cohort: what shares a baseline hazard, and what is compared "within cohort".
        classes: Order of `probabilities`; empty for survival.
        split_sha256: Of the `splits.tsv` that the folds are from.
        survival_days: Times of the column `survival_probabilities` (probability of no event by then), in days; empty
            where no method gives any.
        not_estimable: Baselines that could not be run at all, and why.
    """

    frame: pd.DataFrame
    classes: list[str]
    split_sha256: str
    survival_days: list[float] = field(default_factory=list)
    not_estimable: dict[str, str] = field(default_factory=dict)


def join_methods(files: Sequence[Predictions]) -> list[Predictions]:
    """Predictions of one job that came in several files (probing, fine-tuning) as one.

    Args:
        files: Of any jobs.
    Returns:
        One a job (task and scope), in the order of their first file.
    Raises:
        DataError: a method of a job is there twice, or files of a job differ in classes, splits or times.
    """
    of_job: dict[tuple[str, str], list[Predictions]] = {}
    for item in files:
        of_job.setdefault((str(item.frame["task"].iloc[0]), str(item.frame["scope"].iloc[0])), []).append(item)
    return [_join(f"predictions of {task}, scope {scope}", items) for (task, scope), items in of_job.items()]


def _join(what: str, items: list[Predictions]) -> Predictions:
    seen: set[str] = set()
    for item in items:
        methods = set(item.frame["method"])
        if twice := sorted(methods & seen):
            raise DataError(f"{what}: method {twice[0]!r} is given more than once; give each method's file once")
        seen |= methods
    for name in ("classes", "split_sha256"):
        if any(getattr(item, name) != getattr(items[0], name) for item in items):
            raise DataError(f"{what}: the files differ in their {name}; predict all methods on the same splits again")
    days = [item.survival_days for item in items if item.survival_days]
    if any(times != days[0] for times in days):
        raise DataError(f"{what}: the files give survival at other times; predict all methods on the same splits again")
    not_estimable = {name: reason for item in items for name, reason in item.not_estimable.items()}
    frame = pd.concat([item.frame for item in items], ignore_index=True) if len(items) > 1 else items[0].frame
    return Predictions(frame, items[0].classes, items[0].split_sha256, days[0] if days else [], not_estimable)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write `predictions.parquet`, atomically."""
    table = pa.Table.from_pandas(predictions.frame, schema=SCHEMA, preserve_index=False)
    metadata = {
        keys.META_CLASSES: json.dumps(predictions.classes),
        keys.META_SPLIT_SHA256: predictions.split_sha256,
        keys.META_SURVIVAL_DAYS: json.dumps(predictions.survival_days),
        keys.META_NOT_ESTIMABLE: json.dumps(predictions.not_estimable),
    }
    with atomic_path(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial)


def read_predictions(path: Path) -> Predictions:
    """Read `predictions.parquet`.

    Raises:
        DataError: no Parquet file, another schema, or no metadata.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    missing += [name for name in METADATA if name not in metadata]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)} missing; expected a file that `probe` wrote")
    return Predictions(
        table.select(SCHEMA.names).to_pandas(),
        json.loads(metadata[keys.META_CLASSES]),
        metadata[keys.META_SPLIT_SHA256],
        json.loads(metadata[keys.META_SURVIVAL_DAYS]),
        json.loads(metadata[keys.META_NOT_ESTIMABLE]),
    )
