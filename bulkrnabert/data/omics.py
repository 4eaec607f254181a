"""Samples of several omics as one list: who has both, who has one, and whose ids do not meet."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JoinedSamples:
    """Samples of any omic, once each, by cohort and sample id.

    Attributes:
        samples: `sample_id, patient_id, cohort`, …, as in the tables that they come from; index 0…n-1.
        rows: By omic: row of each sample in that omic's own list, -1 where the sample does not have it; shape
            (samples,) each.
    """

    samples: pd.DataFrame
    rows: Mapping[str, npt.NDArray[np.int64]]

    @property
    def has(self) -> npt.NDArray[np.bool_]:
        """Who has which omic, shape (samples, omics)."""
        return np.stack([rows >= 0 for rows in self.rows.values()], axis=1)

    @property
    def is_paired(self) -> npt.NDArray[np.bool_]:
        """Who has every omic, shape (samples,)."""
        return np.asarray(self.has.all(axis=1))

    def describe(self) -> str:
        """How many have what, for a reader: pairs, singles, and patients whose ids do not meet."""
        has = self.has
        parts = [f"{int(self.is_paired.sum())} of {len(has)} samples have {' and '.join(self.rows)}"]
        parts += [
            f"{int((has[:, number] & (has.sum(axis=1) == 1)).sum())} {omic} alone"
            for number, omic in enumerate(self.rows)
        ]
        patients = self.samples[keys.PATIENT_ID]
        of_patient = pd.DataFrame(has).groupby(patients.to_numpy()).any().all(axis=1)
        paired = set(patients[self.is_paired])
        n_apart = sum(patient not in paired for patient in of_patient.index[of_patient])
        if n_apart:
            parts.append(
                f"{n_apart} patients have all of them but of no sample in common (`other_vials` in {keys.SUMMARY_JSON})"
            )
        return ", ".join(parts)


def join_samples(by_omic: Mapping[str, pd.DataFrame]) -> JoinedSamples:
    """Put the samples of several omics together by their ids.

    Args:
        by_omic: `sample_id, patient_id, cohort`, …, a row a sample. Not modified.
    Raises:
        DataError: omics that disagree on whose a sample is.
    """
    every = pd.concat(list(by_omic.values()), ignore_index=True)
    whose = every[[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]].drop_duplicates()
    twice = whose[keys.SAMPLE_ID][whose[keys.SAMPLE_ID].duplicated()]
    if len(twice):
        raise DataError(
            f"sample {twice.iloc[0]!r} is of another patient or cohort in {' than in '.join(by_omic)}: preprocess both "
            "in one run"
        )
    samples = every.drop_duplicates(keys.SAMPLE_ID).sort_values([keys.COHORT, keys.SAMPLE_ID], kind="stable")
    samples = samples.reset_index(drop=True)
    ids = pd.Index(samples[keys.SAMPLE_ID])
    rows = {omic: pd.Index(frame[keys.SAMPLE_ID]).get_indexer(ids).astype(np.int64) for omic, frame in by_omic.items()}
    return JoinedSamples(samples, rows)


def require_pairs(joined: JoinedSamples, is_training: npt.NDArray[np.bool_], split_id: str) -> None:
    """Refuse a training part in which no sample has every omic.

    Raises:
        DataError: says how many have what, and what to do.
    """
    if joined.is_paired[is_training].any():
        return
    examples = [
        f"{omic} has {joined.samples[keys.SAMPLE_ID].to_numpy()[rows >= 0][0]!r}"
        for omic, rows in joined.rows.items()
        if (rows >= 0).any()
    ]
    raise DataError(
        f"no training sample of split {split_id} has every one of {', '.join(joined.rows)}, and the model learns from "
        f"samples that do ({joined.describe()}; {', '.join(examples)}): check that the tables name their samples "
        "alike, and that the splits hold both (`split --modality any`)"
    )
