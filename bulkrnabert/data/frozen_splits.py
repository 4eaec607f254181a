"""Splits of an earlier run for a study that has grown: who was tested stays tested, and newcomers are dealt out."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import (
    ALWAYS_TRAINING,
    Splits,
    balanced_groups,
    check_cohort_sizes,
    check_samples,
    deal_folds,
    judged_samples,
    splits_of,
)
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


def extend_splits(
    frozen: Splits, samples: pd.DataFrame, clinical: pd.DataFrame, seed: int, label_column: str = keys.COHORT
) -> Splits:
    """The folds of earlier splits, with new patients dealt out to the same folds.

    A patient of the earlier splits keeps the fold of every repeat and the judged sample, where it is still there. New
    patients are balanced in cohort, project, label and event among themselves, so that each is held out once a repeat.

    Args:
        frozen: The earlier splits. Not modified.
        samples: `sample_id, patient_id, cohort, sample_type`, a row a sample, of the study as it is now. Not modified.
        clinical: As `read_clinical` returns it.
        seed: Of the draw for new patients.
        label_column: What the cancer-type job will predict.
    Raises:
        ConfigError: the earlier splits are of the `paper` protocol or leave whole cohorts out.
        DataError: none of the earlier patients is in the study, a fold has none of them left, or a new cohort has fewer
            than two patients a fold.
    """
    if frozen.judged[keys.PATIENT_ID].duplicated().any():
        raise ConfigError("--frozen: splits of --protocol paper judge several samples a patient and are not extended")
    if frozen.has_left_out_cohorts:
        raise ConfigError("--frozen: these splits leave whole cohorts out, so there are no folds to deal newcomers to")
    check_samples(samples)
    known = set(frozen.frame[keys.PATIENT_ID])
    is_known = samples[keys.PATIENT_ID].isin(known)
    if not is_known.any():
        raise DataError(
            f"--frozen: none of its {len(known)} patients is among the {samples[keys.PATIENT_ID].nunique()} of the"
            " cohorts folder: are these splits of this study?"
        )
    judged = _judged(frozen, samples)
    newcomers = judged[~judged[keys.PATIENT_ID].isin(known)].reset_index(drop=True)
    _check_new_cohorts(frozen, samples, newcomers)
    groups = balanced_groups(newcomers, clinical, label_column, frozen.n_parts)
    by_patient = frozen.frame.drop_duplicates(keys.PATIENT_ID).set_index(keys.PATIENT_ID)
    folds_of_patient = []
    for repeat in range(frozen.n_repeats):
        parts = deal_folds(groups, frozen.n_parts, np.random.default_rng([seed, repeat, len(known)]))
        dealt = pd.Series(np.where(parts < frozen.n_folds, parts, ALWAYS_TRAINING), index=newcomers[keys.PATIENT_ID])
        folds_of_patient.append(pd.concat([by_patient[keys.fold_column(repeat)], dealt]))
    extended = splits_of(samples, judged[keys.SAMPLE_ID], folds_of_patient)
    _check_folds(frozen, extended)
    logger.info(
        "%d of %d patients keep their folds, %d are not in the study any more, %d are new",
        len(known & set(samples[keys.PATIENT_ID])),
        len(known),
        len(known - set(samples[keys.PATIENT_ID])),
        samples.loc[~is_known, keys.PATIENT_ID].nunique(),
    )
    return extended


def _judged(frozen: Splits, samples: pd.DataFrame) -> pd.DataFrame:
    """One judged sample a patient: the earlier one where it is still there."""
    kept = samples[samples[keys.SAMPLE_ID].isin(set(frozen.judged[keys.SAMPLE_ID]))]
    others = judged_samples(samples[~samples[keys.PATIENT_ID].isin(set(kept[keys.PATIENT_ID]))])
    return pd.concat([kept, others], ignore_index=True).sort_values(keys.PATIENT_ID).reset_index(drop=True)


def _check_new_cohorts(frozen: Splits, samples: pd.DataFrame, newcomers: pd.DataFrame) -> None:
    new_cohorts = set(samples[keys.COHORT]) - set(frozen.frame[keys.COHORT])
    check_cohort_sizes(
        samples[samples[keys.COHORT].isin(new_cohorts)],
        newcomers[newcomers[keys.COHORT].isin(new_cohorts)],
        frozen.n_parts,
    )


def _check_folds(frozen: Splits, extended: Splits) -> None:
    old = extended.judged[extended.judged[keys.PATIENT_ID].isin(set(frozen.frame[keys.PATIENT_ID]))]
    for repeat in range(frozen.n_repeats):
        left = set(old[keys.fold_column(repeat)])
        empty = [fold for fold in range(frozen.n_folds) if fold not in left]
        if empty:
            raise DataError(
                f"--frozen: no patient of fold {empty[0]} of repeat {repeat} is in the study any more; make new splits"
            )
