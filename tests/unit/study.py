"""A made-up finished run: every input of the report and of the MLflow import, small and seeded."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

HOSTILE_COHORT = "<script>alert(1)</script>"
HOSTILE_METHOD = "pca_$x^2$ & <b>'logit\"</b>"
SPLIT_SHA256 = "5f" * 32
COHORTS = ["BLCA", "BRCA", "COADREAD", "HNSC", "STAD"]
CLASSIFIERS = {
    "embedding_mlp": ("model", 0.957),
    "embedding_logistic": ("model", 0.949),
    "pca_logistic": ("baseline", 0.968),
}
SURVIVAL_METHODS = {
    "embedding_cox_mlp": ("model", 0.61),
    "pca_cox": ("baseline", 0.59),
    "cancer_type": ("baseline", None),
}


@dataclass(frozen=True)
class Study:
    """Paths of the files, in the form that the pipeline hands over."""

    metrics: Path
    summary: Path
    rejected: Path
    run: Path
    checkpoints: list[Path]
    predictions: list[Path]
    maps: Path

    def report_arguments(self, out: Path) -> list[str]:
        arguments = ["--metrics", str(self.metrics), "--summary", str(self.summary), "--rejected", str(self.rejected)]
        arguments += ["--run", str(self.run), "--embedding-maps", str(self.maps), "--out", str(out)]
        return arguments + [part for folder in self.checkpoints for part in ("--checkpoint", str(folder))]


def metric(
    task: str, scope: str, method: str, role: str, name: str, value: float | None, **more: Any
) -> dict[str, Any]:
    half = 0.012 if scope == "pan" else 0.06
    return {
        "task": task,
        "scope": scope,
        "method": method,
        "role": role,
        "metric": name,
        "value": value,
        "low": None if value is None else round(value - half, 4),
        "high": None if value is None else min(1.0, round(value + half, 4)),
        "n_samples": 1900,
        "n_patients": 1900,
        "n_events": None,
        "estimable": value is not None,
        "reason": None,
        "n_pretrained_patients_in_test": 0,
        "split_sha256": SPLIT_SHA256,
        "seed": 0,
        **more,
    }


def make_metrics(cohorts: list[str], hostile: bool) -> list[dict[str, Any]]:
    found = []
    for method, (role, value) in CLASSIFIERS.items():
        name = HOSTILE_METHOD if hostile and method == "pca_logistic" else method
        offsets = {"accuracy": 0.01, "balanced_accuracy": -0.004, "macro_f1": 0.0, "weighted_f1": 0.008}
        for metric_name, offset in offsets.items():
            found.append(metric("cancer_type", "pan", name, role, metric_name, round(value + offset, 4)))
        found.append(metric("cancer_type", "pan", name, role, "auroc_ovr_macro", round(0.995 + value / 500, 4)))
    for method, (role, value) in SURVIVAL_METHODS.items():
        sizes = {"n_samples": 1850, "n_patients": 1850, "n_events": 545}
        pooled = 0.58 if value is None else value + 0.06
        found.append(metric("survival", "pan", method, role, "c_index_pooled", pooled, **sizes))
        for metric_name in ("c_index_within_weighted", "c_index_within_macro"):
            reason = None if value is not None else "every patient of a cohort has the same risk"
            found.append(metric("survival", "pan", method, role, metric_name, value, reason=reason, **sizes))
    for index, cohort in enumerate(cohorts):
        for method, (role, value) in list(SURVIVAL_METHODS.items())[:2]:
            is_last = index == len(cohorts) - 1
            sizes = {"n_samples": 371, "n_patients": 371, "n_events": 3 if is_last else 60 + 20 * index}
            shown = None if is_last else round(value + 0.03 * math.sin(index * 2 + len(method)), 4)
            reason = "3 events; at least 10 are needed" if is_last else None
            found.append(metric("survival", cohort, method, role, "c_index_pooled", shown, reason=reason, **sizes))
    return found


def make_more_metrics(cohorts: list[str], pca: str) -> list[dict[str, Any]]:
    """Metrics where lower is better, those that weigh censoring, and the concordance of each cohort."""
    found = []
    for index, (method, role) in enumerate([("embedding_mlp", "model"), (pca, "baseline")]):
        for name, value in (("expected_calibration_error", 0.03), ("brier_score", 0.09), ("log_loss", 0.15)):
            found.append(metric("cancer_type", "pan", method, role, name, value + 0.01 * index))
    sizes = {"n_samples": 1850, "n_patients": 1850, "n_events": 545}
    for index, (method, role) in enumerate([("embedding_cox_mlp", "model"), ("pca_cox", "baseline")]):
        for name, value, days in (
            ("uno_c", 0.65, 1969.0),
            ("auc_1y", 0.7, 365.25),
            ("auc_5y", None, 1826.25),
            ("integrated_brier_score", 0.17, 1969.0),
            ("calibration_error", 0.05, 1095.75),
        ):
            reason = None if value else "fewer than 5 events before the time, or patients followed beyond it"
            shown = value and value + 0.01 * index
            found.append(metric("survival", "pan", method, role, name, shown, at_days=days, reason=reason, **sizes))
        for number, cohort in enumerate(cohorts):
            is_last = number == len(cohorts) - 1
            more = {"scope_cohort": cohort, "n_samples": 371, "n_patients": 371, "n_events": 3 if is_last else 60}
            reason = "fewer than 5 events" if is_last else None
            value = None if is_last else 0.6 + 0.02 * number - 0.03 * index
            found.append(metric("survival", "pan", method, role, "c_index_cohort", value, reason=reason, **more))
    return found


def make_comparison(task: str, metric_name: str, method: str, against: str, holds: str, **more: Any) -> dict[str, Any]:
    difference = {"ahead": 0.02, "level": -0.011, "behind": -0.04}[holds]
    return {
        "task": task,
        "scope": "pan",
        "metric": metric_name,
        "method": method,
        "against": against,
        "is_best_baseline": True,
        "difference": difference,
        "low": round(difference - 0.015, 4),
        "high": round(difference + 0.015, 4),
        "p_corrected": 0.2 if holds == "level" else 0.004,
        "n_folds": 5,
        "holds": holds,
        "reason": None,
        **more,
    }


def make_details(cohorts: list[str], pca: str) -> dict[str, list[dict[str, Any]]]:
    """Comparisons, scores of single classes, reliability and calibration; the last class has 3 samples."""
    classes = [
        {"label": name, "precision": 0.9, "recall": 0.95, "f1": 0.92, "n": 3 if name == cohorts[-1] else 380}
        for name in cohorts
    ]
    bins = [
        {"low": low, "high": low + 0.1, "mean_probability": low + 0.05, "observed_share": low + 0.02, "n": n}
        for low, n in ((0.5, 3), (0.8, 400), (0.9, 1400))
    ]
    groups = [
        {"n": 370, "predicted": 0.2 * index + 0.1, "observed": 0.2 * index + 0.12, "low": 0.2 * index, "high": 0.95}
        for index in range(5)
    ]
    return {
        "comparisons": [
            make_comparison("cancer_type", "macro_f1", "embedding_mlp", pca, "level"),
            make_comparison("cancer_type", "macro_f1", "embedding_logistic", pca, "behind"),
            make_comparison("survival", "c_index_within_weighted", "embedding_cox_mlp", "pca_cox", "ahead"),
        ],
        "per_class": [{"scope": "pan", "method": name, "classes": classes} for name in ("embedding_mlp", pca)],
        "reliability": [{"scope": "pan", "method": name, "bins": bins} for name in ("embedding_mlp", pca)],
        "calibration": [
            {"scope": "pan", "method": name, "at_days": 1095.75, "groups": groups}
            for name in ("embedding_cox_mlp", "pca_cox")
        ],
    }


def make_confusion(cohorts: list[str], method: str, rng: np.random.Generator) -> dict[str, Any]:
    matrix = np.diag(rng.integers(290, 420, len(cohorts))) + rng.integers(0, 7, (len(cohorts), len(cohorts)))
    return {"scope": "pan", "method": method, "classes": cohorts, "matrix": matrix.tolist()}


def make_curves(scope: str, rng: np.random.Generator) -> dict[str, Any]:
    groups, at_risk = [], {}
    times = [0.0, *sorted(float(t) for t in rng.integers(20, 3600, 40))]
    at_risk_times = [365.0 * year for year in range(0, 11, 2)]
    for name, rate in (("low risk", 0.006), ("high risk", 0.018)):
        survival = [math.exp(-rate * index * 1.5) for index in range(len(times))]
        groups.append(
            {
                "name": name,
                "n": 185,
                "times": times,
                "survival": survival,
                "low": [None, *(max(0.0, value - 0.002 * index) for index, value in enumerate(survival[1:]))],
                "high": [None, *(min(1.0, value + 0.002 * index) for index, value in enumerate(survival[1:]))],
            }
        )
        at_risk[name] = [185, 120, 63, 28, 9, 3]
    return {
        "scope": scope,
        "method": "embedding_cox_mlp",
        "endpoint": "OS",
        "logrank_p": 0.0032,
        "groups": groups,
        "at_risk_times": at_risk_times,
        "at_risk": at_risk,
    }


def make_projection(cohorts: list[str], rng: np.random.Generator, n_each: int = 60) -> dict[str, Any]:
    points = [
        {"x": float(x), "y": float(y), "cohort": cohort}
        for index, cohort in enumerate(cohorts)
        for x, y in rng.normal([4 * math.cos(index * 1.3), 4 * math.sin(index * 1.3)], 0.8, (n_each, 2))
    ]
    return {"method": "UMAP", "split_id": "r0f0", "points": points}


def make_maps(cohorts: list[str], rng: np.random.Generator, n_each: int = 60) -> dict[str, Any]:
    """UMAP and PCA of two models; the second has no embedding of the first sample."""
    n = n_each * len(cohorts)
    ids = [f"TCGA-{number // 100:02d}-{number:05d}-01A" for number in range(n)]
    codes = [number // n_each for number in range(n)]
    views = [
        {
            "model": model,
            "split_id": "r0f0",
            "method": method,
            "rows": list(range(first, n)),
            "x": [round(float(4 * math.cos(code * 1.3) + rng.normal(0, 0.8)), 4) for code in codes[first:]],
            "y": [round(float(4 * math.sin(code * 1.3) + rng.normal(0, 0.8)), 4) for code in codes[first:]],
        }
        for model, first in (("bulkrnabert", 0), ("mojo", 1))
        for method in ("UMAP", "PCA")
    ]
    ages = [None if number % 7 == 0 else 30 + number % 60 for number in range(n)]
    columns = [
        {"kind": "category", "name": "cohort", "levels": cohorts, "codes": codes},
        {"kind": "category", "name": "sex", "levels": ["female", "male"], "codes": [n % 3 - 1 for n in range(n)]},
        {"kind": "number", "name": "age_years", "values": ages},
    ]
    patients = [name.removesuffix("-01A") for name in ids]
    return {"version": 1, "sample_ids": ids, "patient_ids": patients, "columns": columns, "views": views}


def make_summary(cohorts: list[str], data_access: str) -> dict[str, Any]:
    return {
        "cohorts": [
            {
                "cohort": cohort,
                "source": "gdc",
                "unit": "tpm",
                "n_samples": 400 + 10 * index,
                "n_patients": 380 + 10 * index,
                "n_tumor": 380 + 10 * index,
                "n_normal": 20,
                "n_with_survival": 371,
                "n_events": 3 if index == len(cohorts) - 1 else 60 + 20 * index,
                "endpoint": "OS",
            }
            for index, cohort in enumerate(cohorts)
        ],
        "rejected": [
            {"cohort": cohorts[0], "rule": "not_ffpe", "n": 4},
            {"cohort": cohorts[1], "rule": "one_aliquot_a_sample", "n": 11},
        ],
        "genes": {
            "n_kept": 19062,
            "dropped": [
                {"rule": rule, "source": source, "n": n, "examples": examples}
                for rule, n, examples in (
                    ("summary_row", 4, ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"]),
                    ("par_y", 44, ["ENSG00000002586.20_PAR_Y"]),
                    ("not_in_every_cohort", 812, ["ENSG00000000003", "ENSG00000000005"]),
                )
                for source in ("gdc", "own.tsv")
            ],
        },
        "unit": "tpm",
        "data_access": data_access,
    }


def write_checkpoint(folder: Path, split_id: str, rng: np.random.Generator, n_steps: int = 400) -> Path:
    folder.mkdir(parents=True)
    records: list[dict[str, Any]] = []
    for step in range(10, n_steps + 1, 10):
        loss = 1.4 + 2.7 * math.exp(-step / 90) + float(rng.normal(0, 0.04))
        records.append({"kind": "train", "step": step, "loss": loss, "lr": 1e-4, "tokens_per_s": 9000.0})
        if step % 50 == 0:
            records.append(
                {
                    "kind": "validation",
                    "step": step,
                    "loss": loss + 0.05,
                    "masked_accuracy": 0.41 - 0.2 * math.exp(-step / 120),
                    "baseline_accuracy": 0.236,
                }
            )
    records.append({"kind": "summary", "step": n_steps, "loss": 1.45})
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    provenance = {
        "stage": "pretrain",
        "split_id": split_id,
        "split_sha256": SPLIT_SHA256,
        "code_sha256": "c0de" * 16,
        "patient_hashes": [f"{index:016x}" for index in range(1520)],
        "parameters": {"seed": 0, "train": {"learning_rate": 1e-4, "batch_size": 8}},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (folder / "config.json").write_text(json.dumps({"model": "bulkrnabert", "config": {"n_layers": 4}}))
    save_file({"embedding": np.zeros((66, 256), np.float32), "head": np.zeros((64,), np.float32)},
              str(folder / "model.safetensors"))  # fmt: skip
    return folder


def write_predictions(folder: Path, task: str, scope: str) -> Path:
    folder.mkdir(parents=True)
    path = folder / "predictions.parquet"
    table = pa.table({"task": [task] * 4, "scope": [scope] * 4, "method": ["embedding_mlp"] * 4, "fold": [0, 1, 2, 3]})
    pq.write_table(table, path)
    return path


LARGE_CLASSIFIERS = {
    "BulkRNABert embedding + MLP": ("model", 0.957),
    "BulkRNABert, IA3 fine-tuning": ("model", 0.949),
    "MOJO embedding + MLP": ("model", 0.961),
    "GexBERT embedding + MLP": ("model", 0.931),
    "PCA + logistic regression": ("baseline", 0.968),
    "linear SVM": ("baseline", 0.955),
    "k nearest neighbours": ("baseline", 0.911),
    "most frequent class": ("baseline", 0.021),
}
LARGE_SURVIVAL = {
    "BulkRNABert embedding + Cox": ("model", 0.611),
    "MOJO embedding + Cox": ("model", 0.618),
    "GexBERT embedding + Cox": ("model", 0.604),
    "PCA + Cox": ("baseline", 0.607),
    "clinical alone": ("baseline", 0.629),
    "cancer type alone": ("baseline", None),
}


def large_metrics(cohorts: list[str]) -> list[dict[str, Any]]:
    found = []
    sizes = {"n_samples": 9800, "n_patients": 9800}
    for method, (role, value) in LARGE_CLASSIFIERS.items():
        for name in ("macro_f1", "weighted_f1", "balanced_accuracy", "accuracy", "auroc_ovr_macro", "log_loss"):
            found.append(metric("cancer_type", "pan", method, role, name, value, **sizes))
    for number, (method, (role, value)) in enumerate(LARGE_SURVIVAL.items()):
        events = {**sizes, "n_events": 3100}
        for name in ("c_index_within_weighted", "c_index_within_macro", "uno_c", "auc_1y", "auc_3y", "auc_5y"):
            found.append(metric("survival", "pan", method, role, name, value, reason="one risk a cohort", **events))
        found.append(metric("survival", "pan", method, role, "c_index_pooled", 0.7, **events))
        for index, cohort in enumerate(cohorts):
            shown = value and round(value + 0.05 * math.sin(index + number), 3)
            more = {"n_samples": 330, "n_patients": 330, "n_events": 90, "reason": "one risk a cohort"}
            found.append(metric("survival", "pan", method, role, "c_index_cohort", shown, scope_cohort=cohort, **more))
            found.append(metric("survival", cohort, method, role, "c_index_pooled", shown, **more))
    return found


def write_large_study(folder: Path, n_samples: int = 11_000, n_cohorts: int = 33) -> Study:
    """Write a run of three models at the size of TCGA, which the page must hold."""
    small = write_study(folder)
    rng = np.random.default_rng(11)
    cohorts = [f"TCGA-C{number:02d}" for number in range(n_cohorts)]
    classes = [{"label": name, "precision": 0.9, "recall": 0.95, "f1": 0.92, "n": 330} for name in cohorts]
    numbers = json.loads(small.metrics.read_text())
    models = [name for name, (role, _) in LARGE_SURVIVAL.items() if role == "model"]
    curves = [{**make_curves(scope, rng), "method": name} for scope in ["pan", *cohorts] for name in models]
    numbers |= {
        "metrics": large_metrics(cohorts),
        "confusion": [make_confusion(cohorts, method, rng) for method in LARGE_CLASSIFIERS],
        "per_class": [{"scope": "pan", "method": method, "classes": classes} for method in LARGE_CLASSIFIERS],
        "kaplan_meier": curves,
        "comparisons": [],
        "calibration": [],
        "projection": make_projection(cohorts, rng, n_samples // n_cohorts),
    }
    columns = ["sex", "stage", "race", "subtype", "grade", "site", "smoking", "event"]
    maps = make_maps(cohorts, rng, n_samples // n_cohorts)
    n_shown = len(maps["sample_ids"])
    for number, name in enumerate(columns):
        levels = [f"{name} {level}" for level in range(number + 2)]
        codes = rng.integers(-1, len(levels), n_shown).tolist()
        maps["columns"].append({"kind": "category", "name": name, "levels": levels, "codes": codes})
    for name in ("time_days", "purity", "mutations"):
        values = [round(float(value), 2) for value in rng.normal(800, 300, n_shown)]
        maps["columns"].append({"kind": "number", "name": name, "values": values})
    extra = [{**view, "model": "gexbert"} for view in maps["views"][:2]]
    maps["views"] += extra
    rejected = [small.rejected.read_text().splitlines()[0]]
    rejected += [
        f"TCGA-X{number:05d}-11A\tTCGA-X{number:05d}\t{cohorts[number % n_cohorts]}\t{number:08x}.counts.tsv\t"
        f"sample_type\tsample type 'Solid Tissue Normal' (11); only tumours are wanted"
        for number in range(1500)
    ]
    small.metrics.write_text(json.dumps(numbers))
    small.maps.write_text(json.dumps(maps))
    small.summary.write_text(json.dumps(make_summary(cohorts, "open")))
    small.rejected.write_text("\n".join(rejected) + "\n")
    return small


def write_study(folder: Path, *, hostile: bool = False, data_access: str = "open", n_encoders: int = 5) -> Study:
    """Write a whole run below `folder`; `hostile` puts markup into a cohort's and a method's name."""
    rng = np.random.default_rng(7)
    cohorts = [HOSTILE_COHORT if hostile and cohort == "BLCA" else cohort for cohort in COHORTS]
    folder.mkdir(parents=True, exist_ok=True)
    pca = HOSTILE_METHOD if hostile else "pca_logistic"
    numbers = {
        "version": 1,
        "split_sha256": SPLIT_SHA256,
        "protocol": "leak-free",
        "seed": 0,
        "metrics": [*make_more_metrics(cohorts, pca), *make_metrics(cohorts, hostile)],
        **make_details(cohorts, pca),
        "confusion": [make_confusion(cohorts, method, rng) for method in ("embedding_logistic", pca, "embedding_mlp")],
        "kaplan_meier": [make_curves(scope, rng) for scope in ["pan", *cohorts[:-1]]],
        "projection": make_projection(cohorts, rng),
        "skipped": [{"task": "survival", "scope": "CHOL", "reason": "7 events; at least 10 are needed <i>here</i>"}],
    }
    run = {
        "pipeline_version": "0.1.0dev",
        "command_line": "nextflow run . --input sheet.csv --mlflow_uri http://me:secret@mlflow.example:5000 -resume",
        "run_name": "curious_curie",
        "session_id": "8c1f1d4e-6f0c-4d8a-a4cb-0f7f6a0d7d11",
        "params": {"outdir": "results", "folds": 5, "preset": "small", "gdc_api": None, "pooling": "marker"},
        "software": {"python": "3.11.2", "torch": "2.15.0", "nextflow": "25.04.4"},
    }
    rejected = ["sample_id\tpatient_id\tcohort\tfile\trule\treason"]
    rejected += [
        f"TCGA-0{index}-01A\tTCGA-0{index}\t{cohorts[0]}\tf{index}.tsv\tnot_ffpe\tFFPE <sample>" for index in range(4)
    ]
    rejected += [
        f"TCGA-1{index}-01A\tTCGA-1{index}\t{cohorts[1]}\t\tone_aliquot_a_sample\tkept another" for index in range(11)
    ]
    for name, value in (
        ("metrics", numbers),
        ("summary", make_summary(cohorts, data_access)),
        ("run", run),
        ("embedding_maps", make_maps(cohorts, rng)),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "rejected.tsv").write_text("\n".join(rejected) + "\n")
    jobs = [("cancer_type", "pan"), ("survival", "pan"), *(("survival", cohort) for cohort in cohorts)]
    return Study(
        metrics=folder / "metrics.json",
        summary=folder / "summary.json",
        rejected=folder / "rejected.tsv",
        run=folder / "run.json",
        maps=folder / "embedding_maps.json",
        checkpoints=[
            write_checkpoint(folder / "checkpoints" / f"r0f{index}", f"r0f{index}", rng) for index in range(n_encoders)
        ],
        predictions=[write_predictions(folder / "jobs" / str(index), *job) for index, job in enumerate(jobs)],
    )
