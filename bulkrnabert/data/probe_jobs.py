"""What the splits allow to probe: `jobs.tsv`, and `skipped.tsv` for what they do not."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.splits import MIN_PATIENTS_PER_FOLD, Splits, labels_of, survival_of


@dataclass(frozen=True)
class ProbeJobs:
    """What will be probed (`jobs.tsv`) and what will not, with the reason (`skipped.tsv`)."""

    jobs: pd.DataFrame
    skipped: pd.DataFrame


def plan_jobs(
    splits: Splits, clinical: pd.DataFrame, label_column: str = keys.COHORT, min_events: int = 10
) -> ProbeJobs:
    """List the probe jobs that these splits allow.

    Cohorts that are left out of training have a survival job each, and there is no classification.

    Args:
        splits: The folds.
        clinical: As `read_clinical` returns it.
        label_column: What the cancer-type job predicts.
        min_events: Fewest events with which a survival job is worth running.
    """
    jobs: list[dict[str, object]] = []
    skipped: list[dict[str, object]] = []
    is_transfer = splits.has_left_out_cohorts
    if is_transfer:
        reason = "whole cohorts are left out of training: their classes cannot be learnt"
        skipped.append({"task": keys.CANCER_TYPE, "scope": keys.PAN, keys.REASON: reason})
    else:
        _plan_classes(splits, clinical, label_column, jobs, skipped)
    _plan_survival(splits, clinical, min_events, is_transfer, jobs, skipped)
    return ProbeJobs(
        pd.DataFrame(jobs, columns=["task", "scope", "label_column", "n_samples", "n_patients", "n_events"]),
        pd.DataFrame(skipped, columns=["task", "scope", keys.REASON]),
    )


def _plan_classes(
    splits: Splits,
    clinical: pd.DataFrame,
    label_column: str,
    jobs: list[dict[str, object]],
    skipped: list[dict[str, object]],
) -> None:
    judged = splits.judged
    labels = labels_of(judged, clinical, label_column, splits.n_parts)
    is_labelled = labels != ""
    n_classes = labels[is_labelled].nunique()
    n_patients = judged.loc[is_labelled, keys.PATIENT_ID].nunique()
    n_left_out = judged[keys.PATIENT_ID].nunique() - n_patients
    if n_classes < 2:
        reason = (
            f"`{label_column}` has {n_classes} classes with at least {MIN_PATIENTS_PER_FOLD} patients a fold; "
            "a classifier needs 2"
        )
        skipped.append({"task": keys.CANCER_TYPE, "scope": keys.PAN, keys.REASON: reason})
        return
    job = {"task": keys.CANCER_TYPE, "scope": keys.PAN, "label_column": label_column}
    jobs.append({**job, "n_samples": int(is_labelled.sum()), "n_patients": n_patients, "n_events": ""})
    if n_left_out:
        reason = f"{n_left_out} patients left out: no `{label_column}`, or one with too few patients"
        skipped.append({"task": keys.CANCER_TYPE, "scope": keys.PAN, keys.REASON: reason})


def _plan_survival(
    splits: Splits,
    clinical: pd.DataFrame,
    min_events: int,
    is_transfer: bool,
    jobs: list[dict[str, object]],
    skipped: list[dict[str, object]],
) -> None:
    judged = splits.judged
    survival = survival_of(judged, clinical)
    is_usable = survival[keys.TIME_DAYS].notna()
    cohorts = sorted(judged[keys.COHORT].unique())
    for scope in [keys.PAN, *cohorts]:
        in_scope = (judged[keys.COHORT] == scope) | (scope == keys.PAN)
        rows = judged[in_scope & is_usable]
        events = survival.loc[rows.index, keys.EVENT]
        patients = rows.drop_duplicates(keys.PATIENT_ID)
        n_events = int(events[patients.index].sum())
        if scope == keys.PAN and len(cohorts) == 1:
            reason = f"one cohort only: see scope {cohorts[0]}"
        elif is_transfer and scope == keys.PAN:
            reason = "whole cohorts are left out of training: see the scope of each"
        elif is_transfer and not splits.is_left_out(scope):
            continue
        elif not len(rows):
            reason = "no patient has a usable survival time and event"
        elif n_events < min_events:
            reason = (
                f"{n_events} events among {len(patients)} patients with usable times; at least {min_events} are needed"
            )
        elif where := _lacking_fold(splits, rows, events, is_transfer):
            reason = where
        else:
            job = {"task": keys.SURVIVAL, "scope": scope, "label_column": ""}
            jobs.append({**job, "n_samples": len(rows), "n_patients": len(patients), "n_events": n_events})
            continue
        skipped.append({"task": keys.SURVIVAL, "scope": scope, keys.REASON: reason})


def _lacking_fold(splits: Splits, rows: pd.DataFrame, events: pd.Series, is_transfer: bool) -> str:
    """Which fold has no one to test, or no event to learn from; empty if none."""
    if is_transfer:
        return ""
    for repeat in range(splits.n_repeats):
        folds = rows[keys.fold_column(repeat)]
        for fold in range(splits.n_folds):
            if not (folds == fold).any():
                return f"{keys.split_id(repeat, fold)} has no patient with usable times to test"
            if not events[folds != fold].sum():
                return f"the training part of {keys.split_id(repeat, fold)} has no event"
    return ""
