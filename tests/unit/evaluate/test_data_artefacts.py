"""What the report reads of the data: endpoints and diagnoses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.data_artefacts import read_diagnoses, read_endpoints

HEADER = (
    "cohort\tendpoint\tused\tendpoint_source\tn_patients\tn_usable\tn_events\tmedian_follow_up_days\texcluded\t"
    "recommendation\tn_differ\n"
)


def test_endpoints(tmp_path: Path) -> None:
    path = tmp_path / "survival.tsv"
    path.write_text(HEADER + "A\tOS\t1\tcases\t10\t8\t3\t400.5\tzero_time:1;no_follow_up:1\trecommended\t0\n"
                    "B\tOS\t1\t\t4\t0\t0\t\t\tnone\t0\n")  # fmt: skip
    first, second = read_endpoints(path)
    assert (first.used, first.n_usable, first.median_follow_up_days) == (True, 8, 400.5)
    assert first.reasons == [("zero_time", 1), ("no_follow_up", 1)]
    assert (second.median_follow_up_days, second.reasons) == (None, [])
    assert read_endpoints(None) == []


def test_endpoints_of_another_form(tmp_path: Path) -> None:
    path = tmp_path / "survival.tsv"
    path.write_text("cohort\tendpoint\nA\tOS\n")
    with pytest.raises(DataError, match=r"survival.tsv: not what this release writes"):
        read_endpoints(path)


def test_one_diagnosis_or_several(tmp_path: Path) -> None:
    path = tmp_path / "doctor.json"
    one = {
        "version": 1,
        "table": "a.tsv",
        "verdict": "go",
        "checks": [{"name": "scale", "status": "ok", "found": "tpm"}],
    }
    path.write_text(json.dumps(one))
    assert [item.table for item in read_diagnoses(path)] == ["a.tsv"]
    path.write_text(json.dumps([one, {**one, "table": "b.tsv", "verdict": "no-go"}]))
    assert [item.verdict for item in read_diagnoses(path)] == ["go", "no-go"]


def test_no_diagnosis(tmp_path: Path) -> None:
    path = tmp_path / "doctor.json"
    path.write_text("[{}]")
    with pytest.raises(DataError, match="`table`"):
        read_diagnoses(path)
    path.write_text("<html>")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_diagnoses(path)
