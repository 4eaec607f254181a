"""Who a sample comes from, and what happened to the patient: one row a patient, in days, with a reason for every gap.

What can be used is decided by `SurvivalPolicy`, the same for portals and for own tables. Two rows of one patient that
disagree on survival make it unusable. Nothing is imputed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.sources.delimited import TextRow, read_cells
from bulkrnabert.data.survival_columns import find_survival_columns, read_survival_values, warn_unless_days
from bulkrnabert.data.survival_endpoints import (
    CONFLICTING_ROWS,
    DEFAULT_POLICY,
    ENDPOINTS,
    NO_SURVIVAL,
    SurvivalPolicy,
    judge_outcome,
    unusable,
)
from bulkrnabert.errors import DataError, join_problems

logger = logging.getLogger(__name__)

SAMPLE_ID_ALIASES = ("sample_id", "sample", "barcode", "sampleid", "sample_barcode", "bcr_sample_barcode", "file_id")
PATIENT_ID_ALIASES = ("patient_id", "patient", "case_id", "bcr_patient_barcode", "submitter_id")
SAMPLE_TYPE_ALIASES = ("sample_type", "sample_type_code")
MISSING_TEXT = frozenset(
    {
        "",
        "na",
        "nan",
        "n/a",
        "#n/a",
        "none",
        "null",
        "[not available]",
        "[not applicable]",
        "[unknown]",
        "[discrepancy]",
    }
)
CONFLICTING_LABEL = "conflicting_label"

TCGA_BARCODE = re.compile(r"^(TCGA-\w{2}-\w{4})(?:-(\d{2})[A-Z]?(?:-.*)?)?$")
# https://gdc.cancer.gov/resources-tcga-users/tcga-code-tables/sample-type-codes
SAMPLE_TYPE_CODES = {
    **dict.fromkeys((1, 2, 3, 4, 5, 8, 9, 40), keys.TUMOR),
    **dict.fromkeys((6, 7), keys.METASTATIC),
    **dict.fromkeys((10, 11, 12, 13, 14, 15, 16), keys.NORMAL),
}
PATIENT_COLUMNS = (
    keys.PATIENT_ID,
    keys.COHORT,
    keys.TIME_DAYS,
    keys.EVENT,
    keys.ENDPOINT,
    keys.ENDPOINT_SOURCE,
    keys.FLAGS,
)


@dataclass(frozen=True)
class SampleInfo:
    """What a clinical table, or the barcode itself, says of one sample.

    Attributes:
        patient_id: The patient; the sample's own id where nothing says whose it is.
        cohort: Cohort of the table; empty where it has none.
        sample_type: `tumor`, `normal`, `metastatic` or `unknown`.
        is_listed: Whether the table has the sample or its patient.
    """

    patient_id: str
    cohort: str
    sample_type: str
    is_listed: bool


@dataclass(frozen=True)
class Clinical:
    """Clinical data, one row a patient.

    Attributes:
        patients: `patient_id, cohort, time_days, event, endpoint, endpoint_source, flags` and label columns. Times in
            days and events (1 = happened) are floats, NaN where unusable; the rest is text.
        samples: What the table says of single samples; empty where it lists patients only.
        repeated_patients: Patients that the table lists on more than one row.
        has_cohorts: Whether a cohort column was read.
        source: Name of the file.
    """

    patients: pd.DataFrame
    samples: Mapping[str, SampleInfo]
    repeated_patients: frozenset[str]
    has_cohorts: bool
    source: str

    @property
    def known_ids(self) -> frozenset[str]:
        """All sample and patient ids of the table."""
        return frozenset(self.samples) | frozenset(self.patients[keys.PATIENT_ID])

    @property
    def cohorts(self) -> frozenset[str]:
        """Cohorts that occur in the table."""
        named = {info.cohort for info in self.samples.values()} | set(self.patients[keys.COHORT])
        return frozenset(named - {""})

    def find(self, sample_id: str) -> SampleInfo:
        """Look a sample up: by its own id, then as a patient id, then by the patient part of a TCGA barcode."""
        listed = self.samples.get(sample_id)
        if listed is not None:
            return listed
        guess = sample_from_barcode(sample_id)
        for patient_id in (sample_id, guess.patient_id):
            cohort = self._cohort_of_patient.get(patient_id)
            if cohort is not None:
                return SampleInfo(patient_id, cohort, guess.sample_type, is_listed=True)
        return guess

    @cached_property
    def _cohort_of_patient(self) -> dict[str, str]:
        return dict(zip(self.patients[keys.PATIENT_ID], self.patients[keys.COHORT], strict=True))


def sample_from_barcode(sample_id: str) -> SampleInfo:
    """What a TCGA barcode says by itself; another id is its own patient, of unknown type."""
    match = TCGA_BARCODE.match(sample_id)
    if match is None:
        return SampleInfo(sample_id, "", keys.UNKNOWN, is_listed=False)
    code = match.group(2)
    sample_type = SAMPLE_TYPE_CODES.get(int(code), keys.UNKNOWN) if code else keys.UNKNOWN
    return SampleInfo(match.group(1), "", sample_type, is_listed=False)


def sample_type_from_text(text: str) -> str:
    """`tumor`, `normal`, `metastatic` or `unknown` from a code (1, 01, 11.0) or words (Primary Tumor, 01A, Normal)."""
    lowered = text.strip().lower()
    match = re.match(r"^(\d{1,2})(?:\.0|[a-z])?$", lowered)
    if match:
        return SAMPLE_TYPE_CODES.get(int(match.group(1)), keys.UNKNOWN)
    if "normal" in lowered:
        return keys.NORMAL
    if "metasta" in lowered:
        return keys.METASTATIC
    if any(word in lowered for word in ("tumor", "tumour", "cancer", "primary", "recurrent")):
        return keys.TUMOR
    return keys.UNKNOWN


def empty_clinical() -> Clinical:
    """No clinical table at all: barcodes speak for themselves."""
    return Clinical(pd.DataFrame(columns=list(PATIENT_COLUMNS)), {}, frozenset(), has_cohorts=False, source="")


def read_clinical_table(
    path: Path, endpoint: str = "OS", cohort_column: str = keys.COHORT, policy: SurvivalPolicy = DEFAULT_POLICY
) -> Clinical:
    """Read a user's clinical table.

    Args:
        path: TSV or CSV with `sample_id` or `patient_id` (or their usual other names), `time_days` and `event` or
            TCGA's `OS`, `OS.time`, `PFI`, …; any other column is kept as a label.
        endpoint: `OS`, `PFI`, `DSS` or `DFI`. With `OS`, a table without it falls back on `time_days` and `event`.
        cohort_column: Column that holds the cohort of a row, if the table has it; empty to ignore cohorts.
        policy: What becomes of odd times.
    Raises:
        DataError: no table, no ids, no such endpoint, or cells that are no time or event; lists all of them.
    """
    return clinical_from_frame(read_text_table(path), path, endpoint, cohort_column, policy)


def clinical_from_frame(
    table: pd.DataFrame, path: Path, endpoint: str, cohort_column: str, policy: SurvivalPolicy = DEFAULT_POLICY
) -> Clinical:
    """The same from a table of text that is in memory, as the `obs` of an `.h5ad` file; `path` is for messages.

    Titles of ids, times, events and cohorts are read in any case.
    """
    table = _with_known_titles(path, table, cohort_column)
    columns = {name.lower(): name for name in table.columns}
    sample_column = _first_of(columns, SAMPLE_ID_ALIASES)
    patient_column = _first_of(columns, PATIENT_ID_ALIASES)
    if sample_column is None and patient_column is None:
        raise DataError(
            f"{path}: expected a column `{keys.SAMPLE_ID}` or `{keys.PATIENT_ID}`, found"
            f" {', '.join(map(repr, table.columns[:12]))}"
        )
    survival = find_survival_columns(path, table, endpoint)
    cohort_name = cohort_column if cohort_column and cohort_column in table else None
    type_column = _first_of(columns, SAMPLE_TYPE_ALIASES)

    if sample_column:
        _refuse_empty(path, table[sample_column], sample_column)
    patient_ids = table[patient_column] if patient_column else pd.Series("", index=table.index)
    if sample_column:
        from_sample = table[sample_column].map(lambda sample_id: sample_from_barcode(sample_id).patient_id)
        patient_ids = patient_ids.where(patient_ids != "", from_sample)
    elif patient_column:
        _refuse_empty(path, patient_ids, patient_column)

    rows = pd.DataFrame({keys.PATIENT_ID: patient_ids})
    rows[keys.COHORT] = table[cohort_name] if cohort_name else ""
    values = read_survival_values(path, table, survival)
    rows[keys.TIME_DAYS], rows[keys.EVENT] = values.time_days, values.event
    taken = {sample_column, patient_column, cohort_name, *SAMPLE_TYPE_ALIASES, survival.time, survival.event}
    labels = _label_columns(path, table, taken)
    source = f"{path.name}: {survival.time}, {survival.event}" if survival.time else ""
    patients = _one_row_a_patient(pd.concat([rows, table[labels]], axis=1), survival.endpoint, source, policy)
    if survival.time:
        warn_unless_days(path, survival.time, patients[keys.TIME_DAYS])
    samples = {}
    if sample_column:
        types = table[type_column].map(sample_type_from_text) if type_column else None
        samples = _sample_map(path, table[sample_column], rows, types)
    repeated = frozenset(patient_ids[patient_ids.duplicated()])
    logger.info(
        "%s: %d rows, %d patients, %d with usable survival (%s), %d events",
        path,
        len(table),
        len(patients),
        int(patients[keys.TIME_DAYS].notna().sum()),
        survival.endpoint or "no endpoint",
        int(patients[keys.EVENT].sum()),
    )
    return Clinical(patients, samples, repeated, has_cohorts=cohort_name is not None, source=path.name)


def _label_columns(path: Path, table: pd.DataFrame, taken: set[str | None]) -> list[str]:
    """Columns that are kept as they are; those whose title has a meaning in `clinical.tsv`, or none, are listed."""
    free = [name for name in table.columns if name not in taken]
    labels = [name for name in free if name.strip() and name not in (*PATIENT_COLUMNS, keys.SAMPLE_ID)]
    left_out = [name for name in free if name not in labels and (table[name] != "").any()]
    if left_out:
        logger.info(
            "%s: %d columns are not kept as labels: %s (a title of clinical.tsv, or none; rename them to keep them)",
            path,
            len(left_out),
            ", ".join(map(repr, left_out)),
        )
    return labels


def read_text_table(path: Path) -> pd.DataFrame:
    """A table of text, a row a line, empty where a cell says in words that it is missing.

    Raises:
        DataError: no rows, a title twice, or a row longer than the header.
    """
    header, *body = read_cells(path)
    if not body:
        raise DataError(f"{path}: a header without rows, expected clinical data")
    titles = header.cells
    problems = [f"column {title!r} stands there twice" for title in sorted({t for t in titles if titles.count(t) > 1})]
    problems += [_too_long(row, len(titles)) for row in body if len(row.cells) > len(titles)]
    if problems:
        raise DataError(join_problems(str(path), problems))
    filled = [row.cells + [""] * (len(titles) - len(row.cells)) for row in body]
    return blank_missing(pd.DataFrame(filled, columns=titles, dtype=str))


def _too_long(row: TextRow, n_columns: int) -> str:
    return f"row {row.number}: {len(row.cells)} cells, but the header has {n_columns} columns"


def _with_known_titles(path: Path, table: pd.DataFrame, cohort_column: str) -> pd.DataFrame:
    """The table with the titles that mean something as they are written here: `Time_Days` becomes `time_days`."""
    survival = [name for endpoint in ENDPOINTS for name in (endpoint, f"{endpoint}.time")]
    known = [keys.TIME_DAYS, keys.EVENT, *survival, *filter(None, [cohort_column])]
    ids = (*SAMPLE_ID_ALIASES, *PATIENT_ID_ALIASES, *SAMPLE_TYPE_ALIASES)
    titles: dict[str, str] = {}
    for name in [*known, *ids]:
        found = [title for title in table.columns if title.lower() == name.lower()]
        if len(found) > 1:
            raise DataError(f"{path}: columns {' and '.join(map(repr, found))} both say `{name}`; keep one")
        if found and name in known:
            titles[found[0]] = name
    return table.rename(columns=titles)


def blank_missing(table: pd.DataFrame) -> pd.DataFrame:
    """Text without blanks around it, and empty where a cell says in words that it is missing."""
    stripped = table.apply(lambda column: column.str.strip())
    blank = stripped.apply(lambda column: column.str.lower().isin(MISSING_TEXT))
    present: pd.DataFrame = stripped.mask(blank, "")
    return present


def _first_of(columns: dict[str, str], aliases: tuple[str, ...]) -> str | None:
    return next((columns[alias] for alias in aliases if alias in columns), None)


def _refuse_empty(path: Path, ids: pd.Series, column: str) -> None:
    if (ids == "").any():
        row = int((ids == "").to_numpy().argmax()) + 2
        raise DataError(f"{path}: row {row} has no `{column}`; give every row its id")


def _one_row_a_patient(rows: pd.DataFrame, endpoint: str, source: str, policy: SurvivalPolicy) -> pd.DataFrame:
    labels = [name for name in rows.columns if name not in PATIENT_COLUMNS]
    records: list[dict[str, object]] = []
    for patient_id, group in rows.drop_duplicates().groupby(keys.PATIENT_ID, sort=True):
        survival = group[[keys.TIME_DAYS, keys.EVENT]].dropna().drop_duplicates().to_numpy(dtype=float)
        if len(survival) > 1:
            outcome = unusable(CONFLICTING_ROWS)
        elif len(survival):
            outcome = judge_outcome(float(survival[0, 0]), float(survival[0, 1]), policy)
        else:
            outcome = unusable(NO_SURVIVAL)
        flags = list(outcome.flags)
        record: dict[str, object] = {keys.PATIENT_ID: patient_id}
        for name in (keys.COHORT, *labels):
            present = sorted(set(group[name]) - {""})
            record[name] = present[0] if len(present) == 1 else ""
            if len(present) > 1:
                flags.append(f"{CONFLICTING_LABEL}:{name}")
        record |= {keys.TIME_DAYS: outcome.time_days, keys.EVENT: outcome.event}
        record |= {keys.ENDPOINT: endpoint, keys.ENDPOINT_SOURCE: source}
        record[keys.FLAGS] = ";".join(flags)
        records.append(record)
    return pd.DataFrame(records, columns=[*PATIENT_COLUMNS, *labels])


def _sample_map(
    path: Path, sample_ids: pd.Series, rows: pd.DataFrame, types: pd.Series | None
) -> dict[str, SampleInfo]:
    samples: dict[str, SampleInfo] = {}
    for row, sample_id in enumerate(sample_ids):
        sample_type = types.iloc[row] if types is not None else keys.UNKNOWN
        if sample_type == keys.UNKNOWN:
            sample_type = sample_from_barcode(sample_id).sample_type
        info = SampleInfo(
            str(rows[keys.PATIENT_ID].iloc[row]), str(rows[keys.COHORT].iloc[row]), sample_type, is_listed=True
        )
        if samples.setdefault(sample_id, info) != info:
            raise DataError(
                f"{path}: sample {sample_id!r} (row {row + 2}) stands there before with another patient, cohort or"
                f" sample type: {_shown(samples[sample_id])} and {_shown(info)}; keep the right row"
            )
    return samples


def _shown(info: SampleInfo) -> str:
    return f"({', '.join(filter(None, (info.patient_id, info.cohort, info.sample_type)))})"
