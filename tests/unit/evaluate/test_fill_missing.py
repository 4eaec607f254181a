"""Missing expression in baselines: medians of the training part, and nothing of the test part."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_array_equal

from bulkrnabert.evaluate.baselines import fill_missing

NAN = np.nan
FEATURES = np.array([[1.0, NAN, NAN, 4.0], [3.0, 8.0, NAN, 5.0], [NAN, 2.0, 7.0, 6.0], [NAN, NAN, NAN, 7.0]])
TRAIN = np.array([0, 1])


def test_medians_of_the_training_rows() -> None:
    before = FEATURES.copy()
    filled = fill_missing(FEATURES, TRAIN)
    # The first gene's median is 2, the second's 8; no training row has the third.
    assert_array_equal(filled, [[1, 8, 0, 4], [3, 8, 0, 5], [2, 2, 7, 6], [2, 8, 0, 7]])
    assert_array_equal(FEATURES, before)


def test_test_rows_do_not_count() -> None:
    changed = FEATURES.copy()
    changed[2:] *= 100
    assert_array_equal(fill_missing(changed, TRAIN)[:2], fill_missing(FEATURES, TRAIN)[:2])
    assert fill_missing(changed, TRAIN)[3, 0] == 2


def test_nothing_missing_is_left_as_it_is() -> None:
    complete = np.arange(6.0).reshape(3, 2)
    assert fill_missing(complete, np.array([0, 1])) is complete
