"""The wiring of the pipeline, without its work: every stub, both parsers, every way of starting."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.conftest import Nextflow, copy_project

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(1800)]

PUBLISHED = [
    "bulkrnabert_mqc.json",
    "cohorts/clinical.tsv",
    "cohorts/genes.tsv",
    "cohorts/rejected.tsv",
    "cohorts/summary.json",
    "download/TCGA-SYNA.manifest.tsv",
    "download/TCGA-SYNA.plan.json",
    "embeddings/r0f0.h5ad",
    "encoders/r0f1/model.safetensors",
    "mlflow/mlflow.db",
    "numbers/metrics.json",
    "predictions/cancer_type.pan/predictions.parquet",
    "report.html",
    "results.csv",
    "splits/splits.tsv",
]
ONLY_RETRAINING = {"PROMOTE", "UPDATE"}
TRACE = "pipeline_info/trace.tsv"


def published(outdir: Path) -> list[str]:
    return sorted(path.relative_to(outdir).as_posix() for path in outdir.rglob("*") if path.is_file())


def test_every_stub_runs(nextflow: Nextflow, repository: Path) -> None:
    (nextflow.folder / "own.tsv").touch()
    (nextflow.folder / "gtex.gct").touch()
    sheet = nextflow.folder / "sheet.csv"
    sheet.write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,own.tsv,,tpm,\n")
    everything = [
        "--input",
        "sheet.csv",
        "--gtex",
        "v8",
        "--gtex_gct",
        "gtex.gct",
        "--encode",
        "--finetune",
        "ia3,full",
    ]
    everything += ["--modalities", "rnaseq,methylation", "--finetune_starts", "pretrained,random"]
    everything += ["--model", "bulkrnabert,mojo,gexbert", "--attribute", "survival"]
    everything += ["--finetune_samples_per_task", "65", "--mlflow_uri", "http://me:secret@localhost:5000"]
    finished = nextflow("run", str(repository), "-profile", "test", "-stub-run", "--outdir", "out", *everything)
    assert finished.returncode == 0, finished.output
    assert "WARN" not in finished.output
    facts = (nextflow.folder / "out/pipeline_info/run.json").read_text()
    assert "secret" not in facts and json.loads(facts)["params"]["mlflow_uri"] == "http://…@localhost:5000"
    portals = ["download/GTEX-v8.plan.json", "download/ENCODE.plan.json", "download/TCGA-SYNB.methylation.plan.json"]
    finetuned = [f"finetuned/cancer_type.pan.{kind}/predictions.parquet" for kind in ("ia3.random", "full.pretrained")]
    models = ["encoders/mojo.r0f0/config.json", "mojo/mojo.r0f1.cross_modal.json", "gexbert/anchors.pan.json"]
    found = set(published(nextflow.folder / "out"))
    assert {*PUBLISHED, TRACE, "doctor.json", *portals, *finetuned, *models} <= found
    attributed = {name for name in found if name.startswith("attributions/") and name.endswith(".json")}
    assert attributed == {f"attributions/survival.pan.{kind}.pretrained.attribution.json" for kind in ("ia3", "full")}
    processes = {path.stem.upper() for path in (repository / "pipeline" / "modules").glob("*.nf")}
    assert set(finished.executed("out")) == processes - ONLY_RETRAINING
    # Jobs of 48, 40 and 20 samples: the two of survival fit into 65 together, and all of them into the probes' 4,000.
    tasks = [row["name"].split(":")[-1] for row in finished.trace("out")]
    shared = {"cancer_type.pan.ia3.pretrained", "survival.TCGA-SYNA.ia3.pretrained and 1 more"}
    assert {f"FINETUNE ({tag})" for tag in shared} <= set(tasks)
    n_tasks = [sum(task.startswith(f"{stage} ") for task in tasks) for stage in ("BASELINES", "PROBE", "FINETUNE")]
    assert n_tasks == [1, 3, 3 * 2 * 2 * 2]  # models; adapters, starts, groups


def test_every_stub_runs_under_the_strict_parser(nextflow: Nextflow, repository: Path) -> None:
    # The strict parser of this Nextflow does not give an included configuration the command line's --outdir, so the
    # trace lands in the default folder; everything that the pipeline itself publishes is in its place.
    finished = nextflow("run", str(repository), "-profile", "test", "-stub-run", "--outdir", "out", parser="v2")
    assert finished.returncode == 0, finished.output
    assert set(PUBLISHED) <= set(published(nextflow.folder / "out"))


def test_pulled_from_a_bare_repository(repository: Path, tmp_path: Path) -> None:
    clone = copy_project(repository, tmp_path / "source")
    bare = tmp_path / "facility" / "bulkrnabert.git"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", str(clone), str(bare)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = Nextflow(repository / "nextflow", elsewhere)
    finished = run("run", f"file:{bare}", "-profile", "test", "-stub-run", "--outdir", "out", "-latest")
    assert finished.returncode == 0, finished.output
    assert set(PUBLISHED) <= set(published(elsewhere / "out"))
