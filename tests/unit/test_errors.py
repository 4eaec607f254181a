"""Exit statuses and the message that lists several problems."""

from __future__ import annotations

import pytest

from bulkrnabert import errors


def test_one_problem_is_one_line() -> None:
    assert errors.join_problems("sheet.csv", ["row 2: no path"]) == "sheet.csv: row 2: no path"


def test_several_problems_are_counted_and_numbered() -> None:
    text = errors.join_problems("sheet.csv", ["row 2: no path", "row 3: no unit"])
    assert text == "sheet.csv: 2 problems\n  1. row 2: no path\n  2. row 3: no unit"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.ConfigError, 2),
        (errors.DataError, 2),
        (errors.VocabularyError, 2),
        (errors.CheckpointError, 2),
        (errors.PortalError, 1),
        (errors.TrainingError, 1),
        (errors.RunMeAgain, 75),
    ],
)
def test_exit_status(kind: type[errors.BulkRNABertError], status: int) -> None:
    assert kind("x").exit_code == status
