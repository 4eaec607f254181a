"""What `attribute` explains: a user's table, or samples of a cohorts folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.sources.files import ExpressionTable, read_expression
from bulkrnabert.data.tables import read_cohorts
from bulkrnabert.downstream.attribution_study import AttributeRequest
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExplainedTable:
    """Expression with its unit."""

    expression: ExpressionTable
    unit: str


def read_explained(request: AttributeRequest) -> ExplainedTable:
    """Read the table, or the samples of the cohorts.

    Of cohorts, `n_samples` samples are drawn here already, evenly over the cohorts, so that the others need not be
    predicted; with `classes` all are kept, since who is of a class is known only then.

    Raises:
        ConfigError: both are given, or none, or a table without its unit.
        DataError: a sample is there twice, or the files are not what they should be.
    """
    if (request.table is None) == (request.cohorts is None) or (request.table is None) != (request.unit is None):
        raise ConfigError("give either --table with its --unit, or --cohorts, which state their own")
    if request.cohorts is not None:
        return _from_cohorts(request, request.cohorts)
    assert request.table is not None and request.unit is not None
    table = read_expression(request.table, request.file_format or "", missing="keep")
    _require_unique(table.sample_ids, request.table)
    return ExplainedTable(table, request.unit)


def _from_cohorts(request: AttributeRequest, folder: Path) -> ExplainedTable:
    cohorts = read_cohorts(folder)
    groups = cohorts.samples[keys.COHORT].to_numpy(dtype=object)
    rows = np.arange(len(groups))
    if not request.classes:
        rows = choose_samples(groups, request.n_samples, np.random.default_rng(request.seed))
        logger.info("%d of %d samples are explained, drawn evenly over the cohorts (--samples)", len(rows), len(groups))
    samples = cohorts.samples.iloc[rows].reset_index(drop=True)
    sample_ids = tuple(samples[keys.SAMPLE_ID])
    _require_unique(sample_ids, folder)
    return ExplainedTable(ExpressionTable(sample_ids, cohorts.genes, cohorts.values[rows], samples, ()), cohorts.unit)


def choose_samples(
    groups: npt.NDArray[np.object_], n_samples: int | None, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Rows of at most `n_samples` samples, ascending; drawn from the groups in turn, so that none is crowded out."""
    if n_samples is None or n_samples >= len(groups):
        return np.arange(len(groups))
    order = rng.permutation(len(groups))
    turn = pd.Series(groups[order]).groupby(groups[order]).cumcount().to_numpy()
    return np.sort(order[np.lexsort((np.arange(len(order)), turn))[:n_samples]])


def _require_unique(sample_ids: tuple[str, ...], path: Path) -> None:
    ids = pd.Index(sample_ids)
    if not ids.is_unique:
        raise DataError(f"{path}: sample {ids[ids.duplicated()][0]!r} is there more than once; keep one")
