"""What a new data release changes, against a stand-in whose study gains a cohort and loses files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_standin import serve
from bulkrnabert.data.sources.update import Update, compare_with_portal
from bulkrnabert.data.sources.update_baseline import Baseline, read_baseline
from bulkrnabert.data.sources.update_text import describe_update, summary_line
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.provenance import hash_patients

SIZES = {"seed": 4, "cohorts": 3, "patients_per_cohort": 4, "genes": 200, "oddities": False, "normal_share": 0.0}
FIRST = SyntheticStudy.create(unreleased_cohorts=1, **SIZES)
OLD_FILES = sorted(
    (file for file in FIRST.all_files.values() if file.modality == "rnaseq"), key=lambda file: file.sample_barcode
)
WITHDRAWN = OLD_FILES[0]
SECOND = SyntheticStudy.create(release=2, withdrawn_files=(WITHDRAWN.file_id,), **SIZES)


@contextmanager
def asking(study: SyntheticStudy) -> Iterator[GdcClient]:
    with serve(study) as handle, GdcClient(handle.url) as client:
        yield client


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first release gave."""
    folder = tmp_path_factory.mktemp("raw") / "both"
    with serve(FIRST) as handle:
        fetch = ["download", "--api", handle.url, "--projects", "TCGA-SYNA,TCGA-SYNB", "--out", str(folder)]
        assert _run(fetch) == 0
    return folder


@pytest.fixture(scope="module")
def update(raw: Path) -> Update:
    with asking(SECOND) as client:
        return compare_with_portal(client, read_baseline([raw], []), ["TCGA-SYNC"], [], "here")


def test_an_unchanged_portal_is_nothing_to_do(raw: Path) -> None:
    with asking(FIRST) as client:
        found = compare_with_portal(client, read_baseline([raw], []), [], [], "here")
    assert found.is_nothing and found.changes == () and found.bytes_to_fetch == 0
    assert summary_line(found).startswith("nothing to do: every file of 2 projects is as it was")
    assert [(one.project_id, one.modality, one.n_same) for one in found.counts] == [
        ("TCGA-SYNA", "rnaseq", 4),
        ("TCGA-SYNB", "rnaseq", 4),
    ]


def test_a_new_cohort_and_a_withdrawn_file(update: Update) -> None:
    assert update.releases_before[0].startswith("Data Release 1.0")
    assert update.release_now.startswith("Data Release 2.0")
    assert update.new_projects == ("TCGA-SYNC",) and update.gone_projects == ()
    counts = {one.project_id: (one.n_same, one.n["new"], one.n["withdrawn"]) for one in update.counts}
    assert counts == {"TCGA-SYNA": (3, 0, 1), "TCGA-SYNB": (4, 0, 0), "TCGA-SYNC": (0, 4, 0)}
    (withdrawn,) = (change for change in update.changes if change.kind == "withdrawn")
    assert (withdrawn.file_id, withdrawn.sample_id) == (WITHDRAWN.file_id, WITHDRAWN.sample_barcode)
    assert "redacted" in withdrawn.reason and withdrawn.md5_now == "" and withdrawn.learnt_from is None
    sizes = [SECOND.integrity(change.file_id)[1] for change in update.changes if change.kind == "new"]
    assert update.bytes_to_fetch == sum(sizes)


def test_the_page_says_it(update: Update) -> None:
    page = describe_update(update)
    assert "4 new, 1 withdrawn;" in page and "- new cohorts: TCGA-SYNC" in page
    assert "| TCGA-SYNA | rnaseq | 3 | 0 | 0 | 0 | 1 | 0 | 0 |" in page
    assert f"- TCGA-SYNA: {WITHDRAWN.sample_barcode}, {WITHDRAWN.file_id}, redacted" in page


def test_another_md5_and_a_successor(raw: Path) -> None:
    baseline = read_baseline([raw], [])
    (plan,) = baseline.plans
    first, second, *others = plan.files
    stranger = "00000000-0000-4000-8000-000000000001"
    files = (first.model_copy(update={"md5": "0" * 32}), second.model_copy(update={"file_id": stranger}), *others)
    with asking(FIRST) as client:
        found = compare_with_portal(
            client, Baseline((plan.model_copy(update={"files": files}),), baseline.cases), [], [], "here"
        )
    assert [(change.kind, change.file_id, change.md5_now) for change in found.changes] == [
        ("changed", first.file_id, first.md5),
        ("superseded", stranger, second.md5),
    ]
    assert found.changes[1].replaced_by == second.file_id


def test_clinical_records_that_differ(raw: Path) -> None:
    baseline = read_baseline([raw], [])
    case_id, case = next(iter(baseline.cases.items()))
    edited = {**case, "updated_datetime": "2031-01-01"}
    with asking(FIRST) as client:
        same = compare_with_portal(client, Baseline(baseline.plans, {case_id: edited}), [], [], "here")
        edited = {**case, "demographic": {**case["demographic"], "vital_status": "Not Reported"}}
        found = compare_with_portal(client, Baseline(baseline.plans, {case_id: edited}), [], [], "here")
    assert same.is_nothing
    assert [(change.kind, change.patient_id) for change in found.changes] == [("clinical", case["submitter_id"])]


def test_clinical_records_lie_beside_the_plan_of_a_raw_folder_or_of_a_run(raw: Path, tmp_path: Path) -> None:
    for name in ("plan.json", "cases.json"):
        shutil.copyfile(raw / name, tmp_path / f"TCGA-SYNA.{name}")
    assert read_baseline([tmp_path], []).cases == read_baseline([raw], []).cases != {}


def write_checkpoint(folder: Path, patients: list[str]) -> Path:
    folder.mkdir()
    provenance = {"patient_hashes": hash_patients(patients), "cohorts": {"TCGA-SYNA": len(patients)}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


def test_a_checkpoint_says_whom_it_learnt_from(raw: Path, tmp_path: Path) -> None:
    patients = [file.patient.barcode for file in OLD_FILES if file.patient.project_id == "TCGA-SYNA"]
    checkpoint = write_checkpoint(tmp_path / "r0f0", [*patients, "GTEX-1"])
    with asking(SECOND) as client:
        both = compare_with_portal(client, read_baseline([raw], [checkpoint]), ["TCGA-SYNC"], [], "here")
        alone = compare_with_portal(
            client, read_baseline([], [checkpoint]), ["TCGA-SYNA", "TCGA-SYNB"], ["rnaseq"], "here"
        )
    assert both.learnt is not None
    assert (both.learnt.n_patients, both.learnt.n_withdrawn, both.learnt.n_not_listed) == (5, 1, 2)
    assert [change.learnt_from for change in both.changes if change.kind == "withdrawn"] == [True]
    assert {change.learnt_from for change in both.changes if change.kind == "new"} == {False}
    assert "train anew without them" in describe_update(both)
    assert {(change.kind, change.project_id) for change in alone.changes} == {("new", "TCGA-SYNB")}
    assert alone.new_projects == ("TCGA-SYNB",)


def test_a_project_that_is_not_listed_any_more(raw: Path) -> None:
    with asking(SyntheticStudy.create(release=3, unreleased_cohorts=2, **SIZES)) as client:
        found = compare_with_portal(client, read_baseline([raw], []), [], [], "here")
    assert found.gone_projects == ("TCGA-SYNB",)
    gone = [change for change in found.changes if change.project_id == "TCGA-SYNB"]
    assert [change.kind for change in gone] == ["withdrawn"] * 4


def test_the_command(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    FIRST.save(tmp_path / "first.json")
    SECOND.save(tmp_path / "second.json")
    out = tmp_path / "changes"
    common = ["update", "--raw", str(raw), "--projects", "TCGA-SYNA"]
    assert _run([*common, "--api", f"embedded:{tmp_path / 'first.json'}", "--dry-run"]) == 0
    assert capfd.readouterr().out.startswith("nothing to do") and not out.exists()
    second = ["--api", f"embedded:{tmp_path / 'second.json'}", "--projects", "TCGA-SYNC", "--out", str(out)]
    assert _run([*common, *second, "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed == json.loads((out / "changes.json").read_text())
    assert printed["n_changes"] == 5 and printed["n_of_kind"]["new"] == 4 and printed["new_projects"] == ["TCGA-SYNC"]
    rows = (out / "changes.tsv").read_text().splitlines()
    assert len(rows) == 6 and rows[0].startswith("kind\tproject_id\tmodality\tfile_id")
    assert (out / "CHANGES.md").read_text().startswith("# What a retraining would change")
    # The folder follows: what stays is kept, only the new cohort is fetched.
    again = ["download", *second[:2], "--projects", "TCGA-SYNA,TCGA-SYNB,TCGA-SYNC", "--replan", "--out", str(raw)]
    assert _run([*again, "--plan-only"]) == 0
    assert "7 of 8 planned files stay; 4 are new; 1 withdrawn" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run"], "nothing to compare with"),
        (["--raw", "RAW"], "--out is missing"),
        (["--raw", "EMPTY", "--dry-run"], "no plan.json here"),
        (["--checkpoint", "EMPTY", "--dry-run"], "provenance.json: cannot be read as JSON"),
    ],
)
def test_bad_input(
    raw: Path, tmp_path: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"RAW": str(raw), "EMPTY": str(tmp_path)}
    assert _run(["update", *(places.get(argument, argument) for argument in arguments)]) == 2
    assert message in capfd.readouterr().err


def test_a_checkpoint_without_patients_and_other_rules(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text("{}")
    with pytest.raises(DataError, match="lists no training patients"):
        read_baseline([], [tmp_path])
    (plan,) = read_baseline([raw], []).plans
    assert plan.rules is not None
    other = plan.model_copy(update={"rules": plan.rules.with_tissue("primary")})
    with asking(FIRST) as client, pytest.raises(ConfigError, match="2 different sets of rules"):
        compare_with_portal(client, Baseline((plan, other)), [], [], "here")
    with asking(FIRST) as client, pytest.raises(ConfigError, match="no project to look for"):
        compare_with_portal(client, Baseline(), [], ["rnaseq"], "here")
