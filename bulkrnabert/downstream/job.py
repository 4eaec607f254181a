"""One probe job: which samples, which folds, which labels, and the features of every fold."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import Splits, labels_of, strata_of, survival_of
from bulkrnabert.downstream.embeddings import Embeddings
from bulkrnabert.downstream.survival import FloatArray, SurvivalLabels, survival_grid
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

Task = Literal["cancer_type", "survival"]


@dataclass(frozen=True)
class Fold:
    """One outer split as row numbers of the job.

    Attributes:
        repeat: Which drawing of the folds.
        number: Which fold.
        split_id: `r0f1` for repeat 0, fold 1.
        train: Rows to learn from, shape (training rows,).
        test: Rows to predict, shape (test rows,).
    """

    repeat: int
    number: int
    split_id: str
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """A task on a scope, with its judged samples and folds.

    Attributes:
        task: `cancer_type` or `survival`.
        scope: `pan` or a cohort: what is tested. It is also what is learnt from, unless the splits leave the cohort out
            of training.
        rows: A row a judged sample: `sample_id, patient_id, cohort, stratum, label, time_days, event`; all usable for
            the task. The stratum is the project within the cohort where it is known (see `strata_of`).
        folds: Every outer split.
        split_sha256: Of the `splits.tsv`.
    """

    task: Task
    scope: str
    rows: pd.DataFrame
    folds: list[Fold]
    split_sha256: str

    @property
    def classes(self) -> list[str]:
        """Class names in the order of `class_ids`."""
        return sorted(self.rows["label"].unique())

    @property
    def class_ids(self) -> npt.NDArray[np.int64]:
        """Class of each row as a number, shape (rows,)."""
        return np.searchsorted(np.array(self.classes), self.rows["label"].to_numpy(dtype=str)).astype(np.int64)

    @property
    def survival(self) -> SurvivalLabels:
        """Follow-up of each row."""
        return SurvivalLabels(
            self.rows[keys.TIME_DAYS].to_numpy(np.float64),
            self.rows[keys.EVENT].to_numpy(np.int64),
            np.unique(self.rows[keys.STRATUM].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64),
        )

    @property
    def survival_times(self) -> FloatArray:
        """Times in days at which survival probabilities are written, shape (times,)."""
        return survival_grid(self.survival)


def make_job(splits: Splits, clinical: pd.DataFrame, task: Task, scope: str, label_column: str = keys.COHORT) -> Job:
    """Gather the judged samples that a job can use.

    Raises:
        ConfigError: no such cohort.
        DataError: fewer than two classes, too few events, or a fold without anyone to test.
    """
    judged = splits.judged
    if scope != keys.PAN and scope not in set(judged[keys.COHORT]):
        known = ", ".join([keys.PAN, *sorted(judged[keys.COHORT].unique())])
        raise ConfigError(f"--scope {scope!r} is no cohort of the splits: choose one of {known}")
    rows = judged[[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]].copy()
    rows[keys.STRATUM] = strata_of(judged, clinical)
    rows["label"] = labels_of(judged, clinical, label_column, splits.n_parts)
    rows[[keys.TIME_DAYS, keys.EVENT]] = survival_of(judged, clinical)
    is_transfer = scope != keys.PAN and splits.is_left_out(scope)
    in_scope = (judged[keys.COHORT] == scope) | (scope == keys.PAN)
    usable = rows["label"] != "" if task == keys.CANCER_TYPE else rows[keys.TIME_DAYS].notna()
    rows = rows[(in_scope | is_transfer) & usable].reset_index(drop=True)
    if task == keys.CANCER_TYPE and rows["label"].nunique() < 2:
        raise DataError(
            f"cancer type, scope {scope}: {rows['label'].nunique()} classes of `{label_column}` with enough patients; "
            "a classifier needs 2"
        )
    if task == keys.SURVIVAL and not rows[keys.EVENT].sum() >= splits.n_folds:
        raise DataError(
            f"survival, scope {scope}: {int(rows[keys.EVENT].sum())} events among {len(rows)} patients with usable "
            f"times; at least one a fold is needed ({splits.n_folds})"
        )
    folds = _folds_of(splits, rows, scope, is_transfer)
    return Job(task, scope, rows, folds, splits.sha256)


def _folds_of(splits: Splits, rows: pd.DataFrame, scope: str, is_transfer: bool) -> list[Fold]:
    """Every outer split with its rows; of a cohort that is left out, only those that test it."""
    numbers = splits.judged.set_index(keys.SAMPLE_ID).loc[rows[keys.SAMPLE_ID]]
    is_tested = numbers[keys.COHORT].to_numpy() == scope if is_transfer else np.ones(len(rows), dtype=bool)
    folds = []
    for repeat in range(splits.n_repeats):
        of_rows = numbers[keys.fold_column(repeat)].to_numpy()
        for fold in range(splits.n_folds):
            train, test = np.flatnonzero(of_rows != fold), np.flatnonzero((of_rows == fold) & is_tested)
            name = keys.split_id(repeat, fold)
            if len(test) and len(train):
                folds.append(Fold(repeat, fold, name, train, test))
            elif not is_transfer:
                raise DataError(
                    f"scope {scope}: {name} has {len(test)} patients to test and {len(train)} to learn from; expected "
                    "some of both: use fewer folds, or leave the job out"
                )
    return folds


def embeddings_by_split(
    job: Job, embeddings: Sequence[Embeddings], paths: Sequence[Path]
) -> Mapping[str, npt.NDArray[np.float64]]:
    """Features of the job's rows for each outer split, each from the encoder that may judge it.

    Args:
        job: The job.
        embeddings: One an encoder: either that of every fold (leak-free), or a single one named `all`.
        paths: Where they were read from, for messages.
    Returns:
        `split_id` of a fold to (rows, embedding size).
    Raises:
        DataError: an encoder is missing, is given twice, or was trained under other splits.
    """
    by_split: dict[str, npt.NDArray[np.float64]] = {}
    for embedding, path in zip(embeddings, paths, strict=True):
        if embedding.split_id in by_split:
            raise DataError(f"{path}: second file of split {embedding.split_id!r}; give one file an encoder")
        if embedding.split_sha256 not in ("", job.split_sha256):
            raise DataError(
                f"{path}: its encoder was trained under other splits (sha256 {embedding.split_sha256[:12]}…) than "
                f"these ({job.split_sha256[:12]}…), so it may have seen test patients: pretrain again or use its splits"
            )
        by_split[embedding.split_id] = embedding.rows_of(list(job.rows[keys.SAMPLE_ID]), str(path))
    if set(by_split) == {keys.ALL_SPLIT}:
        return {fold.split_id: by_split[keys.ALL_SPLIT] for fold in job.folds}
    missing = [fold.split_id for fold in job.folds if fold.split_id not in by_split]
    if missing:
        raise DataError(
            f"no embeddings of split {', '.join(missing)} (given: {', '.join(sorted(by_split)) or 'none'}); give one "
            "--embeddings for every fold, or one of an encoder trained on all samples"
        )
    return {fold.split_id: by_split[fold.split_id] for fold in job.folds}
