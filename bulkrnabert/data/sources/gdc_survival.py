"""Kaplan-Meier curves as the GDC's `/analysis/survival` answers them; used by the stand-in portal."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from bulkrnabert.data.sources.gdc_filters import Json


def survival_answer(groups: Sequence[Sequence[Json]]) -> Json:
    """One curve for each group of cases, and the log-rank p-value of two.

    Overall survival of the cases that are alive or dead and have a time: days to death, or to the last follow-up of any
    diagnosis or visit. Times below zero are kept, as the portal does.

    Args:
        groups: Cases of each curve, as `/cases` has them.
    Source:
        GDC API, Data Analysis: `survivalEstimate` is the value of the curve just before the time.
    """
    curves = [_donors(cases) for cases in groups]
    results = [{"meta": {"id": number}, "donors": donors} for number, donors in enumerate(curves, start=1)]
    overall = {}
    if len(curves) == 2 and all(any(not donor["censored"] for donor in curve) for curve in curves):
        tested = stats.logrank(*(_censored(curve) for curve in curves))
        overall["pValue"] = float(tested.pvalue)
    return {"results": results, "overallStats": overall}


def _donors(cases: Sequence[Json]) -> list[Json]:
    donors = []
    for case in cases:
        demographic = case.get("demographic") or {}
        is_dead = demographic.get("vital_status") == "Dead"
        times = [demographic.get("days_to_death")]
        if not is_dead:
            times = [diagnosis.get("days_to_last_follow_up") for diagnosis in case.get("diagnoses") or []]
            times += [visit.get("days_to_follow_up") for visit in case.get("follow_ups") or []]
        known = [float(time) for time in times if time is not None]
        if known and demographic.get("vital_status") in ("Alive", "Dead"):
            donors.append(
                {
                    "time": max(known),
                    "censored": not is_dead,
                    "survivalEstimate": 1.0,
                    "id": case["case_id"],
                    "submitter_id": case["submitter_id"],
                    "project_id": case["project"]["project_id"],
                }
            )
    donors.sort(key=lambda donor: (donor["time"], donor["submitter_id"]))
    if donors:
        curve = stats.ecdf(_censored(donors)).sf
        before = dict(zip(curve.quantiles.tolist(), [1.0, *curve.probabilities.tolist()], strict=False))
        for donor in donors:
            donor["survivalEstimate"] = float(before[donor["time"]])
    return donors


def _censored(donors: Sequence[Json]) -> stats.CensoredData:
    dead = [donor["time"] for donor in donors if not donor["censored"]]
    return stats.CensoredData(uncensored=dead, right=[donor["time"] for donor in donors if donor["censored"]])
