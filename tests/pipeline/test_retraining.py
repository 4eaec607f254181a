"""`--mode retrain`: what it needs, its wiring, and (slow) a portal that gains a cohort between two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bulkrnabert.data.sources.gdc_standin import serve
from bulkrnabert.data.synthetic import SyntheticStudy
from tests.pipeline.conftest import Nextflow

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1200)]

SIZES = {"seed": 3, "cohorts": 4, "patients_per_cohort": 40, "genes": 400, "oddities": False}
OLD = "TCGA-SYNA,TCGA-SYNB,TCGA-SYNC"
NEW = "TCGA-SYND"


def champion_folder(folder: Path) -> Path:
    for name in ("download", "encoders", "predictions"):
        (folder / name).mkdir(parents=True)
    (folder / "splits").mkdir()
    (folder / "splits" / "splits.tsv").touch()
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "retrain"], "give --champion RESULTS"),
        (["--mode", "retrain", "--champion", "nowhere"], "has no download; give the folder of a finished run"),
        (["--mode", "retrain", "--champion", "champion", "--leave_out", "A"], "keeps the splits of the champion"),
        (
            ["--mode", "retrain", "--champion", "champion", "--outdir", "champion/../champion"],
            "is the champion: its results",
        ),
        (["--champion", "champion"], "--champion is for --mode retrain"),
    ],
)
def test_what_does_not_fit_together(nextflow: Nextflow, repository: Path, arguments: list[str], message: str) -> None:
    champion_folder(nextflow.folder / "champion")
    finished = nextflow("run", str(repository), "-profile", "test", "-stub-run", "--outdir", "out", *arguments)
    assert finished.returncode == 2 and message in finished.output, finished.output


def test_the_wiring(nextflow: Nextflow, repository: Path) -> None:
    common = ["run", str(repository), "-profile", "test", "-stub-run"]
    assert nextflow(*common, "--outdir", "champion").returncode == 0
    retrain = ["--mode", "retrain", "--champion", "champion", "--raw_store", "store"]
    finished = nextflow(*common, *retrain, "--outdir", "out")
    assert finished.returncode == 0, finished.output
    assert "The champion stays: stub" in finished.output
    assert {"UPDATE", "PROMOTE", "PRETRAIN", "REPORT"} <= set(finished.executed("out"))
    for name in ("changes/changes.json", "changes/CHANGES.md", "decision/decision.json", "decision/DECISION.md"):
        assert (nextflow.folder / "out" / "retraining" / name).is_file()
    assert json.loads((nextflow.folder / "out/pipeline_info/run.json").read_text())["params"]["mode"] == "retrain"


@pytest.mark.slow
def test_a_portal_that_gains_a_cohort_and_loses_a_file(nextflow: Nextflow, repository: Path) -> None:
    """Nothing new ends early; a new cohort is learnt from and judged; a mislabelled one is not promoted."""
    first = SyntheticStudy.create(unreleased_cohorts=1, **SIZES)
    gone = min(file.file_id for file in first.all_files.values() if file.modality == "rnaseq")
    common = ["run", str(repository), "-profile", "test", "--baselines", "none", "--bootstrap", "200"]
    common += ["--steps", "60", "--raw_store", "store"]
    with serve(first) as portal:
        portal_flags = ["--gdc_api", portal.url, "--projects", OLD]
        finished = nextflow(*common, *portal_flags, "--outdir", "champion")
        assert finished.returncode == 0, finished.output
        assert list((nextflow.folder / "champion" / "download").glob("*.cases.json"))
        n_fetched = len(portal.data_requests)
        retrain = [*common, "--mode", "retrain", "--champion", "champion"]
        finished = nextflow(*retrain, *portal_flags, "--outdir", "nothing")
        assert finished.returncode == 0 and "Nothing to do" in finished.output, finished.output
        assert finished.executed("nothing") == ["FINGERPRINT", "UPDATE"]
        assert len(portal.data_requests) == n_fetched
    for spoilt in ({}, {NEW: "labels"}):
        second = SyntheticStudy.create(release=2, withdrawn_files=(gone,), spoilt_cohorts=spoilt, **SIZES)
        out = f"challenger{len(spoilt)}"
        store = ["--raw_store", out + ".store"] if spoilt else []
        with serve(second) as portal:
            flags = ["--gdc_api", portal.url, "--projects", f"{OLD},{NEW}", "--new_share", "0.3", *store]
            finished = nextflow(*retrain, *flags, "--outdir", out)
            assert finished.returncode == 0, finished.output
            if not spoilt:
                assert len(portal.data_requests) == SIZES["patients_per_cohort"]
        retraining = nextflow.folder / out / "retraining"
        changes = json.loads((retraining / "changes" / "changes.json").read_text())
        assert changes["new_projects"] == [NEW] and changes["n_of_kind"]["withdrawn"] == 1
        decision = json.loads((retraining / "decision" / "decision.json").read_text())
        assert {finding["cohort"] for finding in decision["new_cohorts"]} == {NEW}
        if spoilt:
            assert not decision["promote"] and NEW in decision["reason"]
