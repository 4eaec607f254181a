"""Splits that are no cross-validation: the papers' repeated hold-out, and cohorts left out of training."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import (
    JUDGED_PREFERENCE,
    Splits,
    balanced_groups,
    check_cohort_sizes,
    check_samples,
    deal_folds,
    judged_samples,
    splits_of,
)
from bulkrnabert.errors import ConfigError, DataError, join_problems

logger = logging.getLogger(__name__)

PAPER_PREFERENCE = {**JUDGED_PREFERENCE, keys.NORMAL: len(JUDGED_PREFERENCE)}
MIN_PATIENTS_LEFT_OUT = 2


def make_paper_splits(
    samples: pd.DataFrame,
    clinical: pd.DataFrame,
    n_parts: int,
    n_repeats: int,
    seed: int,
    label_column: str = keys.COHORT,
) -> Splits:
    """Draw the papers' repeated hold-out: one part of the patients is the test part, and every sample is judged.

    The label and the follow-up of a normal sample are its patient's, as in the papers. Cell lines, and cohorts of
    normal tissue alone, are always in training and never judged.

    Args:
        samples: `sample_id, patient_id, cohort, sample_type`, a row a sample. Not modified.
        clinical: As `read_clinical` returns it. Not modified.
        n_parts: 5 holds out a fifth of the patients.
        n_repeats: How often the test part is drawn anew.
        seed: Same seed and same patients, same test parts, whatever the order of the rows.
        label_column: What the cancer-type job will predict.
    Returns:
        Splits with one fold a repeat: 0 for the patients of the test part, -1 for the others.
    Raises:
        DataError: a sample twice, or a cohort with fewer than two tumours a part (names each).
        ConfigError: `n_parts`, `n_repeats` or `label_column` is no good.
    Source:
        BulkRNABert, section 3.2 (80/20, 5 seeds, stratified by class, patients disjoint). Differs: also spread evenly
        over projects and events.
    """
    if n_parts < 2 or n_repeats < 1:
        raise ConfigError(f"--folds is {n_parts} and --repeats {n_repeats}: expected at least 2 folds and 1 repeat")
    check_samples(samples)
    tumours = judged_samples(samples)
    check_cohort_sizes(samples, tumours, n_parts)
    in_scope = samples[samples[keys.COHORT].isin(tumours[keys.COHORT])]
    patients = judged_samples(in_scope, PAPER_PREFERENCE)
    groups = balanced_groups(patients, clinical, label_column, n_parts)
    tested = []
    for repeat in range(n_repeats):
        dealt = deal_folds(groups, n_parts, np.random.default_rng([seed, repeat]))
        tested.append(pd.Series(0, index=patients.loc[dealt == 0, keys.PATIENT_ID]))
    judged = in_scope.loc[in_scope[keys.SAMPLE_TYPE].isin(PAPER_PREFERENCE), keys.SAMPLE_ID]
    n_normal = int((in_scope[keys.SAMPLE_TYPE] == keys.NORMAL).sum())
    logger.info("%d samples are judged, %d of them normal tissue", len(judged), n_normal)
    return splits_of(samples, judged, tested)


def leave_cohorts_out(samples: pd.DataFrame, cohorts: Sequence[str]) -> Splits:
    """Hold out whole cohorts: each is a fold of its own, tested by what all the others taught.

    Args:
        samples: `sample_id, patient_id, cohort, sample_type`, a row a sample. Not modified.
        cohorts: The cohorts, each the test part of one fold, in this order.
    Returns:
        Splits with one repeat and a fold a cohort; -1 for the patients of the other cohorts.
    Raises:
        ConfigError: no such cohort, one twice, or none remains to learn from.
        DataError: a sample twice, a cohort with fewer than two patients that can be judged, or a patient in two
            cohorts of which one is left out.
    """
    check_samples(samples)
    known = sorted(samples[keys.COHORT].unique())
    problems = [f"there is no cohort {name!r}" for name in cohorts if name not in known]
    problems += [f"cohort {name!r} is given twice" for name in sorted(set(cohorts)) if list(cohorts).count(name) > 1]
    if len(known) < 2:
        problems.append("one cohort only: none would remain to learn from")
    if problems:
        raise ConfigError(join_problems(f"cannot leave out (cohorts: {', '.join(known)})", problems))
    is_left_out = samples[keys.COHORT].isin(cohorts)
    n_cohorts = samples.groupby(keys.PATIENT_ID)[keys.COHORT].nunique()
    torn = sorted(set(samples.loc[is_left_out, keys.PATIENT_ID]) & set(n_cohorts.index[n_cohorts > 1]))
    if torn:
        raise DataError(
            f"patient {torn[0]!r} (and {len(torn) - 1} more) of a cohort that is left out is in another cohort too: a "
            "cohort can be left out only if its patients are in no other"
        )
    judged = judged_samples(samples)
    fold_of = {name: number for number, name in enumerate(cohorts)}
    tested = judged[judged[keys.COHORT].isin(fold_of)]
    n_patients = tested[keys.COHORT].value_counts()
    small = [
        f"cohort {name!r} has {n_patients.get(name, 0)} patients that can be judged, at least {MIN_PATIENTS_LEFT_OUT} "
        "are needed"
        for name in cohorts
        if n_patients.get(name, 0) < MIN_PATIENTS_LEFT_OUT
    ]
    if small:
        raise DataError(join_problems("cannot leave out", small))
    folds = pd.Series(tested[keys.COHORT].map(fold_of).to_numpy(), index=tested[keys.PATIENT_ID])
    # Patients of the cohort that cannot be judged (normal tissue only) must not be learnt from either.
    others = samples[samples[keys.COHORT].isin(fold_of) & ~samples[keys.PATIENT_ID].isin(folds.index)]
    of_others = others.drop_duplicates(keys.PATIENT_ID).set_index(keys.PATIENT_ID)[keys.COHORT].map(fold_of)
    return splits_of(samples, judged[keys.SAMPLE_ID], [pd.concat([folds, of_others])])
