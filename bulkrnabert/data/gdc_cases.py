"""Overall survival from the cases of the GDC, as the portal sends them."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import PATIENT_COLUMNS, Clinical, survival_flags
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

ENDPOINT = "OS"
UNKNOWN_VITAL_STATUS = "unknown_vital_status"
DEAD_WITHOUT_DAYS = "dead_without_days_to_death"
ALIVE_WITH_DAYS = "alive_with_days_to_death"
NO_FOLLOW_UP = "no_follow_up"
FOLLOW_UP_AFTER_DEATH = "follow_up_after_death"


def read_gdc_cases(path: Path) -> Clinical:
    """Read `cases.json` of a raw folder.

    Event: `vital_status` is Dead. Time: `days_to_death` of the dead, else the last of
    `diagnoses.days_to_last_follow_up` (primary disease) and `follow_ups.days_to_follow_up`: releases moved the field to
    and fro. The dead without a day of death, the living with one, those without follow-up, and times below or at zero
    stay out of survival, each with a flag; a follow-up after death is flagged and the death counts.

    Raises:
        DataError: not the cases of the GDC.
    Source:
        GDC data dictionary and release notes 42 and 43 (fields moved).
    """
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(cases, list) or not all(isinstance(case, dict) and case.get("submitter_id") for case in cases):
        raise DataError(f"{path}: expected a list of GDC cases with `submitter_id`; download the project again")
    records = [_patient(case, path.name) for case in cases]
    patients = pd.DataFrame(records, columns=[*PATIENT_COLUMNS, *_LABELS]).sort_values(keys.PATIENT_ID)
    twice = patients[keys.PATIENT_ID].duplicated()
    if twice.any():
        raise DataError(f"{path}: case {patients[keys.PATIENT_ID][twice].iloc[0]} stands there twice; download again")
    logger.info(
        "%s: %d cases, %d with usable survival (OS), %d events",
        path,
        len(patients),
        int(patients[keys.TIME_DAYS].notna().sum()),
        int(patients[keys.EVENT].sum()),
    )
    return Clinical(patients.reset_index(drop=True), {}, frozenset(), has_cohorts=True, source=path.name)


_LABELS = ("sex", "race", "age_at_diagnosis_days", "stage", "diagnosis")


def _patient(case: dict[str, Any], source: str) -> dict[str, object]:
    demographic = case.get("demographic") or {}
    diagnoses = case.get("diagnoses") or []
    marked = [diagnosis for diagnosis in diagnoses if diagnosis.get("diagnosis_is_primary_disease")]
    primary = marked or diagnoses
    death = _number(demographic.get("days_to_death"))
    follow_up = _latest(
        [diagnosis.get("days_to_last_follow_up") for diagnosis in primary]
        + [visit.get("days_to_follow_up") for visit in case.get("follow_ups") or []]
    )
    status = str(demographic.get("vital_status") or "").lower()
    time, event, flags = _overall_survival(status, death, follow_up)
    first = primary[0] if primary else {}
    return {
        keys.PATIENT_ID: str(case["submitter_id"]),
        keys.COHORT: str((case.get("project") or {}).get("project_id") or ""),
        keys.TIME_DAYS: time,
        keys.EVENT: event,
        keys.ENDPOINT: ENDPOINT,
        keys.ENDPOINT_SOURCE: f"{source}: vital_status, days_to_death, follow-up",
        keys.FLAGS: ";".join(flags),
        "sex": _text(demographic.get("sex_at_birth") or demographic.get("gender")),
        "race": _text(demographic.get("race")),
        "age_at_diagnosis_days": _text(first.get("age_at_diagnosis")),
        "stage": _text(first.get("ajcc_pathologic_stage")),
        "diagnosis": _text(first.get("primary_diagnosis")),
    }


def _overall_survival(status: str, death: float, follow_up: float) -> tuple[float, float, list[str]]:
    unusable = math.nan
    if status not in ("alive", "dead"):
        return unusable, unusable, [UNKNOWN_VITAL_STATUS]
    notes = []
    if status == "dead":
        if math.isnan(death):
            return unusable, unusable, [DEAD_WITHOUT_DAYS]
        if follow_up > death:
            notes.append(FOLLOW_UP_AFTER_DEATH)
        time, event = death, 1.0
    else:
        if not math.isnan(death):
            return unusable, unusable, [ALIVE_WITH_DAYS]
        if math.isnan(follow_up):
            return unusable, unusable, [NO_FOLLOW_UP]
        time, event = follow_up, 0.0
    faults = survival_flags(time, event)
    return (unusable, unusable, notes + faults) if faults else (time, event, notes)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _latest(values: list[object]) -> float:
    present = [number for number in map(_number, values) if not math.isnan(number)]
    return max(present, default=math.nan)


def _text(value: object) -> str:
    return "" if value is None else str(value)
