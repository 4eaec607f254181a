"""Cox models on fixed features: ridge and MLP heads, a baseline hazard a stratum, and a risk that can be pooled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import minimize

from bulkrnabert.data.splits import deal_folds
from bulkrnabert.downstream.directions import Directions, Standardiser, direction_choices
from bulkrnabert.models.heads import HeadConfig, MLPHead
from bulkrnabert.train.losses_survival import RiskSets, build_risk_sets, cox_loss, log_risk_sums

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RIDGE_STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
N_INNER_FOLDS = 3
COX_MLP_HIDDEN = (512, 256)
COX_MLP_DROPOUT = 0.4
COX_MLP_LEARNING_RATE = 3e-4
COX_MLP_WEIGHT_DECAY = 0.1
COX_MLP_MAX_STEPS = 100
COX_MLP_PATIENCE = 10
PRIOR_EVENTS = 0.5
N_GRID_STEPS = 40
HORIZON_DAYS = {"1y": 365.25, "3y": 1095.75, "5y": 1826.25}


@dataclass(frozen=True)
class SurvivalLabels:
    """Follow-up of samples.

    Attributes:
        time_days: Follow-up in days, not negative, shape (samples,).
        event: 1 event, 0 censored, shape (samples,).
        strata: Baseline that each sample belongs to, shape (samples,).
    """

    time_days: FloatArray
    event: IntArray
    strata: IntArray

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> SurvivalLabels:
        """The labels of some samples."""
        return SurvivalLabels(self.time_days[rows], self.event[rows], self.strata[rows])

    def risk_sets(self) -> RiskSets:
        """Risk sets of these samples."""
        return build_risk_sets(self.time_days, self.event, self.strata)


# Features (samples, features) to log hazards relative to the stratum's baseline (samples,); and what fits one.
LinearPredictor = Callable[[FloatArray], FloatArray]
CoxFitter = Callable[[FloatArray, SurvivalLabels, int], LinearPredictor]


def fit_ridge_cox(features: FloatArray, risk_sets: RiskSets, strength: float, start: FloatArray) -> FloatArray:
    """Coefficients that minimise `cox_loss + strength / 2 * |coefficients|^2`, by L-BFGS.

    Args:
        features: Standardised, shape (samples, features).
        risk_sets: Of the same samples.
        strength: Ridge penalty, in units of log likelihood an event.
        start: Where to begin, shape (features,).
    """
    design = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))

    def value_and_gradient(point: FloatArray) -> tuple[float, FloatArray]:
        coefficients = torch.from_numpy(point.copy()).requires_grad_()
        loss = cox_loss(design @ coefficients, risk_sets) + 0.5 * strength * (coefficients**2).sum()
        (gradient,) = torch.autograd.grad(loss, coefficients)
        return loss.item(), gradient.numpy()

    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(found.x, dtype=np.float64)


def _inner_folds(labels: SurvivalLabels, seed: int) -> IntArray:
    groups = pd.DataFrame({"stratum": labels.strata, "event": labels.event})
    return deal_folds(groups, N_INNER_FOLDS, np.random.default_rng(seed))


def choose_ridge_cox(ready: FloatArray, scale: FloatArray, labels: SurvivalLabels, seed: int) -> FloatArray:
    """Coefficients of a ridge Cox model on all features or on their leading principal directions.

    The number of directions and the strength are chosen together by the partial likelihood of inner folds.

    Args:
        ready: Standardised features of the training part, shape (samples, features).
        scale: Standard deviation of each before that, shape (features,).
        labels: Of the same samples.
        seed: Of the inner folds.
    """
    inner = _inner_folds(labels, seed)
    choices = direction_choices(ready.shape[1], len(ready) - int(np.bincount(inner).max()))
    held_out_loss = np.zeros((len(choices), len(RIDGE_STRENGTHS)))
    for fold in range(N_INNER_FOLDS):
        fitted, judged = labels.take(inner != fold).risk_sets(), labels.take(inner == fold).risk_sets()
        for choice, n_directions in enumerate(choices):
            directions = Directions.leading(ready[inner != fold], scale, n_directions)
            to_fit, to_judge = directions.scores(ready[inner != fold]), directions.scores(ready[inner == fold])
            coefficients = np.zeros(to_fit.shape[1])
            for index, strength in enumerate(RIDGE_STRENGTHS):
                coefficients = fit_ridge_cox(to_fit, fitted, strength, coefficients)
                predicted = torch.from_numpy(to_judge @ coefficients)
                held_out_loss[choice, index] += cox_loss(predicted, judged).item() * judged.n_events
    best = np.unravel_index(int(np.argmin(held_out_loss)), held_out_loss.shape)
    n_directions, strength = choices[int(best[0])], RIDGE_STRENGTHS[int(best[1])]
    logger.debug("ridge Cox: %s directions, strength %g", n_directions or "all", strength)
    directions = Directions.leading(ready, scale, n_directions)
    scores = directions.scores(ready)
    return directions.to_features(fit_ridge_cox(scores, labels.risk_sets(), strength, np.zeros(scores.shape[1])))


def fit_cox(features: FloatArray, labels: SurvivalLabels, seed: int) -> LinearPredictor:
    """Ridge Cox of `choose_ridge_cox` on features as they come.

    Args:
        features: Training part, shape (samples, features); standardised inside.
        labels: Of the same samples.
        seed: Of the inner folds.
    """
    standardise = Standardiser.fit(features)
    coefficients = choose_ridge_cox(standardise(features), standardise.scale, labels, seed)

    def predict(new_features: FloatArray) -> FloatArray:
        return np.asarray(standardise(new_features) @ coefficients)

    return predict


def _fit_cox_network(features: torch.Tensor, labels: SurvivalLabels, is_inner: npt.NDArray[np.bool_]) -> MLPHead:
    """Train on the rest, stop by the partial likelihood of `is_inner`, keep the best weights, if need be the first."""
    head = MLPHead(
        HeadConfig(
            n_inputs=features.shape[1],
            n_outputs=1,
            hidden=COX_MLP_HIDDEN,
            dropout=COX_MLP_DROPOUT,
            layer_norm=True,
        )
    )
    optimiser = torch.optim.AdamW(head.parameters(), lr=COX_MLP_LEARNING_RATE, weight_decay=COX_MLP_WEIGHT_DECAY)
    fitted, judged = labels.take(~is_inner).risk_sets(), labels.take(is_inner).risk_sets()
    to_fit, to_judge = features[torch.from_numpy(~is_inner)], features[torch.from_numpy(is_inner)]
    best_loss, best_step = float("inf"), 0
    best = {name: value.clone() for name, value in head.state_dict().items()}
    for step in range(COX_MLP_MAX_STEPS + 1):
        head.eval()
        with torch.no_grad():
            judged_loss = cox_loss(head(to_judge)[:, 0], judged).item()
        if judged_loss < best_loss:
            best_loss, best_step = judged_loss, step
            best = {name: value.clone() for name, value in head.state_dict().items()}
        elif step - best_step >= COX_MLP_PATIENCE:
            break
        head.train()
        optimiser.zero_grad()
        cox_loss(head(to_fit)[:, 0], fitted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    head.load_state_dict(best)
    return head.eval()


def fit_cox_mlp(features: FloatArray, labels: SurvivalLabels, seed: int) -> LinearPredictor:
    """Mean of Cox MLPs, one an inner fold, each stopped early on the fold that it did not see.

    Every step is over all training samples, so every event sees its whole risk set.

    Args:
        features: Training part, shape (samples, features); standardised inside.
        labels: Of the same samples.
        seed: Of the inner folds, the weights and the dropout.
    Source:
        BulkRNABert, section 3.2 ([512, 256], SELU, layer norm). Differs: Efron ties, a baseline a cohort, early
        stopping and the mean over inner folds; the paper states none of them.
    """
    standardise = Standardiser.fit(features)
    ready = torch.from_numpy(standardise(features).astype(np.float32))
    inner = _inner_folds(labels, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = [_fit_cox_network(ready, labels, inner == fold) for fold in range(N_INNER_FOLDS)]

    def predict(new_features: FloatArray) -> FloatArray:
        new = torch.from_numpy(standardise(new_features).astype(np.float32))
        with torch.no_grad():
            return torch.stack([head(new)[:, 0].double() for head in heads]).mean(dim=0).numpy()

    return predict


@dataclass(frozen=True)
class CumulativeHazard:
    """A step function of time.

    Attributes:
        at_days: Times of its jumps, ascending, shape (jumps,).
        values: The hazard summed up from each jump on, shape (jumps,).
    """

    at_days: FloatArray
    values: FloatArray

    def __call__(self, days: FloatArray) -> FloatArray:
        """Cumulative hazard at each time, shape (times,); 0 before the first jump, flat after the last."""
        return np.asarray(np.concatenate([[0.0], self.values])[np.searchsorted(self.at_days, days, side="right")])


@dataclass(frozen=True)
class Baseline:
    """Breslow's cumulative baseline hazards.

    Attributes:
        log_hazard: Log of the cumulative hazard at `at_days` for each stratum of the training part.
        pooled_log_hazard: The same with all strata as one; for a stratum that training did not have.
        at_days: The time.
        n_without_events: Strata of the training part that had no event by then.
        hazard: The whole cumulative hazard of each stratum.
        pooled_hazard: The same with all strata as one.
    """

    log_hazard: dict[int, float]
    pooled_log_hazard: float
    at_days: float
    n_without_events: int
    hazard: dict[int, CumulativeHazard]
    pooled_hazard: CumulativeHazard


def _breslow(predictor: FloatArray, labels: SurvivalLabels) -> CumulativeHazard:
    """Cumulative hazard of one stratum, for a sample whose linear predictor is 0."""
    risk_sets = build_risk_sets(labels.time_days, labels.event, np.zeros(len(predictor), dtype=np.int64))
    jumps = risk_sets.group_size * np.exp(-log_risk_sums(torch.from_numpy(predictor), risk_sets).numpy())
    return CumulativeHazard(np.asarray(risk_sets.group_time), np.cumsum(jumps))


def fit_baseline(predictor: FloatArray, labels: SurvivalLabels) -> Baseline:
    """Baseline hazards of a training part at its median follow-up.

    A stratum with no event by then would have hazard 0 and log hazard minus infinity. It gets the pooled baseline times
    0.5 / (0.5 + the events that the pooled baseline expected of it): as if half an event had been seen.

    Args:
        predictor: Linear predictors of the training part, shape (samples,).
        labels: Of the same samples; at least one event.
    """
    at_days = float(np.median(labels.time_days))
    if not labels.event[labels.time_days <= at_days].any():
        at_days = float(labels.time_days[labels.event == 1].min())
    everyone = _breslow(predictor, labels)
    pooled = float(everyone(np.array([at_days]))[0])
    log_hazard: dict[int, float] = {}
    curves: dict[int, CumulativeHazard] = {}
    n_without_events = 0
    for stratum in np.unique(labels.strata):
        inside = labels.strata == stratum
        curve = _breslow(predictor[inside], labels.take(inside))
        hazard = float(curve(np.array([at_days]))[0])
        if hazard == 0.0:
            n_without_events += 1
            until = np.minimum(labels.time_days[inside], at_days)
            expected = float((np.exp(predictor[inside]) * everyone(until)).sum())
            share = PRIOR_EVENTS / (PRIOR_EVENTS + expected)
            hazard = pooled * share
            curve = CumulativeHazard(everyone.at_days, everyone.values * share)
        log_hazard[int(stratum)] = float(np.log(hazard))
        curves[int(stratum)] = curve
    return Baseline(log_hazard, float(np.log(pooled)), at_days, n_without_events, curves, everyone)


def survival_grid(labels: SurvivalLabels) -> FloatArray:
    """Times in days at which survival probabilities are written: 40 even steps to the last event, and 1, 3, 5 years.

    Args:
        labels: Of the job; at least one event.
    Returns:
        Ascending, shape (times,); years after the last event are left out.
    """
    last = float(labels.time_days[labels.event == 1].max())
    even = np.linspace(0.0, last, N_GRID_STEPS + 1)[1:]
    return np.unique(np.concatenate([even, [days for days in HORIZON_DAYS.values() if days <= last]]))


def survival_probabilities(
    predictor: FloatArray, strata: IntArray, baseline: Baseline, at_days: FloatArray
) -> FloatArray:
    """Probability of no event by each time: exp(-cumulative baseline hazard of the stratum * exp(predictor)).

    Args:
        predictor: Linear predictors, shape (samples,).
        strata: Stratum of each; one that training did not have takes the pooled baseline.
        baseline: Of the training part.
        at_days: Times, shape (times,).
    Returns:
        Shape (samples, times).
    """
    rows = np.stack([baseline.hazard.get(int(name), baseline.pooled_hazard)(at_days) for name in strata])
    return np.asarray(np.exp(-rows * np.exp(predictor)[:, None]))


def pooled_risk(predictor: FloatArray, strata: IntArray, baseline: Baseline) -> FloatArray:
    """Risk that can be compared between strata: higher is worse.

    The log of the cumulative hazard at the training part's median follow-up, which is the log baseline of the sample's
    stratum plus the linear predictor. Within a stratum the order is the model's own.

    Args:
        predictor: Linear predictors, shape (samples,).
        strata: Stratum of each, shape (samples,).
        baseline: Of the training part.
    """
    offsets = [baseline.log_hazard.get(int(stratum), baseline.pooled_log_hazard) for stratum in strata]
    return np.asarray(predictor + np.array(offsets))
