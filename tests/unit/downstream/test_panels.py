"""Choice of gene panels, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_selection import f_classif
from sklearn.metrics import mutual_info_score

from bulkrnabert.downstream.panels import anova_f, check_sizes, choose_panel
from bulkrnabert.errors import ConfigError

RNG = np.random.default_rng(0)
CLASSES = np.repeat(np.arange(3), 20)


@pytest.fixture
def levels() -> np.ndarray:
    """Five genes: noise, wide noise, two that tell the classes, a constant."""
    table = RNG.normal(size=(60, 5))
    table[:, 1] *= 10
    table[:, 2] += 2 * CLASSES
    table[:, 3] = 0.1 * table[:, 3] + CLASSES
    table[:, 4] = 7.0
    return table


def test_each_chooser_has_its_own_view(levels: np.ndarray) -> None:
    before = levels.copy()
    assert choose_panel("variance", 1, levels, CLASSES).tolist() == [1]
    assert choose_panel("anova", 2, levels, CLASSES).tolist() == [2, 3]
    assert choose_panel("mutual_info", 2, levels, CLASSES).tolist() == [2, 3]
    for chooser in ("variance", "anova", "mutual_info"):
        assert 4 not in choose_panel(chooser, 4, levels, CLASSES)
        assert choose_panel(chooser, 5, levels, CLASSES).tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(levels, before)


def test_f_is_that_of_scikit_learn(levels: np.ndarray) -> None:
    expected = f_classif(levels[:, :4], CLASSES)[0]
    assert anova_f(levels, CLASSES)[:4] == pytest.approx(expected)
    assert anova_f(levels, CLASSES)[4] == 0.0
    assert anova_f(CLASSES[:, None].astype(float), CLASSES)[0] == np.inf


def test_missing_values_are_left_out(levels: np.ndarray) -> None:
    gaps = levels.copy()
    gaps[::4, 2] = np.nan
    there = ~np.isnan(gaps[:, 2])
    expected = f_classif(levels[there][:, [2]], CLASSES[there])[0]
    assert anova_f(gaps, CLASSES)[2] == pytest.approx(expected[0])
    gaps[:, 0] = np.nan
    for chooser in ("variance", "anova", "mutual_info"):
        assert 0 not in choose_panel(chooser, 3, gaps, CLASSES)


def test_information_of_a_copy_of_the_class() -> None:
    copy = CLASSES[:, None].astype(float)
    from bulkrnabert.downstream.panels import _mutual_information

    assert _mutual_information(copy[:, 0], CLASSES) == pytest.approx(mutual_info_score(CLASSES, CLASSES))


def test_the_same_training_rows_give_the_same_panel_whatever_the_others(levels: np.ndarray) -> None:
    train = np.arange(0, 60, 2)
    first = choose_panel("anova", 2, levels[train], CLASSES[train])
    levels[1::2] = 1e6 * RNG.normal(size=(30, 5))
    assert np.array_equal(first, choose_panel("anova", 2, levels[train], CLASSES[train]))


def test_sizes() -> None:
    assert check_sizes((64, 128, 256), 130, is_default=True) == (64, 128)
    assert check_sizes((10, 10, 20), 90, is_default=False) == (10, 20)
    with pytest.raises(ConfigError, match=r"--size 128: the data has 90 genes"):
        check_sizes((64, 128), 90, is_default=False)
    with pytest.raises(ConfigError, match=r"fewer than the smallest panel \(64\)"):
        check_sizes((64, 128), 20, is_default=True)
