"""Overall survival from the cases of the GDC, as the portal sends them."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.clinical import MISSING_TEXT, PATIENT_COLUMNS, Clinical
from bulkrnabert.data.survival_endpoints import (
    ALIVE_WITH_DAYS,
    DEAD_WITHOUT_DAYS,
    DEATH_DAY_IGNORED,
    DEFAULT_POLICY,
    FOLLOW_UP_AFTER_DEATH,
    NO_FOLLOW_UP,
    UNKNOWN_VITAL_STATUS,
    UNREADABLE_DAYS,
    Outcome,
    SurvivalPolicy,
    judge_outcome,
    unusable,
)
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

ENDPOINT = "OS"
NOT_SAID = MISSING_TEXT | {"'--", "--", "not reported", "not applicable", "unknown"}


def read_gdc_cases(path: Path, policy: SurvivalPolicy = DEFAULT_POLICY) -> Clinical:
    """Read `cases.json` of a raw folder.

    Event: `vital_status` is Dead. Time: `days_to_death` of the dead, else the last of
    `diagnoses.days_to_last_follow_up` (primary disease) and `follow_ups.days_to_follow_up`: releases moved the field to
    and fro. The dead without a day of death, those of unknown status or without follow-up, and times that the policy
    does not take stay out of survival, each with a flag; a follow-up after death is flagged and the death counts. Days
    may be written as numbers or as text of a number; other text puts the patient out with the flag `unreadable_days`.
    The project is kept as the label `project_id`.

    Args:
        path: A list of cases with `demographic`, `diagnoses`, `follow_ups` and `project`, as the portal sent them.
        policy: What becomes of odd times, and of the living with a day of death.
    Raises:
        DataError: not the cases of the GDC.
    Source:
        GDC data dictionary and release notes 42 and 43 (fields moved), API 8.5 (`sex_at_birth` for `gender`). Records
        of 2017 have status and day of death in `diagnoses`; they are read where `demographic` has none.
    """
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(cases, list) or not all(isinstance(case, dict) and case.get("submitter_id") for case in cases):
        raise DataError(f"{path}: expected a list of GDC cases with `submitter_id`; download the project again")
    records = [_patient(case, path.name, policy) for case in cases]
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


_LABELS = (keys.PROJECT_ID, "sex", "race", "age_at_diagnosis_days", "stage", "diagnosis")


@dataclass(frozen=True)
class _Course:
    """What a case says: status in lower case, days (NaN: not said), and whether every number of days is one."""

    status: str
    death: float
    follow_up: float
    is_readable: bool


def _patient(case: dict[str, Any], source: str, policy: SurvivalPolicy) -> dict[str, object]:
    demographic = case.get("demographic") or {}
    primary = _primary_diagnoses(case)
    outcome = _overall_survival(_course(case, primary), policy)
    first = primary[0] if primary else {}
    project = str((case.get("project") or {}).get("project_id") or "")
    return {
        keys.PATIENT_ID: str(case["submitter_id"]),
        keys.COHORT: project,
        keys.TIME_DAYS: outcome.time_days,
        keys.EVENT: outcome.event,
        keys.ENDPOINT: ENDPOINT,
        keys.ENDPOINT_SOURCE: f"{source}: vital_status, days_to_death, follow-up",
        keys.FLAGS: ";".join(outcome.flags),
        keys.PROJECT_ID: project,
        "sex": _text(demographic.get("sex_at_birth") or demographic.get("gender")),
        "race": _text(demographic.get("race")),
        "age_at_diagnosis_days": _text(first.get("age_at_diagnosis")),
        "stage": _text(first.get("ajcc_pathologic_stage") or first.get("tumor_stage")),
        "diagnosis": _text(first.get("primary_diagnosis")),
    }


def _primary_diagnoses(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Diagnoses marked as the primary disease; without any such mark, those that are not marked as another one."""
    diagnoses = _entries(case, "diagnoses")
    marks = [str(diagnosis.get("diagnosis_is_primary_disease")).lower() for diagnosis in diagnoses]
    wanted = "true" if "true" in marks else "none"
    return [diagnosis for diagnosis, mark in zip(diagnoses, marks, strict=True) if mark == wanted]


def _entries(case: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [entry for entry in case.get(name) or [] if isinstance(entry, dict)]


def _course(case: dict[str, Any], primary: list[dict[str, Any]]) -> _Course:
    places = [case.get("demographic") or {}, *primary]
    status = next((str(place["vital_status"]) for place in places if place.get("vital_status")), "")
    deaths = [_days(place.get("days_to_death")) for place in places]
    follow_ups = [_days(diagnosis.get("days_to_last_follow_up")) for diagnosis in primary]
    follow_ups += [_days(visit.get("days_to_follow_up")) for visit in _entries(case, "follow_ups")]
    said = [days for days in deaths if days is not None and not math.isnan(days)]
    visits = [days for days in follow_ups if days is not None and not math.isnan(days)]
    return _Course(
        status.strip().lower(),
        said[0] if said else math.nan,
        max(visits, default=math.nan),
        is_readable=None not in [*deaths, *follow_ups],
    )


def _overall_survival(course: _Course, policy: SurvivalPolicy) -> Outcome:
    if course.status not in ("alive", "dead"):
        return unusable(UNKNOWN_VITAL_STATUS)
    if not course.is_readable:
        return unusable(UNREADABLE_DAYS)
    if course.status == "dead":
        if math.isnan(course.death):
            return unusable(DEAD_WITHOUT_DAYS)
        notes = (FOLLOW_UP_AFTER_DEATH,) if course.follow_up > course.death else ()
        return judge_outcome(course.death, 1.0, policy, notes)
    is_conflict = not math.isnan(course.death)
    if is_conflict and policy.alive_with_days_to_death == "exclude":
        return unusable(ALIVE_WITH_DAYS)
    if math.isnan(course.follow_up):
        return unusable(NO_FOLLOW_UP)
    return judge_outcome(course.follow_up, 0.0, policy, (DEATH_DAY_IGNORED,) if is_conflict else ())


def _days(value: object) -> float | None:
    """A number of days, NaN where nothing is said, None where what is said is no number."""
    if value is None or str(value).strip().lower() in NOT_SAID:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        days = float(value)
    except ValueError:
        return None
    return days if math.isfinite(days) else None


def _text(value: object) -> str:
    return "" if value is None else str(value)
