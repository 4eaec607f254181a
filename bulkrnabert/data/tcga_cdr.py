"""The TCGA clinical data resource (Liu et al. 2018): four endpoints in days for 11,160 patients, frozen in 2018."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import (
    PATIENT_ID_ALIASES,
    SAMPLE_ID_ALIASES,
    TCGA_BARCODE,
    Clinical,
    blank_missing,
    read_text_table,
    sample_from_barcode,
)
from bulkrnabert.data.sources.tcga_cdr_file import CDR_FILE
from bulkrnabert.data.survival_columns import SurvivalColumns, read_survival_values
from bulkrnabert.data.survival_endpoints import (
    CONFLICTING_ROWS,
    DEFAULT_POLICY,
    DIFFERS_FROM_GDC,
    ENDPOINTS,
    EXCLUSION_REASONS,
    NO_SURVIVAL,
    NOT_IN_CDR,
    REDACTED,
    SURVIVAL_NOTES,
    Outcome,
    SurvivalPolicy,
    judge_outcome,
    unusable,
)
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

CDR_SOURCE = "TCGA-CDR (Liu 2018)"
SHEET = "TCGA-CDR"
PATIENT_TITLES = (*PATIENT_ID_ALIASES, "_patient")
TYPE_TITLES = ("type", keys.COHORT, "cancer type abbreviation")
REDACTION_TITLE = "redaction"
EXACT_DSS_TYPES = ("CESC", "PAAD", "UVM")
DSS_APPROXIMATE = "dss_approximate"
SAME_WITHIN_DAYS = 1.0
N_SHOWN = 5


@dataclass(frozen=True)
class CdrPatient:
    """One patient of the resource.

    Attributes:
        cancer_type: As `BRCA`; empty where the file does not say.
        values: Time in days and event by endpoint, as the file has them; NaN where it has none.
        is_redacted: Whether the row was redacted; its values are not to be used.
        conflicts: Endpoints on which rows of the patient disagree.
    """

    cancer_type: str
    values: Mapping[str, tuple[float, float]]
    is_redacted: bool
    conflicts: frozenset[str]

    def outcome(self, endpoint: str, policy: SurvivalPolicy) -> Outcome:
        """What can be used for an endpoint, with the notes that go with it."""
        if self.is_redacted:
            return unusable(REDACTED)
        if endpoint in self.conflicts:
            return unusable(CONFLICTING_ROWS)
        time_days, event = self.values.get(endpoint, (math.nan, math.nan))
        outcome = judge_outcome(time_days, event, policy)
        if not outcome.is_usable:
            return outcome
        notes = list(outcome.flags)
        if endpoint in ("PFI", "DFI") and self.is_after_os(endpoint):
            notes.append(f"{endpoint.lower()}_after_os")
        if endpoint == "DSS" and self.cancer_type not in EXACT_DSS_TYPES:
            notes.append(DSS_APPROXIMATE)
        return replace(outcome, flags=tuple(notes))

    def is_after_os(self, endpoint: str) -> bool:
        """Whether the time is longer than that of overall survival, which cannot be."""
        nothing = (math.nan, math.nan)
        return self.values.get(endpoint, nothing)[0] > self.values.get("OS", nothing)[0]


@dataclass(frozen=True)
class Cdr:
    """The resource, a patient an id.

    Attributes:
        patients: By patient id (`TCGA-XX-XXXX`).
        endpoints: Those that the file has.
        after_os: Patients whose time is longer than that of overall survival, for `PFI` and `DFI`, sorted.
        source: Name of the file.
    """

    patients: Mapping[str, CdrPatient]
    endpoints: tuple[str, ...]
    after_os: Mapping[str, tuple[str, ...]]
    source: str


def read_cdr(path: Path) -> Cdr:
    """Read the TCGA-CDR.

    Args:
        path: The workbook of the paper (sheet `TCGA-CDR`, with openpyxl installed), the same sheet as CSV or TSV, or a
            table a sample with `OS`, `OS.time`, …, whose rows of one patient are put together.
    Raises:
        DataError: no such table, no ids, no endpoint, or cells that are no time or event.
    """
    table = _read_sheet(path) if path.suffix.lower() in (".xlsx", ".xls") else read_text_table(path)
    titles = {name.lower(): name for name in table.columns}
    endpoints = tuple(name for name in ENDPOINTS if {name, f"{name}.time"} <= set(table.columns))
    patient_ids = _patient_ids(path, table, titles)
    if not endpoints:
        raise DataError(
            f"{path}: none of {', '.join(ENDPOINTS)} with its `.time` column; expected the sheet {SHEET!r} of"
            f" {CDR_FILE.name}, found the columns {', '.join(map(repr, table.columns[:8]))}"
        )
    rows = pd.DataFrame({keys.PATIENT_ID: patient_ids})
    type_title = next((titles[title] for title in TYPE_TITLES if title in titles), None)
    rows["type"] = table[type_title] if type_title else ""
    rows["redacted"] = table[titles[REDACTION_TITLE]] != "" if REDACTION_TITLE in titles else False
    for name in endpoints:
        values = read_survival_values(path, table, SurvivalColumns(name, f"{name}.time", name))
        rows[f"{name}.time"], rows[name] = values.time_days, values.event
    of_patient: defaultdict[str, list[dict[Any, Any]]] = defaultdict(list)
    for row in rows.drop_duplicates().sort_values(keys.PATIENT_ID, kind="stable").to_dict("records"):
        of_patient[row[keys.PATIENT_ID]].append(row)
    patients = {patient_id: _one_patient(group, endpoints) for patient_id, group in of_patient.items()}
    after_os: dict[str, tuple[str, ...]] = {
        name: tuple(key for key, patient in patients.items() if not patient.is_redacted and patient.is_after_os(name))
        for name in ("PFI", "DFI")
        if name in endpoints
    }
    cdr = Cdr(patients, endpoints, after_os, path.name)
    _log_contents(path, cdr)
    return cdr


def _read_sheet(path: Path) -> pd.DataFrame:
    try:
        sheet = pd.read_excel(path, sheet_name=SHEET, dtype=str, keep_default_na=False)
    except ImportError as error:
        raise DataError(
            f"{path}: reading a workbook needs openpyxl, which is not installed: save the sheet {SHEET!r} as CSV or TSV"
            " and give that, or `pip install openpyxl`"
        ) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path}: no workbook with a sheet {SHEET!r}: {error}") from error
    return blank_missing(sheet.fillna("").rename(columns=lambda name: str(name).strip()))


def _patient_ids(path: Path, table: pd.DataFrame, titles: dict[str, str]) -> pd.Series:
    column = next((titles[title] for title in (*PATIENT_TITLES, *SAMPLE_ID_ALIASES) if title in titles), None)
    if column is None:
        raise DataError(
            f"{path}: expected a column `bcr_patient_barcode` or `{keys.PATIENT_ID}`, found"
            f" {', '.join(map(repr, table.columns[:8]))}"
        )
    ids = table[column].map(lambda text: sample_from_barcode(text).patient_id)
    if (ids == "").any():
        raise DataError(f"{path}: row {int((ids == '').to_numpy().argmax()) + 2} has no `{column}`")
    if not ids.map(lambda text: bool(TCGA_BARCODE.match(text))).any():
        raise DataError(f"{path}: `{column}` holds no TCGA barcode (as TCGA-OR-A5J1), found {ids.iloc[0]!r}")
    return ids


def _one_patient(rows: list[dict[Any, Any]], endpoints: tuple[str, ...]) -> CdrPatient:
    values: dict[str, tuple[float, float]] = {}
    conflicts = set()
    for name in endpoints:
        pairs = {(float(row[f"{name}.time"]), float(row[name])) for row in rows}
        said = {pair for pair in pairs if not any(map(math.isnan, pair))} or pairs
        if len({str(pair) for pair in said}) > 1:
            conflicts.add(name)
        values[name] = next(iter(said)) if name not in conflicts else (math.nan, math.nan)
    types = sorted({str(row["type"]) for row in rows} - {""})
    is_redacted = any(bool(row["redacted"]) for row in rows)
    return CdrPatient(types[0] if types else "", values, is_redacted, frozenset(conflicts))


def _log_contents(path: Path, cdr: Cdr) -> None:
    listed = list(cdr.patients.values())
    logger.info(
        "%s: %d patients (%s), %d redacted, %d with rows that disagree",
        path,
        len(listed),
        ", ".join(
            f"{name}: {sum(not math.isnan(sum(patient.values[name])) for patient in listed)}" for name in cdr.endpoints
        ),
        sum(patient.is_redacted for patient in listed),
        sum(bool(patient.conflicts) for patient in listed),
    )
    for name, patient_ids in cdr.after_os.items():
        if patient_ids:
            logger.info(
                "%s: %s lasts longer than OS for %d patients: %s",
                path,
                name,
                len(patient_ids),
                ", ".join(patient_ids),
            )


def apply_cdr(clinical: Clinical, cdr: Cdr, endpoint: str, policy: SurvivalPolicy = DEFAULT_POLICY) -> Clinical:
    """Take an endpoint from the TCGA-CDR in place of what the clinical data have; those are not used any more.

    All endpoints of the resource become the label columns `OS`, `OS.time`, …, as the file has them. With `OS`, the
    earlier values are kept as `gdc_OS` and `gdc_OS.time`, and patients whose status differs, or whose time does by more
    than a day, get the flag `differs_from_gdc`. TCGA patients that the resource does not have are out of survival;
    patients of other programmes keep their overall survival and have no other endpoint.

    Args:
        clinical: Of the GDC. Not modified.
        cdr: The resource.
        endpoint: `OS`, `PFI`, `DSS` or `DFI`.
        policy: What becomes of odd times.
    Raises:
        DataError: the file lacks the endpoint, or has none of the TCGA patients.
    """
    if endpoint not in cdr.endpoints:
        raise DataError(f"{cdr.source}: has {', '.join(cdr.endpoints)}, not {endpoint}; choose another --endpoint")
    patient_ids = clinical.patients[keys.PATIENT_ID].astype(str)
    is_tcga = patient_ids.map(lambda text: bool(TCGA_BARCODE.match(text)))
    if is_tcga.any() and not patient_ids[is_tcga].isin(list(cdr.patients)).any():
        raise DataError(
            f"{cdr.source}: has none of the {int(is_tcga.sum())} TCGA patients of {clinical.source}, as"
            f" {patient_ids[is_tcga].iloc[0]}; expected {CDR_FILE.name} or a part of it"
        )
    records = [
        _applied(record, cdr, endpoint, policy) if of_tcga else _left(record, endpoint)
        for record, of_tcga in zip(clinical.patients.to_dict("records"), is_tcga, strict=True)
    ]
    titles = [title for name in cdr.endpoints for title in (name, f"{name}.time")]
    titles += ["gdc_OS", "gdc_OS.time"] if endpoint == "OS" else []
    columns = [*clinical.patients.columns, *(title for title in titles if title not in clinical.patients.columns)]
    patients = pd.DataFrame(records, columns=columns)
    patients[titles] = patients[titles].fillna("")
    _log_use(clinical, patients, cdr, endpoint, is_tcga)
    return replace(clinical, patients=patients)


def _applied(own: dict[Any, Any], cdr: Cdr, endpoint: str, policy: SurvivalPolicy) -> dict[Any, Any]:
    listed = cdr.patients.get(own[keys.PATIENT_ID])
    outcome = listed.outcome(endpoint, policy) if listed else unusable(NOT_IN_CDR)
    kept = [
        flag
        for flag in str(own[keys.FLAGS]).split(";")
        if flag and flag not in EXCLUSION_REASONS and flag not in SURVIVAL_NOTES
    ]
    flags = [*outcome.flags, *kept]
    labels: dict[str, str] = {}
    if endpoint == "OS":
        labels = {"gdc_OS": _text(own[keys.EVENT]), "gdc_OS.time": _text(own[keys.TIME_DAYS])}
        if _differs(own, outcome):
            flags.append(DIFFERS_FROM_GDC)
    for name in cdr.endpoints:
        time_days, event = listed.values[name] if listed and not listed.is_redacted else (math.nan, math.nan)
        labels |= {name: _text(event), f"{name}.time": _text(time_days)}
    return (
        own
        | labels
        | {
            keys.TIME_DAYS: outcome.time_days,
            keys.EVENT: outcome.event,
            keys.ENDPOINT: endpoint,
            keys.ENDPOINT_SOURCE: CDR_SOURCE,
            keys.FLAGS: ";".join(flags),
        }
    )


def _left(own: dict[Any, Any], endpoint: str) -> dict[Any, Any]:
    """A patient of another programme: its own overall survival, and no other endpoint."""
    if endpoint == own[keys.ENDPOINT]:
        return own
    return own | {
        keys.TIME_DAYS: math.nan,
        keys.EVENT: math.nan,
        keys.ENDPOINT: endpoint,
        keys.ENDPOINT_SOURCE: "",
        keys.FLAGS: NO_SURVIVAL,
    }


def _differs(own: dict[Any, Any], outcome: Outcome) -> bool:
    """Whether both sources have a usable value, and not the same."""
    event, time_days = own[keys.EVENT], own[keys.TIME_DAYS]
    if math.isnan(time_days) or not outcome.is_usable:
        return False
    return bool(event != outcome.event or abs(time_days - outcome.time_days) > SAME_WITHIN_DAYS)


def _text(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.10g}"


def _log_use(clinical: Clinical, patients: pd.DataFrame, cdr: Cdr, endpoint: str, is_tcga: pd.Series) -> None:
    usable = patients[keys.TIME_DAYS].notna() & is_tcga
    logger.info(
        "%s: %s of %d of %d TCGA patients is taken from the %s, which is used in place of %s",
        cdr.source,
        endpoint,
        int(usable.sum()),
        int(is_tcga.sum()),
        CDR_SOURCE,
        clinical.source,
    )
    if endpoint != "OS":
        return
    before = clinical.patients[keys.TIME_DAYS].notna() & is_tcga
    differs = patients[keys.FLAGS].str.split(";").map(lambda flags: DIFFERS_FROM_GDC in flags)
    shown = ", ".join(patients.loc[differs, keys.PATIENT_ID].astype(str).head(N_SHOWN))
    logger.info(
        "%s: OS differs from %s (status, or time by more than a day) for %d of %d patients that have both%s; %d have it"
        " here only, %d there only",
        cdr.source,
        clinical.source,
        int(differs.sum()),
        int((usable & before).sum()),
        f", as {shown} (flag {DIFFERS_FROM_GDC})" if shown else "",
        int((usable & ~before).sum()),
        int((before & ~usable).sum()),
    )
