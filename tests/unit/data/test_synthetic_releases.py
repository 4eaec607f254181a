"""Later releases of a study: the same world, with cohorts still to come, files withdrawn and cohorts spoilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError

SIZES: dict[str, Any] = {"seed": 1, "cohorts": 3, "patients_per_cohort": 3, "genes": 200, "oddities": False}
WHOLE = SyntheticStudy.create(**SIZES)


def test_an_unreleased_cohort_is_not_listed_and_changes_nothing_else() -> None:
    early = SyntheticStudy.create(unreleased_cohorts=1, **SIZES)
    assert [project["project_id"] for project in early.projects()] == ["TCGA-SYNA", "TCGA-SYNB"]
    listed = {file["file_id"] for file in early.files()}
    assert len(early.cases()) == 6 and listed < {file["file_id"] for file in WHOLE.files()}
    assert all(early.integrity(file_id) == WHOLE.integrity(file_id) for file_id in sorted(listed)[:4])


def test_a_withdrawn_file_is_gone_from_the_list_and_its_history_says_so() -> None:
    gone = min(WHOLE.all_files)
    later = SyntheticStudy.create(release=2, withdrawn_files=(gone,), **SIZES)
    assert gone not in {file["file_id"] for file in later.files()}
    assert later.history(gone)[0]["file_change"] == "redacted"
    assert later.status()["data_release"].startswith("Data Release 2.0")


@pytest.mark.parametrize("how", ["labels", "values"])
def test_a_spoilt_cohort_differs_and_the_others_do_not(how: str) -> None:
    spoilt = SyntheticStudy.create(spoilt_cohorts={"TCGA-SYNC": how}, **SIZES)
    for file in WHOLE.all_files.values():
        if file.modality == "rnaseq":
            is_same = spoilt.file_body(file.file_id) == WHOLE.file_body(file.file_id)
            assert is_same is (file.patient.project_id != "TCGA-SYNC")
    assert spoilt.cases() == WHOLE.cases()


def test_the_file_keeps_the_keys_and_older_files_stay_as_they_are(tmp_path: Path) -> None:
    WHOLE.save(tmp_path / "old.json")
    assert not {"release", "spoilt_cohorts", "withdrawn_files"} & set(json.loads((tmp_path / "old.json").read_text()))
    sizes = ["--seed", "1", "--cohorts", "3", "--patients-per-cohort", "3", "--genes", "200", "--no-oddities"]
    later = ["--release", "2", "--withdraw", min(WHOLE.all_files), "--spoil", "TCGA-SYNC=values"]
    assert _run(["synth", *sizes, *later, "--out", str(tmp_path / "new.json")]) == 0
    config = SyntheticStudy.from_json(tmp_path / "new.json").config
    assert (config.release, config.withdrawn_files) == (2, (min(WHOLE.all_files),))
    assert config.spoilt_cohorts == {"TCGA-SYNC": "values"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unreleased_cohorts": 3}, "one must be released"),
        ({"spoilt_cohorts": {"TCGA-SYNZ": "labels"}}, "expected some of two or more cohorts"),
        ({"spoilt_cohorts": {"TCGA-SYNA": "smell"}}, "spoilt_cohorts"),
    ],
)
def test_bad_settings(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SyntheticStudy.create(**{**SIZES, **more})
