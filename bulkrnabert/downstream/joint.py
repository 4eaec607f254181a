"""Several tasks on one encoder: the union of their samples, with a label of a task where it is usable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import deal_folds
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.errors import ConfigError
from bulkrnabert.train.targets import ClassTarget, CoxTarget, Target

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JointJob:
    """Jobs of one scope that are learnt together.

    Attributes:
        jobs: One a task.
        rows: `sample_id, patient_id` of every sample that a job can use.
        folds: Every outer split as numbers of `rows`.
        places: For each job, the number in `rows` of each of its own rows.
    """

    jobs: tuple[Job, ...]
    rows: pd.DataFrame
    folds: list[Fold]
    places: tuple[IntArray, ...]

    @property
    def split_sha256(self) -> str:
        """Of the `splits.tsv`."""
        return self.jobs[0].split_sha256

    def rows_of_job(self, number: int, rows: IntArray) -> IntArray:
        """Those of some rows that a job can use, as the job's own row numbers."""
        own = np.full(len(self.rows), -1, dtype=np.int64)
        own[self.places[number]] = np.arange(len(self.places[number]))
        return own[rows][own[rows] >= 0]

    def targets(self) -> list[Target]:
        """The labels of all rows, one target a task; empty where the task cannot use the sample."""
        return [self._target(job, places) for job, places in zip(self.jobs, self.places, strict=True)]

    def _target(self, job: Job, places: IntArray) -> Target:
        n_rows = len(self.rows)
        if job.task == keys.CANCER_TYPE:
            class_ids = np.full(n_rows, -1, dtype=np.int64)
            class_ids[places] = job.class_ids
            return ClassTarget(job.task, class_ids, len(job.classes))
        labels = job.survival
        time_days = np.full(n_rows, np.nan)
        event, strata = np.zeros(n_rows, dtype=np.int64), np.zeros(n_rows, dtype=np.int64)
        time_days[places], event[places], strata[places] = labels.time_days, labels.event, labels.strata
        return CoxTarget(job.task, time_days, event, strata)

    def inner_part(self, train: IntArray, fraction: float, seed: int) -> IntArray:
        """Training rows of the patients that decide when to stop, spread over classes, strata and events.

        Args:
            train: Training rows of a fold.
            fraction: Share of their patients.
            seed: Of the draw.
        """
        groups = pd.DataFrame({keys.PATIENT_ID: self.rows[keys.PATIENT_ID].to_numpy()[train]})
        for target in self.targets():
            if isinstance(target, ClassTarget):
                groups["class"] = target.class_ids[train]
            elif isinstance(target, CoxTarget):
                is_known = np.isfinite(target.time_days[train])
                groups["stratum"] = np.where(is_known, target.strata[train], -1)
                groups[keys.EVENT] = np.where(is_known, target.event[train], -1)
        patients = groups.drop_duplicates(keys.PATIENT_ID)
        parts = deal_folds(patients.drop(columns=keys.PATIENT_ID), round(1 / fraction), np.random.default_rng(seed))
        inner = patients[keys.PATIENT_ID][parts == 0]
        return train[groups[keys.PATIENT_ID].isin(inner).to_numpy()]


def join_jobs(jobs: Sequence[Job]) -> JointJob:
    """Put the jobs' samples together.

    Args:
        jobs: One a task, of the same splits and scope.
    Raises:
        ConfigError: a task twice.
    """
    tasks = [job.task for job in jobs]
    if len(set(tasks)) != len(tasks):
        raise ConfigError(f"--task is given as {', '.join(tasks)}: give each task once")
    columns = [keys.SAMPLE_ID, keys.PATIENT_ID]
    rows = pd.concat([job.rows[columns] for job in jobs]).drop_duplicates(keys.SAMPLE_ID).reset_index(drop=True)
    index = pd.Index(rows[keys.SAMPLE_ID])
    places = tuple(index.get_indexer(pd.Index(job.rows[keys.SAMPLE_ID])).astype(np.int64) for job in jobs)
    names = {fold.split_id: (fold.repeat, fold.number) for job in jobs for fold in job.folds}
    folds = []
    for split_id, (repeat, number) in sorted(names.items(), key=lambda item: item[1]):
        parts = [
            (place[fold.train], place[fold.test])
            for job, place in zip(jobs, places, strict=True)
            for fold in job.folds
            if fold.split_id == split_id
        ]
        train, test = (np.unique(np.concatenate(part)).astype(np.int64) for part in zip(*parts, strict=True))
        folds.append(Fold(repeat, number, split_id, train, test))
    return JointJob(tuple(jobs), rows, folds, places)
