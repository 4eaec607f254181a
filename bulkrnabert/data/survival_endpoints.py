"""Survival endpoints: when a time and an event are usable, why not if not, and which endpoint suits which cancer."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from bulkrnabert import keys
from bulkrnabert.config import FrozenConfig
from bulkrnabert.provenance import atomic_path

Endpoint = Literal["OS", "PFI", "DSS", "DFI"]
Advice = Literal["recommended", "caution", "not_recommended", "none"]

ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
EVENT_TEXT = {"1": 1.0, "1.0": 1.0, "true": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0}
HALF_DAY = 0.5

# Why a patient is out of survival, worst first: the account gives the first that applies.
NO_CLINICAL_ROW = "no_clinical_row"
REDACTED = "redacted"
NOT_IN_CDR = "not_in_cdr"
CONFLICTING_ROWS = "conflicting_rows"
UNREADABLE_DAYS = "unreadable_days"
UNKNOWN_VITAL_STATUS = "unknown_vital_status"
DEAD_WITHOUT_DAYS = "dead_without_days_to_death"
ALIVE_WITH_DAYS = "alive_with_days_to_death"
NO_FOLLOW_UP = "no_follow_up"
NEGATIVE_TIME = "negative_time"
ZERO_TIME = "zero_time"
NO_SURVIVAL = "no_survival"
WHATEVER_THE_ENDPOINT = (NO_CLINICAL_ROW, REDACTED, NOT_IN_CDR)
EXCLUSION_REASONS = (
    *WHATEVER_THE_ENDPOINT,
    CONFLICTING_ROWS,
    UNREADABLE_DAYS,
    UNKNOWN_VITAL_STATUS,
    DEAD_WITHOUT_DAYS,
    ALIVE_WITH_DAYS,
    NO_FOLLOW_UP,
    NEGATIVE_TIME,
    ZERO_TIME,
    NO_SURVIVAL,
)

# What is worth knowing of a patient who is used.
ZERO_TIME_KEPT = "zero_time_kept"
ZERO_TIME_AS_HALF_DAY = "zero_time_as_half_day"
DEATH_DAY_IGNORED = "days_to_death_ignored"
FOLLOW_UP_AFTER_DEATH = "follow_up_after_death"
DIFFERS_FROM_GDC = "differs_from_gdc"
SURVIVAL_NOTES = (
    ZERO_TIME_KEPT,
    ZERO_TIME_AS_HALF_DAY,
    DEATH_DAY_IGNORED,
    FOLLOW_UP_AFTER_DEATH,
    DIFFERS_FROM_GDC,
)


class SurvivalPolicy(FrozenConfig):
    """What becomes of times that are odd, the same for portals and for own tables.

    A negative time is impossible and always out. Whatever is chosen, each such patient keeps a flag.

    Attributes:
        zero_time: Follow-up of 0 days says nothing about risk, and many models refuse it. `drop` leaves it out,
            `half_day` makes it 0.5 days, `keep` leaves it 0.
        negative_time: Only `drop`.
        alive_with_days_to_death: A patient of the GDC who is alive and has a day of death: `exclude`, or
            `follow_vital_status`, which censors at the last follow-up and ignores the day of death.
    """

    zero_time: Literal["drop", "half_day", "keep"] = "drop"
    negative_time: Literal["drop"] = "drop"
    alive_with_days_to_death: Literal["exclude", "follow_vital_status"] = "exclude"


DEFAULT_POLICY = SurvivalPolicy()


@dataclass(frozen=True)
class Outcome:
    """Follow-up of a patient for one endpoint.

    Attributes:
        time_days: Days to the event or to the end of follow-up; NaN where unusable.
        event: 1 event, 0 censored; NaN where unusable.
        flags: Why it is unusable, or what is worth knowing of it.
    """

    time_days: float
    event: float
    flags: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether there is a time and an event."""
        return not math.isnan(self.time_days)


def unusable(*flags: str) -> Outcome:
    """No time and no event, and why."""
    return Outcome(math.nan, math.nan, flags)


def judge_outcome(time_days: float, event: float, policy: SurvivalPolicy, notes: tuple[str, ...] = ()) -> Outcome:
    """A time and an event as far as the policy lets them be used; NaN for what is missing.

    Args:
        time_days: Days.
        event: 1 or 0.
        policy: What becomes of zero.
        notes: Flags that the patient has in any case.
    """
    if math.isnan(time_days) or math.isnan(event):
        return unusable(*notes, NO_SURVIVAL)
    if time_days < 0:
        return unusable(*notes, NEGATIVE_TIME)
    if time_days > 0:
        return Outcome(time_days, event, notes)
    if policy.zero_time == "drop":
        return unusable(*notes, ZERO_TIME)
    if policy.zero_time == "half_day":
        return Outcome(HALF_DAY, event, (*notes, ZERO_TIME_AS_HALF_DAY))
    return Outcome(0.0, event, (*notes, ZERO_TIME_KEPT))


# In the order OS, PFI, DFI, DSS.
_ADVICE_ORDER: tuple[Endpoint, ...] = ("OS", "PFI", "DFI", "DSS")
_ADVICE_LETTERS: dict[str, Advice] = {"R": "recommended", "C": "caution", "N": "not_recommended", "-": "none"}
_ADVICE_OF = {
    **{"ACC": "RRCR", "BLCA": "RRRR", "BRCA": "CRRC", "CESC": "RRRR", "CHOL": "RRCC", "COAD": "RRRR", "DLBC": "NCNN"},
    **{"ESCA": "RRRR", "GBM": "RRNR", "HNSC": "RRRR", "KICH": "CCNC", "KIRC": "RRCR", "KIRP": "RRRR", "LAML": "R---"},
    **{"LGG": "CRRC", "LIHC": "RRRC", "LUAD": "RRRR", "LUSC": "RRRR", "MESO": "RRNR", "OV": "RRRR", "PAAD": "RRRR"},
    **{"PCPG": "NNNN", "PRAD": "CRRN", "READ": "CRNC", "SARC": "RRRR", "SKCM": "RR-R", "STAD": "RRRR", "TGCT": "NRRN"},
    **{"THCA": "CRRN", "THYM": "NR-N", "UCEC": "RRRR", "UCS": "RRCR", "UVM": "RR-R"},
}
_MERGED_COHORTS = {
    "GBMLGG": ("GBM", "LGG"),
    "COADREAD": ("COAD", "READ"),
    "KIPAN": ("KIRC", "KIRP", "KICH"),
    "STES": ("STAD", "ESCA"),
}
_WORST_LAST: tuple[Advice, ...] = ("recommended", "caution", "not_recommended", "none")


def endpoint_advice(cohort: str, endpoint: str) -> Advice:
    """Whether the TCGA-CDR's authors recommend an endpoint for a cancer type.

    Args:
        cohort: TCGA type or project in any case (`BRCA`, `TCGA-BRCA`), or a merged cohort (`GBMLGG`, `COADREAD`,
            `KIPAN`, `STES`), which takes the worst of its members.
        endpoint: `OS`, `PFI`, `DSS` or `DFI`.
    Returns:
        `none` where the endpoint does not exist for the type, and for every cohort that is not of TCGA.
    Source:
        Liu et al. 2018 (doi 10.1016/j.cell.2018.02.052), Table 3, as transcribed by others. Compared with a second
        transcription for KIRC, READ, LIHC, CHOL, COAD, STAD, ESCA and PAAD only; the rest is not verified against the
        paper: look there before publishing.
    """
    name = cohort.upper().removeprefix("TCGA-")
    found: list[Advice] = [
        _ADVICE_LETTERS[_ADVICE_OF[member][_ADVICE_ORDER.index(endpoint)]]
        for member in _MERGED_COHORTS.get(name, (name,))
        if member in _ADVICE_OF and endpoint in _ADVICE_ORDER
    ]
    return worst_advice(found)


def worst_advice(found: list[Advice]) -> Advice:
    """The one that speaks most against an endpoint; `none` of nothing."""
    return max(found, key=_WORST_LAST.index, default="none")


ACCOUNT_COLUMNS = (
    keys.COHORT,
    keys.ENDPOINT,
    "used",
    keys.ENDPOINT_SOURCE,
    "n_patients",
    "n_usable",
    "n_events",
    "median_follow_up_days",
    "excluded",
    "recommendation",
    "n_differ",
)
EXCLUDED_COLUMNS = (keys.PATIENT_ID, keys.COHORT, keys.ENDPOINT, keys.REASON)


@dataclass(frozen=True)
class SurvivalAccount:
    """Who can be used for which endpoint, and who cannot.

    Attributes:
        cohorts: A row a cohort and endpoint: `cohort, endpoint, used` (1 for the endpoint of `time_days` and `event`),
            `endpoint_source, n_patients, n_usable, n_events, median_follow_up_days` (of the censored; empty without
            any), `excluded` (`reason:count`, joined by `;`), `recommendation` (see `endpoint_advice`), `n_differ`
            (patients whose GDC value differs from the TCGA-CDR's that is used).
        excluded: A row an excluded patient and endpoint: `patient_id, cohort, endpoint, reason`.
    """

    cohorts: pd.DataFrame
    excluded: pd.DataFrame


def survival_account(patients: pd.DataFrame, policy: SurvivalPolicy = DEFAULT_POLICY) -> SurvivalAccount:
    """Count usable patients and events, and name everyone who is out with the reason.

    The endpoint that a run uses is in `time_days` and `event`; others are accounted for where the table has both their
    label columns (`PFI` and `PFI.time`, …) and a value in them.

    Args:
        patients: As in `Clinical.patients` or `clinical.tsv`, a row a patient. Not modified.
        policy: As the table was made with; judges the other endpoints.
    """
    rows: list[dict[str, object]] = []
    excluded: list[dict[str, object]] = []
    for cohort, members in patients.groupby(keys.COHORT, sort=True):
        named = sorted(set(members[keys.ENDPOINT]) - {""})
        others = [name for name in ENDPOINTS if name not in named and _has_values(members, name)]
        for endpoint in [*(named or [""]), *others]:
            is_used = endpoint not in others
            outcomes = _recorded(members) if is_used else _of_labels(members, endpoint, policy)
            reasons = {
                str(patient): _reason(outcome)
                for patient, outcome in zip(members[keys.PATIENT_ID], outcomes, strict=True)
                if not outcome.is_usable
            }
            excluded += [
                {keys.PATIENT_ID: patient, keys.COHORT: cohort, keys.ENDPOINT: endpoint, keys.REASON: reason}
                for patient, reason in sorted(reasons.items())
            ]
            row: dict[str, object] = {keys.COHORT: cohort, keys.ENDPOINT: endpoint, "used": int(is_used)}
            rows.append(row | _counts(members, endpoint, is_used, outcomes, Counter(reasons.values())))
    return SurvivalAccount(
        pd.DataFrame(rows, columns=list(ACCOUNT_COLUMNS)), pd.DataFrame(excluded, columns=list(EXCLUDED_COLUMNS))
    )


def write_survival_account(account: SurvivalAccount, folder: Path) -> None:
    """Write `survival.tsv` and `survival_excluded.tsv`, each atomically."""
    for name, table in ((keys.SURVIVAL_TSV, account.cohorts), (keys.SURVIVAL_EXCLUDED_TSV, account.excluded)):
        with atomic_path(folder / name) as partial:
            table.to_csv(partial, sep="\t", index=False, lineterminator="\n")


def _has_values(members: pd.DataFrame, endpoint: str) -> bool:
    names = [endpoint, f"{endpoint}.time"]
    return set(names) <= set(members.columns) and bool((members[names].fillna("") != "").all(axis=1).any())


def _recorded(members: pd.DataFrame) -> list[Outcome]:
    """What the table says of the endpoint that it uses."""
    times, events = (members[name].astype(float) for name in (keys.TIME_DAYS, keys.EVENT))
    flags = [tuple(str(text).split(";")) for text in members[keys.FLAGS]]
    return [Outcome(*values) for values in zip(times, events, flags, strict=True)]


def _of_labels(members: pd.DataFrame, endpoint: str, policy: SurvivalPolicy) -> list[Outcome]:
    """What label columns say of another endpoint; what rules a patient out altogether goes first."""
    times = pd.to_numeric(members[f"{endpoint}.time"], errors="coerce").astype(float)
    events = members[endpoint].fillna("").astype(str).str.lower().map(EVENT_TEXT).astype(float)
    outcomes = []
    for time_days, event, text in zip(times, events, members[keys.FLAGS], strict=True):
        flags = tuple(flag for flag in str(text).split(";") if flag in WHATEVER_THE_ENDPOINT)
        outcomes.append(unusable(*flags) if flags else judge_outcome(time_days, event, policy))
    return outcomes


def _reason(outcome: Outcome) -> str:
    return next((reason for reason in EXCLUSION_REASONS if reason in outcome.flags), NO_SURVIVAL)


def _counts(
    members: pd.DataFrame, endpoint: str, is_used: bool, outcomes: list[Outcome], reasons: Counter[str]
) -> dict[str, object]:
    usable = [outcome for outcome in outcomes if outcome.is_usable]
    censored = pd.Series([outcome.time_days for outcome in usable if outcome.event == 0], dtype=float)
    flags = [str(text).split(";") for text in members[keys.FLAGS]]
    sources = sorted(set(members[keys.ENDPOINT_SOURCE]) - {""})
    return {
        keys.ENDPOINT_SOURCE: " | ".join(sources) if is_used else "label columns",
        "n_patients": len(members),
        "n_usable": len(usable),
        "n_events": int(sum(outcome.event for outcome in usable)),
        "median_follow_up_days": "" if censored.empty else f"{censored.median():g}",
        "excluded": ";".join(f"{reason}:{reasons[reason]}" for reason in sorted(reasons)),
        "recommendation": worst_advice([endpoint_advice(name, endpoint) for name in _members_of(members)]),
        "n_differ": sum(DIFFERS_FROM_GDC in item for item in flags) if is_used else 0,
    }


def _members_of(members: pd.DataFrame) -> list[str]:
    """Projects of a cohort's patients where they are given, else the cohort."""
    return sorted(set(stratum_projects(members)))


def stratum_projects(members: pd.DataFrame) -> pd.Series:
    """The project of each row where it is given, else its cohort; indexed as `members`."""
    cohorts = members[keys.COHORT].astype(str)
    if keys.PROJECT_ID not in members:
        return cohorts
    projects = members[keys.PROJECT_ID].fillna("").astype(str)
    return projects.where(projects != "", cohorts)
