"""Scores of new samples against labels, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bulkrnabert.data.clinical import Clinical, read_clinical_table
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.labelled import score_classes, score_risk

PREDICTIONS = pd.DataFrame(
    {
        "sample_id": ["S1", "S2", "S3", "S4", "S5", "S6"],
        "predicted": ["A", "A", "B", "B", "A", "A"],
        "probability_A": [0.9, 0.8, 0.3, 0.1, 0.6, 0.7],
        "probability_B": [0.1, 0.2, 0.7, 0.9, 0.4, 0.3],
        "risk": [4.0, 3.0, 1.0, 2.0, 0.0, 9.0],
    }
)


@pytest.fixture
def clinical(tmp_path: Path) -> Clinical:
    path = tmp_path / "labels.tsv"
    path.write_text(
        "sample_id\ttype\ttime_days\tevent\nS1\tA\t100\t1\nS2\tB\t200\t1\nS3\tB\t300\t1\nS4\tB\t400\t0\nS5\tC\t\t\n"
    )
    return read_clinical_table(path)


def test_classes(clinical: Clinical) -> None:
    scores = {score.metric: score for score in score_classes(PREDICTIONS, clinical, "type")}
    assert scores["accuracy"].value == pytest.approx(3 / 4)  # S5 is of another class, S6 has no label
    assert scores["accuracy"].n_samples == 4
    assert scores["balanced_accuracy"].value == pytest.approx((1 + 2 / 3) / 2)
    assert scores["macro_f1"].value == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_risk(clinical: Clinical) -> None:
    (score,) = score_risk(PREDICTIONS, clinical)
    # pairs: S1 before S2, S3, S4; S2 before S3, S4; S3 before S4: all but the last are in order
    assert (score.metric, score.value, score.n_samples) == ("c_index", pytest.approx(5 / 6), 4)


def test_nothing_to_judge(clinical: Clinical) -> None:
    with pytest.raises(DataError, match="no sample has a class of the model"):
        score_classes(PREDICTIONS.iloc[4:], clinical, "type")
    with pytest.raises(DataError, match="no sample of the table has a usable time"):
        score_risk(PREDICTIONS.iloc[4:], clinical)
    with pytest.raises(ConfigError, match=r"'size' is not in labels\.tsv: choose one of"):
        score_classes(PREDICTIONS, clinical, "size")
