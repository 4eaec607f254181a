"""Laws of the folds: no patient on two sides, balance, and no dependence on the order of the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.data.splits import deal_folds, make_splits


@st.composite
def studies(draw: st.DrawFn) -> pd.DataFrame:
    rows = []
    for cohort in "ABC"[: draw(st.integers(1, 3))]:
        for patient in range(draw(st.integers(8, 20))):
            types = draw(st.lists(st.sampled_from(["tumor", "normal", "metastatic"]), max_size=2))
            for number, kind in enumerate(["tumor", *types]):
                rows.append((f"{cohort}{patient}-{number}", f"{cohort}{patient}", cohort, kind))
    return pd.DataFrame(rows, columns=["sample_id", "patient_id", "cohort", "sample_type"])


def clinical_of(samples: pd.DataFrame) -> pd.DataFrame:
    clinical = samples.drop_duplicates("patient_id")[["patient_id", "cohort"]].reset_index(drop=True)
    return clinical.assign(time_days=10.0, event=(np.arange(len(clinical)) % 3 == 0).astype(float))


@settings(max_examples=30)
@given(studies(), st.integers(2, 4), st.integers(0, 100))
def test_no_patient_is_on_both_sides(samples: pd.DataFrame, n_folds: int, seed: int) -> None:
    splits = make_splits(samples, clinical_of(samples), n_folds, 2, seed)
    patient_of = dict(zip(samples["sample_id"], samples["patient_id"], strict=True))
    for name in splits.split_ids("leak-free"):
        held_out = {patient_of[sample] for sample in splits.held_out_samples(name)}
        training = {patient_of[sample] for sample in splits.training_samples(name)}
        assert held_out and training and not held_out & training


@settings(max_examples=30)
@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(samples: pd.DataFrame, random: object) -> None:
    clinical = clinical_of(samples)
    order = np.random.default_rng(random.getrandbits(32)).permutation(len(samples))  # type: ignore[attr-defined]
    shuffled = samples.iloc[order].reset_index(drop=True)
    assert make_splits(samples, clinical, 2, 1, 0).sha256 == make_splits(shuffled, clinical[::-1], 2, 1, 0).sha256


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=60), st.integers(2, 6))
def test_dealing_is_even(keys: list[tuple[int, int]], n_folds: int) -> None:
    groups = pd.DataFrame(keys, columns=["coarse", "fine"])
    folds = deal_folds(groups, n_folds, np.random.default_rng(0))
    for columns in (["coarse"], ["coarse", "fine"]):
        for _, rows in groups.groupby(columns):
            counts = np.bincount(folds[rows.index], minlength=n_folds)
            assert counts.max() - counts.min() <= 1
