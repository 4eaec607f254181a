"""The last line of a stage: what was written, and the next command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.cli import _run


def test_each_stage_names_what_it_wrote_and_the_next(
    finetune_study: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def last_line(*arguments: object) -> str:
        assert _run([str(argument) for argument in arguments]) == 0
        return capfd.readouterr().err.splitlines()[-1].split(": ", 1)[1]

    cohorts, splits, out = tmp_path / "cohorts", tmp_path / "splits", tmp_path / "out"
    clinical = finetune_study.clinical.assign(sample_id=finetune_study.values.index)
    clinical.to_csv(tmp_path / "clinical.csv", index=False)
    table = ["--table", finetune_study.table, "--unit", "tpm", "--clinical", tmp_path / "clinical.csv"]
    last_line("preprocess", *table, "--cohort", "STUDY", "--out", cohorts)
    line = last_line("split", "--cohorts", cohorts, "--folds", "2", "--out", splits)
    table = splits / "splits.tsv"
    assert line.startswith(f"{table}: ")
    following = f"tokenize --cohorts {cohorts} --splits {table} --split-id r0f0 --out TOKENS"
    assert line.endswith(f"; next: bulkrnabert {following}")
    embeddings, checkpoint = tmp_path / "all.h5ad", finetune_study.checkpoint("all")
    last_line("embed", "--checkpoint", checkpoint, "--cohorts", cohorts, "--out", embeddings)
    read = ["--cohorts", cohorts, "--splits", finetune_study.folder]
    predictions = tmp_path / "predictions.parquet"
    heads = ["--embeddings", embeddings, "--task", "cancer_type", "--baselines", "fast"]
    line = last_line("probe", *read, *heads, "--out", predictions)
    assert line.startswith(f"{predictions}: cancer_type, scope pan: ")
    following = f"--cohorts {cohorts} --splits {finetune_study.folder} --out NUMBERS"
    assert line.endswith(f"; next: bulkrnabert evaluate --predictions {predictions} {following}")
    judged = ["--predictions", predictions, "--protocol", "transductive", "--bootstrap", "2"]
    line = last_line("evaluate", *read, *judged, "--out", out)
    metrics = out / "metrics.json"
    assert line.startswith(f"{metrics}: ") and str(out / "results.csv") in line
    following = f"report --metrics {metrics} --summary {cohorts / 'summary.json'} --out REPORT"
    assert line.endswith(f"; next: bulkrnabert {following}")
