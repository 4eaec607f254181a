"""What a cohorts folder says of itself: a row a patient, who has both modalities, and the counts of `summary.json`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import CONFLICTING_LABEL, PATIENT_COLUMNS
from bulkrnabert.data.cohort_source import Rejected, Source
from bulkrnabert.data.survival_endpoints import CONFLICTING_ROWS, NO_CLINICAL_ROW

SEVERAL_COHORTS = "several_cohorts"
MODALITY = "modality"


def patient_table(sources: Sequence[Source], kept: pd.DataFrame) -> pd.DataFrame:
    """One row for each patient with a sample, sorted; those without a clinical row get a flag.

    Where several sources know a patient, a usable outcome goes before none, two different ones make it unusable, and
    labels fill each other's gaps; a label on which they disagree is empty.

    Args:
        sources: All of the run.
        kept: Samples that were written.
    """
    tables = [source.clinical.patients for source in sources if not source.clinical.patients.empty]
    # Both modalities of a project come with the same cases.
    known = pd.concat(tables, ignore_index=True).drop_duplicates() if tables else pd.DataFrame(columns=PATIENT_COLUMNS)
    labels = [name for name in known.columns if name not in PATIENT_COLUMNS]
    has_projects = keys.PROJECT_ID in labels or bool((kept[keys.PROJECT_ID] != "").any())
    of_patient = dict(iter(known.groupby(keys.PATIENT_ID)))
    records = []
    for patient_id, samples in kept.groupby(keys.PATIENT_ID, sort=True):
        rows = of_patient.get(patient_id)
        record: dict[Any, Any] = {keys.TIME_DAYS: np.nan, keys.EVENT: np.nan, keys.FLAGS: NO_CLINICAL_ROW}
        if rows is not None:
            record = rows.iloc[0].to_dict() if len(rows) == 1 else _combined(rows, labels)
        flags = [flag for flag in str(record[keys.FLAGS]).split(";") if flag]
        cohorts = sorted(set(samples[keys.COHORT]))
        if len(cohorts) > 1:
            flags.append(SEVERAL_COHORTS)
        projects = sorted(set(samples[keys.PROJECT_ID]) - {""})
        if not record.get(keys.PROJECT_ID) and len(projects) == 1:
            record[keys.PROJECT_ID] = projects[0]
        record |= {keys.PATIENT_ID: patient_id, keys.COHORT: cohorts[0], keys.FLAGS: ";".join(flags)}
        records.append(record)
    columns = [*PATIENT_COLUMNS, *labels]
    if has_projects and keys.PROJECT_ID not in labels:
        columns.append(keys.PROJECT_ID)
    table = pd.DataFrame(records, columns=columns)
    text = [name for name in table.columns if name not in (keys.TIME_DAYS, keys.EVENT)]
    table[text] = table[text].fillna("")
    return table


def _combined(rows: pd.DataFrame, labels: Sequence[str]) -> dict[Any, Any]:
    """What several clinical rows say of a patient."""
    usable = rows[rows[keys.TIME_DAYS].notna() & rows[keys.EVENT].notna()]
    record: dict[Any, Any] = (usable if len(usable) else rows).iloc[0].to_dict()
    flags = [flag for flag in str(record[keys.FLAGS]).split(";") if flag]
    if len(usable[[keys.TIME_DAYS, keys.EVENT]].drop_duplicates()) > 1:
        record |= {keys.TIME_DAYS: np.nan, keys.EVENT: np.nan}
        flags.append(CONFLICTING_ROWS)
    for name in labels:
        said = sorted(set(rows[name].fillna("").astype(str)) - {""})
        record[name] = said[0] if len(said) == 1 else ""
        if len(said) > 1:
            flags.append(f"{CONFLICTING_LABEL}:{name}")
    record[keys.FLAGS] = ";".join(flags)
    return record


def write_patients(patients: pd.DataFrame, path: Path) -> None:
    """Write `clinical.tsv`; what is unusable is empty."""
    table = patients.copy()
    for name in (keys.TIME_DAYS, keys.EVENT):
        table[name] = [f"{value:.10g}" if np.isfinite(value) else "" for value in table[name].astype(float)]
    table.to_csv(path, sep="\t", index=False, lineterminator="\n")


def pair_account(kept: pd.DataFrame) -> list[dict[str, Any]]:
    """Who has both modalities, a cohort each; nothing where the run has one modality only.

    Samples are paired by their id, which for TCGA names the vial. `other_vials` lists patients who have both
    modalities, but from no sample in common.

    Args:
        kept: Samples that were written, a row a sample and modality.
    """
    if kept[MODALITY].nunique() < 2:
        return []
    pairs = []
    for cohort, members in kept.groupby(keys.COHORT, sort=True):
        ids = {modality: set(rows[keys.SAMPLE_ID]) for modality, rows in members.groupby(MODALITY)}
        rnaseq, methylation = ids.get(keys.RNASEQ, set()), ids.get(keys.METHYLATION, set())
        paired = members[members[keys.SAMPLE_ID].isin(rnaseq & methylation)]
        paired_patients = set(paired[keys.PATIENT_ID])
        others = []
        for patient_id, rows in members.groupby(keys.PATIENT_ID, sort=True):
            by_modality = {name: sorted(part[keys.SAMPLE_ID]) for name, part in rows.groupby(MODALITY)}
            if len(by_modality) > 1 and patient_id not in paired_patients:
                others.append({keys.PATIENT_ID: str(patient_id), **by_modality})
        pairs.append(
            {
                "cohort": cohort,
                "n_paired_samples": len(rnaseq & methylation),
                "n_paired_patients": len(paired_patients),
                "n_rnaseq_only": len(rnaseq - methylation),
                "n_methylation_only": len(methylation - rnaseq),
                "other_vials": others,
            }
        )
    return pairs


def cohort_rows(sources: Sequence[Source], kept: pd.DataFrame, patients: pd.DataFrame) -> list[dict[str, Any]]:
    """The cohorts of `summary.json`; a sample that has both modalities counts once.

    Args:
        sources: All of the run.
        kept: Samples that were written, a row a sample and modality.
        patients: From `patient_table`.
    """
    units: defaultdict[str, set[str]] = defaultdict(set)
    for source in sources:
        units[source.label].add(str(source.unit))
    rows = []
    for cohort, members in kept.groupby(keys.COHORT, sort=True):
        samples = members.drop_duplicates(keys.SAMPLE_ID)
        own = patients[patients[keys.PATIENT_ID].isin(samples[keys.PATIENT_ID])]
        types = Counter(samples[keys.SAMPLE_TYPE])
        labels = sorted(set(members[keys.SOURCE]))
        rows.append(
            {
                "cohort": cohort,
                "source": ", ".join(labels),
                "unit": ", ".join(sorted(set.union(*(units[label] for label in labels)))),
                "n_samples": len(samples),
                "n_patients": len(own),
                "n_tumor": types[keys.TUMOR],
                "n_normal": types[keys.NORMAL],
                "n_with_survival": int(own[keys.TIME_DAYS].notna().sum()),
                "n_events": int(own[keys.EVENT].sum()),
                "endpoint": ", ".join(sorted(set(own[keys.ENDPOINT]) - {""})),
            }
        )
    return rows


def rejected_rows(rejected: Sequence[Rejected]) -> list[dict[str, Any]]:
    """How many samples of each cohort each rule left out."""
    counts = Counter((item.cohort, item.rule) for item in rejected)
    return [{"cohort": cohort, "rule": rule, "n": n} for (cohort, rule), n in sorted(counts.items())]
