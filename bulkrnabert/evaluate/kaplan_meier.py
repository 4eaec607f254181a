"""Kaplan-Meier curves of low, middle and high predicted risk."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys

FloatArray = npt.NDArray[np.float64]

GROUPS = ("low risk", "middle risk", "high risk")
TICK_STEPS_DAYS = (30.0, 91.0, 182.5, 365.25, 730.5, 1826.25, 3652.5)
N_TICKS = 6


def risk_tertiles(rows: pd.DataFrame) -> npt.NDArray[np.int64] | None:
    """Tertile of each patient among those of its stratum that one model judged.

    Within fold, because only risks of one model are compared; within cohort (and project, in a merged cohort), so that
    the curves do not show the cancer type.

    Args:
        rows: `fold, stratum, risk`, a row a patient. Not modified.
    Returns:
        0, 1 or 2, shape (patients,); None if the risks of no stratum differ, so that there are no groups to show.
    """
    by_model = rows.groupby(["fold", keys.STRATUM])["risk"]
    share = (by_model.rank(method="average") - 0.5) / by_model.transform("size")
    tertile = np.minimum((share.to_numpy() * len(GROUPS)).astype(np.int64), len(GROUPS) - 1)
    return tertile if len(np.unique(tertile)) == len(GROUPS) else None


def tick_times(longest_days: float) -> list[float]:
    """About six round times from 0, in days."""
    step = next((step for step in TICK_STEPS_DAYS if longest_days / step < N_TICKS), TICK_STEPS_DAYS[-1])
    return [float(tick) for tick in np.arange(0.0, longest_days, step)]


def kaplan_meier(rows: pd.DataFrame, scope: str, method: str, endpoint: str) -> dict[str, Any] | None:
    """Curves of the risk tertiles, as `metrics.json` holds them.

    Args:
        rows: Predictions of one method and repeat: `fold, stratum, risk, time_days, event`. Not modified.
        scope: `pan` or a cohort.
        method: Name that a reader sees.
        endpoint: As OS; may be empty.
    Returns:
        Curves with 95 % bands (log-log), numbers at risk and the log-rank p value; None without three groups.
    """
    from sksurv.compare import compare_survival
    from sksurv.nonparametric import kaplan_meier_estimator

    tertile = risk_tertiles(rows)
    if tertile is None:
        return None
    time = rows[keys.TIME_DAYS].to_numpy(np.float64)
    event = rows[keys.EVENT].to_numpy(np.int64).astype(bool)
    ticks = tick_times(float(time.max()))
    groups, at_risk = [], {}
    for number, name in enumerate(GROUPS):
        inside = tertile == number
        at, survival, band = kaplan_meier_estimator(event[inside], time[inside], conf_type="log-log")
        shown = np.diff(survival, prepend=1.0) < 0
        shown[-1] = True
        groups.append(
            {
                "name": name,
                "n": int(inside.sum()),
                "times": [0.0, *at[shown].tolist()],
                "survival": [1.0, *survival[shown].tolist()],
                "low": [1.0, *_finite_or_null(band[0][shown])],
                "high": [1.0, *_finite_or_null(band[1][shown])],
            }
        )
        at_risk[name] = [int((time[inside] >= tick).sum()) for tick in ticks]
    outcome = np.array(list(zip(event, time, strict=True)), dtype=[("event", bool), ("time", float)])
    logrank_p = float(compare_survival(outcome, tertile)[1]) if event.any() else None
    return {
        "scope": scope,
        "method": method,
        "endpoint": endpoint,
        "logrank_p": logrank_p,
        "groups": groups,
        "at_risk_times": ticks,
        "at_risk": at_risk,
    }


def _finite_or_null(values: FloatArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
