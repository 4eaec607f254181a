"""Early and late integration: each omic tells one class apart, both together tell all three."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bulkrnabert.data.splits import make_splits
from bulkrnabert.downstream.job import Job, make_job
from bulkrnabert.evaluate.baselines import run_baselines
from bulkrnabert.evaluate.integration_baselines import EARLY, LATE

N = 120


def make_study() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """RNA-seq tells A from the others, methylation tells C from the others; risk is in methylation alone."""
    generator = np.random.default_rng(0)
    cohort = np.array(list("ABC"))[np.arange(N) % 3]
    samples = pd.DataFrame({"sample_id": [f"S{number:03d}" for number in range(N)], "cohort": cohort})
    samples = samples.assign(patient_id=samples["sample_id"], sample_type="tumor")
    expression, betas = generator.normal(size=(2, N, 6))
    expression[:, 0] += 6 * (cohort == "A")
    betas[:, 0] += 6 * (cohort == "C")
    days = generator.exponential(1000 * np.exp(-1.5 * betas[:, 1])) + 1
    clinical = pd.DataFrame({"patient_id": samples["patient_id"], "cohort": cohort, "time_days": days, "event": 1.0})
    return samples, clinical, expression, betas


def job_of(task: str) -> tuple[Job, dict[str, np.ndarray], pd.DataFrame]:
    samples, clinical, expression, betas = make_study()
    job = make_job(make_splits(samples, clinical, 2, 1, 0), clinical, task, "pan")  # type: ignore[arg-type]
    order = pd.Index(samples["sample_id"]).get_indexer(pd.Index(job.rows["sample_id"]))
    return job, {"rnaseq": expression[order], "methylation": betas[order]}, clinical


def test_two_modalities_tell_apart_what_neither_does_alone() -> None:
    job, features, clinical = job_of("cancer_type")
    frame = run_baselines(job, features, 0, clinical, "fast").frame
    right = (frame["predicted"] == frame["label"]).groupby(frame["method"]).mean()
    alone = right["PCA + logistic regression"], right["PCA + logistic regression, methylation alone"]
    assert max(alone) < 0.8
    assert right[f"{EARLY} + logistic regression"] > 0.9
    assert right[LATE] > 0.9
    late = frame[frame["method"] == LATE].set_index("sample_id")["probabilities"]
    of_both = [
        frame[frame["method"] == name].set_index("sample_id")["probabilities"].loc[late.index]
        for name in ("PCA + logistic regression", "PCA + logistic regression, methylation alone")
    ]
    np.testing.assert_allclose(np.stack(late), (np.stack(of_both[0]) + np.stack(of_both[1])) / 2, atol=1e-6)


def test_survival_finds_the_modality_that_knows_it() -> None:
    job, features, clinical = job_of("survival")
    frame = run_baselines(job, features, 0, clinical, "fast").frame
    days = {name: rows["risk"].corr(-rows["time_days"], method="spearman") for name, rows in frame.groupby("method")}
    assert days["PCA + Cox"] < 0.2 < 0.5 < days["PCA + Cox, methylation alone"]
    assert days[f"{EARLY} + Cox"] > 0.4
    assert days[LATE] > 0.3


def test_one_modality_has_no_integration() -> None:
    job, features, clinical = job_of("cancer_type")
    methods = set(run_baselines(job, {"rnaseq": features["rnaseq"]}, 0, clinical, "fast").frame["method"])
    assert not {name for name in methods if "integration" in name or "methylation" in name}
