"""Survival from restored anchor genes: features of every method, fold by fold, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.anchors import choose_anchors, cox_score_statistics
from bulkrnabert.downstream.job import Fold, Job
from bulkrnabert.downstream.model_restorers import GexBERTRestorer
from bulkrnabert.downstream.predictions import BASELINE, MODEL, Predictions
from bulkrnabert.downstream.probe import predict_cox, risk_frame
from bulkrnabert.downstream.survival import fit_cox
from bulkrnabert.evaluate.comparisons import MeanScore, paired_comparison
from bulkrnabert.evaluate.expression import principal_components
from bulkrnabert.evaluate.survival_metrics import Concordance, ConcordanceJudge, FollowUp
from bulkrnabert.evaluate.uncertainty import percentile_interval, resample_weights

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RESTORED = "anchors, restored by GexBERT"
PANEL_AND_RESTORED = "panel and restored anchors"
MEASURED = "anchors, measured"
RIDGE = "anchors, restored by ridge regression"
PANEL_GENES = "panel genes"
PANEL_PCA = "PCA of the panel"
MODELS = (RESTORED, PANEL_AND_RESTORED)
N_COMPONENTS = 16
RIDGE_STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)


@dataclass(frozen=True)
class AnchorFold:
    """Anchors of one fold.

    Attributes:
        fold: Which.
        panel: Genes that are read, ascending, as columns of the fold's encoder.
        anchors: Genes that are restored, ascending.
        statistics: Of the anchors, from `cox_score_statistics`.
        features: Of all rows of the job, by method, shape (rows, features).
    """

    fold: Fold
    panel: IntArray
    anchors: IntArray
    statistics: FloatArray
    features: Mapping[str, FloatArray]


def anchor_features(
    job: Job,
    fold: Fold,
    values: npt.NDArray[np.float32],
    panel: IntArray,
    n_anchors: int,
    restorer: GexBERTRestorer,
    seed: int,
) -> AnchorFold:
    """Choose the anchors on the training rows, and restore them in all rows from the panel alone.

    Args:
        job: Survival.
        fold: One of its folds.
        values: z of the job's rows, shape (rows, genes), NaN where missing; a missing value counts as the mean, 0, for
            every method but the restoring ones, which do not see it.
        panel: Genes that are read.
        n_anchors: Genes to restore, outside the panel.
        restorer: The fold's model.
        seed: Of the baselines.
    """
    from sklearn.linear_model import RidgeCV

    filled = np.nan_to_num(values).astype(np.float64)
    statistics = cox_score_statistics(filled[fold.train], job.survival.take(fold.train))
    anchors = choose_anchors(statistics, panel, n_anchors)
    shown = np.full(values.shape, np.nan, dtype=np.float32)
    shown[:, panel] = values[:, panel]
    bare = np.isnan(shown).all(axis=1)
    shown[np.ix_(bare, panel)] = 0.0
    restored = restorer.restore_targets(shown, anchors).mean.astype(np.float64)
    of_panel = filled[:, panel]
    ridge = RidgeCV(RIDGE_STRENGTHS).fit(of_panel[fold.train], filled[np.ix_(fold.train, anchors)])
    features = {
        RESTORED: restored,
        PANEL_AND_RESTORED: np.concatenate([of_panel, restored], axis=1),
        MEASURED: filled[:, anchors],
        RIDGE: np.asarray(ridge.predict(of_panel)).reshape(len(filled), -1),
        PANEL_GENES: of_panel,
        PANEL_PCA: principal_components(of_panel, fold.train, N_COMPONENTS, seed),
    }
    return AnchorFold(fold, panel, anchors, statistics[anchors], features)


def predict_anchors(job: Job, folds: list[AnchorFold], seed: int) -> Predictions:
    """Out-of-fold risk of every method: ridge Cox with a baseline hazard a stratum."""
    frames = []
    for item in folds:
        for name, features in item.features.items():
            found = predict_cox(fit_cox, features, job.survival, item.fold, seed, job.survival_times)
            role = MODEL if name in MODELS else BASELINE
            frames.append(risk_frame(job, item.fold, name, role, found.risk, found.survival))
    frame = pd.concat(frames, ignore_index=True)
    return Predictions(frame, [], job.split_sha256, job.survival_times.tolist())


def score_anchors(
    predictions: Predictions, n_resamples: int, seed: int, test_share: float
) -> dict[str, list[dict[str, Any]]]:
    """Harrell's C of every method with patient bootstrap, and the restoring methods against each other one.

    Over several cohorts `c_index_within_weighted` and `c_index_cohort`; within one `c_index_pooled`. Higher is better.
    """
    frame = predictions.frame
    scope = str(frame["scope"].iloc[0])
    patients = np.unique(frame[keys.PATIENT_ID].to_numpy(dtype=str))
    of_patients = resample_weights(len(patients), n_resamples, seed)
    found: dict[str, dict[tuple[str, str], list[Concordance]]] = {}
    of_folds: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for repeat, of_repeat in frame.groupby("repeat"):
        judge: ConcordanceJudge | None = None
        for method, rows in of_repeat.groupby("method", sort=False):
            ordered = rows.sort_values([keys.PATIENT_ID, keys.SAMPLE_ID], kind="stable")
            strata = sorted(ordered[keys.STRATUM].unique())
            if judge is None:
                weights = of_patients[:, np.searchsorted(patients, ordered[keys.PATIENT_ID].to_numpy(dtype=str))]
                judge = ConcordanceJudge(_follow_up(ordered, strata), weights)
                counts = {"n_samples": len(ordered), "n_events": int(ordered[keys.EVENT].sum())}
            risk = ordered["risk"].to_numpy(np.float64)
            scores = found.setdefault(str(method), {})
            for key, item in _concordances(judge, risk, strata):
                scores.setdefault(key, []).append(item)
            by_fold = judge.of_folds(risk, by_cohort=len(strata) > 1)
            of_folds.setdefault(str(method), []).extend(by_fold.values())
        assert judge is not None, repeat
    rows_found = [
        {
            "scope": scope,
            "method": method,
            "role": MODEL if method in MODELS else BASELINE,
            "metric": metric,
            "scope_cohort": cohort or None,
            **_shown(items),
            **counts,
        }
        for method, scores in found.items()
        for (metric, cohort), items in scores.items()
    ]
    comparisons = [
        {
            "scope": scope,
            "method": model,
            "against": other,
            "metric": next(iter(found[model]))[0],
            **paired_comparison(
                _score(found[model], of_folds[model]), _score(found[other], of_folds[other]), test_share
            ),
        }
        for model in MODELS
        for other in found
        if other not in MODELS
    ]
    return {"rows": rows_found, "comparisons": comparisons}


def _follow_up(rows: pd.DataFrame, strata: list[str]) -> FollowUp:
    return FollowUp(
        rows[keys.TIME_DAYS].to_numpy(np.float64),
        rows[keys.EVENT].to_numpy(np.int64).astype(bool),
        rows["fold"].to_numpy(np.int64),
        np.searchsorted(np.array(strata), rows[keys.STRATUM].to_numpy(dtype=str)).astype(np.int64),
    )


def _concordances(
    judge: ConcordanceJudge, risk: FloatArray, strata: list[str]
) -> Iterator[tuple[tuple[str, str], Concordance]]:
    if len(strata) == 1:
        yield ("c_index_pooled", ""), judge.pooled(risk)
        return
    yield ("c_index_within_weighted", ""), judge.within(risk, is_weighted=True)
    for number, item in judge.of_cohorts(risk).items():
        yield ("c_index_cohort", strata[number]), item


def _shown(items: list[Concordance]) -> dict[str, float | None]:
    value = float(np.mean([item.value for item in items]))
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    interval = percentile_interval(np.mean([item.resampled for item in items], axis=0))
    return {"value": value, "low": interval.low, "high": interval.high}


def _score(scores: Mapping[tuple[str, str], list[Concordance]], by_fold: list[float]) -> MeanScore:
    """Of the first metric, that over all samples of the scope."""
    items = next(iter(scores.values()))
    resampled = np.mean([item.resampled for item in items], axis=0)
    return MeanScore(float(np.mean([item.value for item in items])), resampled, np.array(by_fold))


def anchor_table(
    folds: list[AnchorFold], gene_ids: Mapping[str, tuple[str, ...]], values: Mapping[str, npt.NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Anchors by how many folds chose them, with their mean statistic and how well they were restored in test rows.

    Args:
        folds: From `anchor_features`.
        gene_ids: Of each fold's encoder, by `split_id`.
        values: z of the job's rows, by `split_id`.
    """
    of_gene: dict[str, list[tuple[float, float]]] = {}
    for item in folds:
        name, test = item.fold.split_id, item.fold.test
        for column, gene in enumerate(item.anchors):
            truth, guess = values[name][test, gene].astype(np.float64), item.features[RESTORED][test, column]
            known = ~np.isnan(truth)
            correlation = np.nan
            if known.sum() > 2 and np.ptp(truth[known]) > 0 and np.ptp(guess[known]) > 0:
                correlation = float(np.corrcoef(truth[known], guess[known])[0, 1])
            of_gene.setdefault(gene_ids[name][gene], []).append((float(item.statistics[column]), correlation))
    ordered = sorted(of_gene, key=lambda name: (-len(of_gene[name]), name))
    found = []
    for name in ordered:
        statistics, correlations = zip(*of_gene[name], strict=True)
        known = [item for item in correlations if np.isfinite(item)]
        found.append(
            {
                "gene_id": name,
                "share_of_folds": len(statistics) / len(folds),
                "mean_statistic": float(np.mean(statistics)),
                "restored_correlation": float(np.mean(known)) if known else None,
            }
        )
    return found
