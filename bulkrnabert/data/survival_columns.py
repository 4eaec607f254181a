"""Which columns of a user's table hold a survival endpoint, and what stands in them: days, 1 or 0, or nothing."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.survival_endpoints import ENDPOINTS, EVENT_TEXT
from bulkrnabert.errors import DataError, join_problems

logger = logging.getLogger(__name__)

NOT_IN_DAYS = re.compile(r"^(OS|PFI|PFS|DFI|DFS|DSS|RFS|EFS|TIME)[_. ]?(MONTHS?|MOS?|YEARS?|YRS?)$", re.IGNORECASE)
SHORTEST_LONGEST_DAYS = 300
ENOUGH_PATIENTS_TO_TELL = 20


@dataclass(frozen=True)
class SurvivalColumns:
    """The columns of one endpoint; empty and None where a table has no survival."""

    endpoint: str
    time: str | None
    event: str | None


@dataclass(frozen=True)
class SurvivalValues:
    """Times in days and events as floats, NaN where a cell is empty; a row a row of the table."""

    time_days: pd.Series
    event: pd.Series


def find_survival_columns(path: Path, table: pd.DataFrame, endpoint: str) -> SurvivalColumns:
    """The columns of an endpoint. With `OS`, `time_days` and `event` will do, and so does no survival at all.

    Raises:
        DataError: the endpoint is unknown, incomplete, not in the table, or there in months or years only.
    """
    if endpoint not in ENDPOINTS:
        raise DataError(f"unknown endpoint {endpoint!r}; one of {', '.join(ENDPOINTS)}")
    time, event = f"{endpoint}.time", endpoint
    has_time, has_event = time in table, event in table
    if has_time and has_event:
        return SurvivalColumns(endpoint, time, event)
    if has_time:
        raise DataError(f"{path}: column `{time}` without `{event}` (1 = event, 0 = censored)")
    own = {keys.TIME_DAYS, keys.EVENT} & set(table.columns)
    if endpoint == "OS" and len(own) == 2:
        return SurvivalColumns(endpoint, keys.TIME_DAYS, keys.EVENT)
    wrong_unit = [name for name in table.columns if NOT_IN_DAYS.match(name)]
    if endpoint == "OS" and not has_event and not own and not wrong_unit:
        return SurvivalColumns("", None, None)
    there = [name for name in ENDPOINTS if {name, f"{name}.time"} <= set(table.columns)]
    message = (
        f"{path}: endpoint {endpoint} needs the columns `{event}` and `{time}`"
        + (f" (or `{keys.TIME_DAYS}` and `{keys.EVENT}`)" if endpoint == "OS" else "")
        + f"; this table has {', '.join(there) or 'no complete endpoint'}"
    )
    if wrong_unit:
        message += (
            f". Times are read in days: {', '.join(f'`{name}`' for name in wrong_unit)} is no column of days. Multiply"
            f" months by 30.4375 or years by 365.25, name it `{time}`, and add `{event}` (1 = event, 0 = censored); or"
            " leave it out of the table to go without survival"
        )
    raise DataError(message)


def read_survival_values(path: Path, table: pd.DataFrame, columns: SurvivalColumns) -> SurvivalValues:
    """Times and events of a table of text whose missing cells are empty.

    Raises:
        DataError: a cell that is no number of days, or neither 1 nor 0; names the first five of each column.
    """
    if columns.time is None or columns.event is None:
        nothing = pd.Series(math.nan, index=table.index)
        return SurvivalValues(nothing, nothing)
    times = pd.to_numeric(table[columns.time], errors="coerce").replace([math.inf, -math.inf], math.nan)
    events = table[columns.event].str.lower().map(EVENT_TEXT)
    problems = []
    for name, numbers, expected in (
        (columns.time, times, "a number of days"),
        (columns.event, events, "1 (event) or 0 (censored)"),
    ):
        wrong = (table[name] != "") & numbers.isna()
        problems += [
            f"row {row + 2}, column `{name}`: {table[name].iloc[row]!r}, expected {expected}"
            for row in np.flatnonzero(wrong)[:5]
        ]
    if problems:
        raise DataError(join_problems(str(path), problems))
    return SurvivalValues(times.astype(float), events.astype(float))


def warn_unless_days(path: Path, column: str, time_days: pd.Series) -> None:
    """Say so when the times of many patients are all too short to be days; nothing is converted."""
    known = time_days.dropna()
    if len(known) > ENOUGH_PATIENTS_TO_TELL and known.max() < SHORTEST_LONGEST_DAYS:
        logger.warning(
            "%s: times look like months or years, not days: of %d in column `%s` the longest is %g, the median %g; they"
            " are taken as days, as they stand",
            path,
            len(known),
            column,
            known.max(),
            known.median(),
        )
