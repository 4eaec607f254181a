"""Splits of an earlier run for a study that has grown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.data.frozen_splits import extend_splits
from bulkrnabert.data.holdouts import leave_cohorts_out, make_paper_splits
from bulkrnabert.data.splits import make_splits
from bulkrnabert.errors import ConfigError, DataError


def samples_of(**n_patients: int) -> pd.DataFrame:
    rows = [(f"{cohort}-{one}-01A", f"{cohort}-{one}", cohort) for cohort, n in n_patients.items() for one in range(n)]
    return pd.DataFrame(rows, columns=[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]).assign(sample_type=keys.TUMOR)


def clinical_of(samples: pd.DataFrame) -> pd.DataFrame:
    patients = samples[[keys.PATIENT_ID, keys.COHORT]].drop_duplicates()
    return patients.assign(time_days=10.0, event=np.arange(len(patients)) % 2.0)


OLD = samples_of(A=10, B=10)
FROZEN = make_splits(OLD, clinical_of(OLD), 5, 2, seed=1)


def test_the_same_study_gives_the_same_file() -> None:
    assert extend_splits(FROZEN, OLD, clinical_of(OLD), seed=9).sha256 == FROZEN.sha256


def test_old_patients_keep_their_folds_and_new_ones_are_tested_once() -> None:
    grown = pd.concat([OLD[OLD[keys.PATIENT_ID] != "A-3"], samples_of(C=10, A=12).iloc[[*range(10), 20, 21]]])
    extended = extend_splits(FROZEN, grown, clinical_of(grown), seed=1)
    before = FROZEN.frame.set_index(keys.PATIENT_ID)
    after = extended.frame.set_index(keys.PATIENT_ID)
    assert "A-3" not in after.index and len(after) == 19 + 12
    folds = [keys.fold_column(0), keys.fold_column(1)]
    common = [name for name in before.index if name != "A-3"]
    pd.testing.assert_frame_equal(after.loc[common, folds], before.loc[common, folds])
    newcomers = after[after[keys.COHORT] == "C"]
    assert (newcomers[keys.JUDGED] == 1).all()
    for name in folds:
        assert sorted(newcomers[name]) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert (newcomers[folds[0]] != newcomers[folds[1]]).any()
    again = extend_splits(FROZEN, grown.sample(frac=1, random_state=0), clinical_of(grown), seed=1)
    assert again.sha256 == extended.sha256


def test_the_judged_sample_stays_and_is_replaced_only_when_it_is_gone() -> None:
    second = OLD.iloc[[0]].assign(sample_id="A-0-01B")
    first_vial = OLD.iloc[[0]].assign(sample_id="A-0-00X")
    both = pd.concat([OLD, first_vial, second])
    judged = extend_splits(FROZEN, both, clinical_of(OLD), seed=1).judged
    assert "A-0-01A" in set(judged[keys.SAMPLE_ID]) and len(judged) == 20
    gone = pd.concat([OLD.iloc[1:], second])
    assert "A-0-01B" in set(extend_splits(FROZEN, gone, clinical_of(OLD), seed=1).judged[keys.SAMPLE_ID])


@pytest.mark.parametrize(
    ("grown", "message"),
    [
        (samples_of(X=20), "none of its 20 patients"),
        (pd.concat([OLD, samples_of(C=9)]), "cohort 'C' has 9 patients that can be judged, too few for 5 folds"),
        (
            OLD[~OLD[keys.PATIENT_ID].isin(FROZEN.frame.loc[FROZEN.frame["fold_r0"] == 2, keys.PATIENT_ID])],
            "no patient of fold 2 of repeat 0",
        ),
    ],
)
def test_studies_that_do_not_fit(grown: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        extend_splits(FROZEN, grown, clinical_of(grown), seed=1)


def test_splits_that_cannot_be_extended() -> None:
    with pytest.raises(ConfigError, match="leave whole cohorts out"):
        extend_splits(leave_cohorts_out(OLD, ("A", "B")), OLD, clinical_of(OLD), seed=1)
    twice = pd.concat([OLD, OLD.assign(sample_id=OLD[keys.PATIENT_ID] + "-11A", sample_type=keys.NORMAL)])
    paper = make_paper_splits(twice, clinical_of(OLD), 5, 1, 0, keys.COHORT)
    with pytest.raises(ConfigError, match="paper judge several samples"):
        extend_splits(paper, twice, clinical_of(OLD), seed=1)
