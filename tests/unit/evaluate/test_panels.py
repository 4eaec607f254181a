"""Numbers of panels from predictions, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.downstream.panel_finetune import Panel
from bulkrnabert.downstream.predictions import BASELINE, MODEL, SCHEMA, Predictions
from bulkrnabert.evaluate.panel_baselines import FAST, SLOW
from bulkrnabert.evaluate.panels import score_panel

PANEL = Panel("anova", 64)


def predictions(wrong: dict[str, list[int]]) -> Predictions:
    """40 patients of two classes in four folds; each method is wrong for some of them."""
    frames = []
    for name, mistakes in wrong.items():
        label = np.where(np.arange(40) % 2 == 0, "A", "B")
        predicted = label.copy()
        predicted[mistakes] = np.where(label[mistakes] == "A", "B", "A")
        frame = pd.DataFrame(
            {
                "task": keys.CANCER_TYPE,
                "scope": keys.PAN,
                "method": f"{name} on {PANEL.name}",
                "role": MODEL if name == "model" else BASELINE,
                "repeat": 0,
                "fold": np.arange(40) // 10,
                keys.SAMPLE_ID: [f"S{at:02d}" for at in range(40)],
                keys.PATIENT_ID: [f"P{at:02d}" for at in range(40)],
                "label": label,
                "predicted": predicted,
                "probabilities": [[0.9, 0.1] if item == "A" else [0.1, 0.9] for item in predicted],
            }
        )
        frames.append(frame.reindex(columns=SCHEMA.names))
    return Predictions(pd.concat(frames, ignore_index=True), ["A", "B"], "sha")


def test_values_and_differences() -> None:
    found = score_panel(
        predictions({"model": [0], "MLP": [0, 11, 12, 21, 31, 33, 5, 7]}), PANEL, 200, 0, test_share=1 / 3
    )
    rows = pd.DataFrame(found["rows"]).set_index(["method", "metric"])
    assert rows.loc[("model", "accuracy"), "value"] == pytest.approx(39 / 40)
    assert rows.loc[("MLP", "accuracy"), "value"] == pytest.approx(32 / 40)
    assert set(rows["size"]) == {64}
    assert set(rows["chooser"]) == {"anova"}
    compared = {item["metric"]: item for item in found["comparisons"]}
    assert compared["accuracy"]["difference"] == pytest.approx(7 / 40)
    assert compared["accuracy"]["low"] > 0
    assert compared["accuracy"]["n_folds"] == 4
    assert compared["accuracy"]["holds"] == "ahead"
    assert list(compared) == ["accuracy", "macro_f1", "weighted_f1"]


def test_equal_methods_are_level() -> None:
    found = score_panel(predictions({"model": [0, 12], "MLP": [1, 13]}), PANEL, 100, 0, test_share=1 / 3)
    assert {item["holds"] for item in found["comparisons"]} == {"level"}


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_every_baseline_learns_and_leaves_absent_classes_at_zero(name: str) -> None:
    rng = np.random.default_rng(0)
    class_ids = np.repeat(np.array([0, 2]), 30)
    train = rng.normal(size=(60, 5)) + class_ids[:, None]
    test = rng.normal(size=(20, 5)) + np.repeat([0, 2], 10)[:, None]
    found = {**FAST, **SLOW}[name](train, class_ids, test, 3, 0)
    assert found.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-5)
    assert (found[:, 1] < 0.3).all()
    assert (found.argmax(axis=1) == np.repeat([0, 2], 10)).mean() >= 0.85


def test_names() -> None:
    assert Panel("mutual_info", 128).name == "128 genes (mutual info)"
    assert Panel("mutual_info", 128).folder == "mutual_info.128"
