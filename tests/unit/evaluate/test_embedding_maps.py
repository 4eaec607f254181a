"""The file behind the explorer: what is known of the samples, in the form that suits it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.downstream.embeddings import Embeddings
from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.embedding_maps import Category, Quantity, build_maps, read_maps, write_maps

N = 24


def samples() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": [f"S{n:02d}" for n in range(N)],
            "patient_id": [f"P{n:02d}" for n in range(N)],
            "cohort": ["A" if n < N // 2 else "B" for n in range(N)],
            "sample_type": "tumor",
        }
    )


def clinical() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "patient_id": [f"P{n:02d}" for n in range(N)],
            "cohort": ["A" if n < N // 2 else "B" for n in range(N)],
            "time_days": [float("nan") if n == 3 else 100.0 + n for n in range(N)],
            "event": [float(n % 2) for n in range(N)],
            "flags": "",
            "stage": ["" if n == 0 else f"Stage {'I' * (1 + n % 3)}" for n in range(N)],
            "free_text": [f"note {n} of a patient" for n in range(N)],
            "project_id": ["A" if n < N // 2 else "B" for n in range(N)],
            "constant": "the same",
        }
    )
    return table[table["patient_id"] != "P23"].set_index("patient_id", drop=False)


def embeddings(model: str, ids: list[str]) -> Embeddings:
    return Embeddings("r0f0", "", ids, ["A"] * len(ids), np.zeros((len(ids), 2)), model)


def test_columns_take_the_form_that_suits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkrnabert.evaluate.embedding_maps.MAX_LEVELS", 10)
    ids = list(samples()["sample_id"])
    plane = np.arange(2 * N, dtype=float).reshape(N, 2)
    subset = [ids[5], ids[1]]
    maps = build_maps(
        [(embeddings("mojo", ids), {"PCA": plane}), (embeddings("gexbert", subset), {"PCA": plane[:2]})],
        samples(),
        clinical(),
    )
    # One value (sample_type, constant), too many texts (free_text), the cohort again (project_id), keys (flags).
    assert [column.name for column in maps.columns] == ["cohort", "time_days", "event", "stage"]
    cohort, days, event, stage = maps.columns
    assert isinstance(cohort, Category) and cohort.codes == [0] * 12 + [1] * 12
    assert isinstance(days, Quantity) and days.values[2:5] == [102.0, None, 104.0]
    assert days.values[23] is None, "a patient without a clinical row"
    assert isinstance(event, Category) and event.levels == ["0", "1"] and event.codes[23] == -1
    assert isinstance(stage, Category) and stage.levels == ["Stage I", "Stage II", "Stage III"]
    assert stage.codes[:4] == [-1, 1, 2, 0]
    assert [(view.model, view.rows) for view in maps.views] == [("mojo", list(range(N))), ("gexbert", [5, 1])]
    assert maps.views[0].y[:2] == [1.0, 3.0]
    assert maps.patient_ids[5] == "P05"


def test_nothing_to_project_is_an_empty_file(tmp_path: Path) -> None:
    write_maps(tmp_path / "maps.json", build_maps([], samples(), clinical()))
    assert read_maps(tmp_path / "maps.json").views == []
    assert read_maps(None).views == []


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    ids = list(samples()["sample_id"])
    maps = build_maps([(embeddings("mojo", ids), {"PCA": np.zeros((N, 2))})], samples(), clinical())
    write_maps(tmp_path / "maps.json", maps)
    assert read_maps(tmp_path / "maps.json") == maps


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_ids": ["S00"]}, "1 samples, but columns of"),
        (
            {"views": [{"model": "m", "split_id": "all", "method": "PCA", "rows": [99], "x": [0], "y": [0]}]},
            "view m all",
        ),
        ({"views": 3}, "`views`"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    ids = list(samples()["sample_id"])
    maps = build_maps([(embeddings("mojo", ids), {"PCA": np.zeros((N, 2))})], samples(), clinical())
    (tmp_path / "maps.json").write_text(json.dumps(maps.model_dump() | change))
    with pytest.raises(DataError, match=rf"(?s)maps\.json: not what.*{message}"):
        read_maps(tmp_path / "maps.json")
    (tmp_path / "maps.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_maps(tmp_path / "maps.json")
