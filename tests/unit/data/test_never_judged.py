"""Normal tissue and cell lines are learnt from, and never scored."""

from __future__ import annotations

import pandas as pd
import pytest

from bulkrnabert.data.splits import judged_samples, make_splits
from bulkrnabert.errors import DataError

COLUMNS = ["sample_id", "patient_id", "cohort", "sample_type"]


def make_samples(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """`(patient, cohort, sample type)` rows; a sample is named after its patient."""
    return pd.DataFrame([(f"{p}-s", p, cohort, kind) for p, cohort, kind in rows], columns=COLUMNS)


TUMORS = [(f"T{number}", "A", "tumor") for number in range(4)]
CLINICAL = pd.DataFrame({"patient_id": [], "cohort": [], "time_days": [], "event": []})


def test_a_cell_line_is_not_judged_an_unknown_is() -> None:
    samples = make_samples(("P1", "A", "cell_line"), ("P2", "A", "normal"), ("P3", "A", "unknown"))
    assert judged_samples(samples)["patient_id"].tolist() == ["P3"]


def test_cohorts_of_normal_tissue_and_cell_lines_are_always_in_training() -> None:
    samples = make_samples(*TUMORS, ("G1", "GTEX", "normal"), ("G2", "GTEX", "normal"), ("E1", "ENCODE", "cell_line"))
    splits = make_splits(samples, CLINICAL, n_folds=2, n_repeats=1, seed=0)
    extra = splits.frame[splits.frame["cohort"] != "A"]
    assert set(extra["judged"]) == {0} and set(extra["fold_r0"]) == {-1}
    assert all(set(extra["sample_id"]) <= splits.training_samples(name) for name in ("r0f0", "r0f1", "all"))
    assert set(splits.frame[splits.frame["cohort"] == "A"]["fold_r0"]) == {0, 1}


def test_a_cohort_with_too_few_tumours_is_still_refused() -> None:
    samples = make_samples(*TUMORS, ("G1", "B", "normal"), ("T9", "B", "tumor"))
    with pytest.raises(DataError, match="cohort 'B' has 1 patients that can be judged"):
        make_splits(samples, CLINICAL, n_folds=2, n_repeats=1, seed=0)


def test_nothing_to_judge_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="cohort 'GTEX' has 0 patients that can be judged"):
        make_splits(make_samples(("G1", "GTEX", "normal")), CLINICAL, n_folds=2, n_repeats=1, seed=0)
