"""The whole road on real Nextflow: portal over HTTP, DeepSpeed, probes, report, MLflow; then what `-resume` redoes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.conftest import Finished, Nextflow, copy_project

pytestmark = [pytest.mark.pipeline, pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Run:
    """A finished run of the `test` profile from a copy of the project."""

    project: Path
    nextflow: Nextflow
    finished: Finished

    def again(self, *options: str) -> Finished:
        return self.nextflow("run", str(self.project), "-profile", "test", "--outdir", "out", "-resume", *options)


@pytest.fixture(scope="module")
def run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    project = copy_project(repository, folder / "project")
    launch = folder / "launch"
    launch.mkdir()
    nextflow = Nextflow(repository / "nextflow", launch)
    finished = nextflow("run", str(project), "-profile", "test", "--outdir", "out")
    assert finished.returncode == 0, finished.output
    return Run(project, nextflow, finished)


def test_report_and_numbers_are_there(run: Run) -> None:
    out = run.nextflow.folder / "out"
    metrics = json.loads((out / "numbers" / "metrics.json").read_text())
    found = {(item["task"], item["scope"], item["role"]) for item in metrics["metrics"]}
    assert {("cancer_type", "pan", "model"), ("cancer_type", "pan", "baseline")} <= found
    assert {("survival", "pan", "model"), ("survival", "pan", "baseline")} <= found
    assert "<svg" in (out / "report.html").read_text()
    assert (out / "mlflow" / "mlflow.db").stat().st_size > 0


def test_three_models_on_the_same_samples(nextflow: Nextflow, repository: Path) -> None:
    models = ["--model", "bulkrnabert,mojo,gexbert", "--baselines", "fast"]
    finished = nextflow("run", str(repository), "-profile", "test", "--outdir", "out", *models)
    assert finished.returncode == 0, finished.output
    out = nextflow.folder / "out"
    metrics = json.loads((out / "numbers" / "metrics.json").read_text())["metrics"]
    of_classes = [item for item in metrics if (item["task"], item["metric"]) == ("cancer_type", "macro_f1")]
    methods = {item["method"] for item in of_classes}
    assert {f"{title} embedding + logistic regression" for title in ("BulkRNABert", "MOJO", "GexBERT")} <= methods
    assert "early integration: PCA of all modalities + logistic regression" in methods
    assert len({item["n_samples"] for item in of_classes}) == 1
    page = (out / "report.html").read_text()
    assert 'id="gexbert"' in page and 'id="modalities"' in page
    assert {path.name for path in (out / "encoders").iterdir()} >= {"r0f0", "mojo.r0f0", "gexbert.r0f1"}


def test_no_encoder_saw_the_patients_it_is_judged_on(run: Run) -> None:
    metrics = json.loads((run.nextflow.folder / "out" / "numbers" / "metrics.json").read_text())
    seen = {item["n_pretrained_patients_in_test"] for item in metrics["metrics"] if item["role"] == "model"}
    assert seen == {0}


def test_what_it_took_is_in_the_report(run: Run) -> None:
    out = run.nextflow.folder / "out"
    total = json.loads((out / "cost.json").read_text())["total"]
    assert total["n_tasks"] == len(run.finished.trace("out")) and total["cpu_hours"] > 0
    assert f"What it took: {total['n_tasks']} tasks (0 failed, 0 from the cache): " in run.finished.output
    assert "<b>Time and cost:</b>" in (out / "report.html").read_text()


def test_unchanged_resume_is_wholly_cached(run: Run) -> None:
    finished = run.again()
    assert finished.returncode == 0, finished.output
    assert finished.executed("out") == ["FINGERPRINT"]
    total = json.loads((run.nextflow.folder / "out" / "cost.json").read_text())["total"]
    assert total["n_tasks"] == 1 and total["earlier_cpu_hours"] > total["cpu_hours"]


def test_editing_the_report_runs_the_report_alone(run: Run) -> None:
    template = next((run.project / "bulkrnabert" / "report" / "templates").glob("*.html*"))
    original = template.read_bytes()
    template.write_bytes(original + b"\n<!-- edited -->\n")
    try:
        finished = run.again()
    finally:
        template.write_bytes(original)
    assert finished.executed("out") == ["FINGERPRINT", "REPORT"]


def test_editing_a_module_runs_what_imports_it_and_what_follows(run: Run) -> None:
    source = run.project / "bulkrnabert" / "evaluate" / "uncertainty.py"
    original = source.read_bytes()
    source.write_bytes(original + b"\n# edited\n")
    try:
        finished = run.again()
    finally:
        source.write_bytes(original)
    executed = finished.executed("out")
    assert "EVALUATE" in executed
    assert not {"DOWNLOAD", "PREPROCESS", "PRETRAIN", "EMBED"} & set(executed)


def test_bad_samplesheet_stops_with_one_message(run: Run, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("cohort,modality,path,format,unit,clinical\nA,rnaseq,missing.tsv,tsv,furlongs,\n")
    nextflow = Nextflow(run.nextflow.launcher, tmp_path)
    finished = nextflow("run", str(run.project), "--input", str(sheet), "--outdir", "bad")
    assert finished.returncode == 2, finished.output
    said = finished.output[finished.output.rindex("The run stopped.") :]
    assert "missing.tsv" in said and "furlongs" in said
    assert not (tmp_path / "bad" / "cohorts").exists()
    shutil.rmtree(tmp_path / "work")
