"""Mixtures: shares are kept, epochs are whole within a group, and the order is a function of seed and place."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError
from bulkrnabert.train.mixture import mix_cohorts


@pytest.fixture
def samples() -> pd.DataFrame:
    """Ten samples of two TCGA cohorts, and twenty of GTEx."""
    return pd.DataFrame({keys.COHORT: ["TCGA-A"] * 5 + ["TCGA-B"] * 5 + ["GTEX-Lung"] * 20})


def test_shares_hold_after_any_number_of_places(samples: pd.DataFrame) -> None:
    order = mix_cohorts(samples, np.arange(30), {"TCGA-*": 3.0, "GTEX*": 1.0}, 400, seed=1)
    is_tcga = order.rows(np.arange(400)) < 10
    assert np.abs(np.cumsum(is_tcga) - 0.75 * np.arange(1, 401)).max() < 2
    unweighted = mix_cohorts(samples, np.arange(30), None, 400, seed=1).rows(np.arange(390))
    assert (unweighted < 10).mean() == pytest.approx(1 / 3)  # the control: without weights, as many as there are


def test_each_group_runs_through_whole_epochs(samples: pd.DataFrame) -> None:
    order = mix_cohorts(samples, np.arange(30), {"TCGA-*": 1.0, "GTEX*": 1.0}, 200, seed=1)
    rows = order.rows(np.arange(200))
    tcga = rows[rows < 10]
    assert [sorted(tcga[start : start + 10]) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert list(tcga[:10]) != list(tcga[10:20])


def test_a_place_has_its_row_whatever_else_is_asked_for(samples: pd.DataFrame) -> None:
    order = mix_cohorts(samples, np.arange(30), {"TCGA-*": 2.0, "GTEX*": 1.0}, 100, seed=5)
    whole = order.rows(np.arange(100))
    assert list(order.rows(np.array([57]))) == [whole[57]]
    assert list(
        mix_cohorts(samples, np.arange(30), {"TCGA-*": 2.0, "GTEX*": 1.0}, 100, seed=6).rows(np.arange(100))
    ) != (list(whole))


def test_patterns_must_cover_the_cohorts_once(samples: pd.DataFrame) -> None:
    with pytest.raises(ConfigError) as caught:
        mix_cohorts(samples, np.arange(30), {"TCGA-*": 1.0, "TCGA-A": 1.0, "ENCODE": -1.0}, 100, seed=0)
    message = str(caught.value)
    assert "the weight of 'ENCODE' is -1.0, expected above 0" in message
    assert "cohort GTEX-Lung matches no pattern, expected one" in message
    assert "cohort TCGA-A matches 'TCGA-*' and 'TCGA-A', expected one" in message
    assert "'ENCODE' matches none of the cohorts GTEX-Lung, TCGA-A, TCGA-B" in message
