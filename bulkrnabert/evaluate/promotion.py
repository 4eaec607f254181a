"""Champion against challenger: who is promoted, by a rule that is stated before the numbers are seen.

Both are judged out of fold on the same patients in the same folds, with today's labels and follow-up; patients who are
new are judged apart, each held out once by the challenger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.downstream.predictions import MODEL, Predictions, join_methods
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.artefacts import PRIMARY_METRIC
from bulkrnabert.evaluate.scores import RepeatJudge
from bulkrnabert.evaluate.survival_metrics import MIN_EVENTS_IN_MEAN, Concordance
from bulkrnabert.evaluate.uncertainty import Interval, percentile_interval, resample_weights

FloatArray = npt.NDArray[np.float64]
Holds = Literal["kept", "open", "lost"]

RULE = (
    "The challenger is promoted if, for the primary metric of every task over all cohorts (macro F1 of the old classes;"
    " Harrell's C within cohort, weighted by patients), the 95 % interval of the paired difference to the champion on"
    " the frozen test patients lies above minus the margin; and if the held-out patients of every new cohort are"
    " recognised better than chance, are not ranked worse than chance, and have profiles like those of the other"
    " cohorts. What is not shown is not promoted. Where nothing can be said of a new cohort (few events, no two other"
    " cohorts to compare profiles with) it is not judged, and the decision says so."
)
CHANCE_OF_RANKING = 0.5


@dataclass(frozen=True)
class Judgement:
    """How the promotion is judged.

    Attributes:
        margin: The largest loss that counts as none, in units of the metric (0 to 1); 0 wants a gain to be shown.
        n_resamples: Bootstrap resamples of patients.
        seed: Of the resamples.
        method: Which method is compared; None for the champion's best one.
    """

    margin: float = 0.02
    n_resamples: int = 1000
    seed: int = 0
    method: str | None = None


@dataclass(frozen=True)
class Gate:
    """One metric of both, on the patients that both predicted.

    Attributes:
        is_gate: Whether it decides; single cohorts are shown only, as with many of them one is always unlucky.
        champion: Its value; None where not estimable.
        difference: Challenger minus champion; higher is better.
        holds: `kept` (the interval lies above minus the margin), `lost` (it lies below 0) or `open`.
    """

    task: str
    scope: str
    metric: str
    method: str
    is_gate: bool
    n_patients: int
    champion: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None
    holds: Holds


@dataclass(frozen=True)
class NewCohort:
    """How the challenger judges the held-out patients of a cohort that the champion never saw.

    Attributes:
        metric: `recall` of their class, `c_index`, or `profile_correlation`.
        value: None where it was not judged, or could not be.
        against: Chance, or what the other cohorts have; None where there is nothing to compare with.
        passes: Whether it allows a promotion.
    """

    cohort: str
    metric: str
    n_patients: int
    value: float | None
    low: float | None
    high: float | None
    against: float | None
    passes: bool
    reason: str

    @property
    def is_judged(self) -> bool:
        """Whether it decides: what has no value and allows a promotion was not looked at."""
        return self.value is not None or not self.passes


@dataclass(frozen=True)
class Decision:
    """Who is the champion from now on, and why."""

    promote: bool
    reason: str
    judgement: Judgement
    gates: tuple[Gate, ...]
    new_cohorts: tuple[NewCohort, ...]


def decide(
    champion: Sequence[Predictions],
    challenger: Sequence[Predictions],
    judgement: Judgement,
    profiles: Sequence[NewCohort] = (),
) -> Decision:
    """Compare two sets of out-of-fold predictions and decide.

    Args:
        champion: Of any jobs.
        challenger: Of the same jobs, on splits that keep the champion's folds.
        judgement: Margin, resamples, method.
        profiles: Findings about the new cohorts' data, as `profile_findings`.
    Raises:
        ConfigError: the method is not there, or no job of all cohorts is of both.
        DataError: a patient is in other folds than the champion's, or no patient is of both.
    """
    ours, theirs = _by_job(champion), _by_job(challenger)
    common = [job for job in ours if job in theirs]
    if not any(scope == keys.PAN for _, scope in common):
        raise ConfigError(
            f"no job over all cohorts is of both: the champion has {_names(ours)}, the challenger {_names(theirs)}"
        )
    gates = [_gate(ours[job], theirs[job], judgement) for job in common]
    new = [finding for job in common for finding in _new_cohorts(ours[job], theirs[job], gates, judgement)]
    findings = (*new, *profiles)
    gone = sorted(task for task, scope in ours if scope == keys.PAN and (task, scope) not in theirs)
    reasons = [f"the challenger has no predictions of {task} over all cohorts" for task in gone]
    reasons += [_why(gate, judgement.margin) for gate in gates if gate.is_gate and gate.holds != "kept"]
    reasons += [finding.reason for finding in findings if not finding.passes]
    not_judged = [f"not judged: {finding.reason}" for finding in findings if not finding.is_judged]
    return Decision(
        promote=not reasons,
        reason="; ".join([*(reasons or [_why_promoted(gates, judgement.margin)]), *not_judged]),
        judgement=judgement,
        gates=tuple(gates),
        new_cohorts=tuple(findings),
    )


def macro_f1(truth: npt.NDArray[np.str_], predicted: npt.NDArray[np.str_], weights: FloatArray) -> FloatArray:
    """Mean F1 of the classes that are true of somebody, in every resample, shape (resamples,).

    A class that the other model does not know counts as a wrong prediction, and not as a class of its own.

    Args:
        truth: Class of each sample.
        predicted: Predicted class of each sample.
        weights: How often each sample is in each resample, shape (resamples, samples).
    """
    of_classes = []
    for name in np.unique(truth):
        is_true, is_predicted = truth == name, predicted == name
        n_true, n_predicted = weights @ is_true, weights @ is_predicted
        hits = weights @ (is_true & is_predicted)
        with np.errstate(invalid="ignore", divide="ignore"):
            of_classes.append(np.where(n_true > 0, 2 * hits / (n_true + n_predicted), np.nan))
    return np.asarray(np.nanmean(np.stack(of_classes), axis=0))


def _by_job(files: Sequence[Predictions]) -> dict[tuple[str, str], Predictions]:
    joined = join_methods(files)
    return {(str(item.frame["task"].iloc[0]), str(item.frame["scope"].iloc[0])): item for item in joined}


def _names(jobs: Mapping[tuple[str, str], Predictions]) -> str:
    return ", ".join(f"{task} {scope}" for task, scope in jobs) or "nothing"


def _gate(champion: Predictions, challenger: Predictions, judgement: Judgement) -> Gate:
    """The primary metric of both on common patients, for the champion's best method that both have."""
    task, scope = str(champion.frame["task"].iloc[0]), str(champion.frame["scope"].iloc[0])
    methods = _shared_methods(champion, challenger, judgement.method, f"{task} {scope}")
    pairs = {method: _paired(champion, challenger, method) for method in methods}
    first = next(iter(pairs.values()))[0][0]
    patients = np.unique(first[keys.PATIENT_ID].to_numpy(dtype=str))
    of_patients = resample_weights(len(patients), judgement.n_resamples, judgement.seed)
    scored = {method: _score_pairs(task, repeats, patients, of_patients) for method, repeats in pairs.items()}
    best = max(methods, key=lambda name: np.nan_to_num(scored[name][0].value, nan=-np.inf))
    ours, theirs = scored[best]
    difference = theirs.value - ours.value
    interval = (
        percentile_interval(theirs.resampled - ours.resampled) if np.isfinite(difference) else Interval(None, None)
    )
    return Gate(
        task=task,
        scope=scope,
        metric=PRIMARY_METRIC[task] if task != keys.SURVIVAL or scope == keys.PAN else "c_index",
        method=best,
        is_gate=scope == keys.PAN,
        n_patients=len(patients),
        champion=_known(ours.value),
        challenger=_known(theirs.value),
        difference=_known(difference),
        low=interval.low,
        high=interval.high,
        holds=_holds(interval, judgement.margin),
    )


def _holds(interval: Interval, margin: float) -> Holds:
    if interval.low is None or interval.high is None:
        return "open"
    if interval.low > -margin:
        return "kept"
    return "lost" if interval.high < 0 else "open"


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _shared_methods(champion: Predictions, challenger: Predictions, wanted: str | None, job: str) -> list[str]:
    of_champion = champion.frame.loc[champion.frame["role"] == MODEL, "method"]
    shared = [str(name) for name in of_champion.unique() if name in set(challenger.frame["method"])]
    if wanted is not None:
        shared = [name for name in shared if name == wanted]
    if not shared:
        raise ConfigError(
            f"{job}: no {'method ' + repr(wanted) if wanted else 'model'} is of both; the champion has"
            f" {', '.join(sorted(of_champion.unique()))}"
        )
    return shared


def _paired(champion: Predictions, challenger: Predictions, method: str) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Rows of both a repeat, of the samples that both predicted, in one order, with the challenger's truth."""
    truth = ["label", keys.TIME_DAYS, keys.EVENT, keys.STRATUM]
    pairs = []
    ours, theirs = (item.frame[item.frame["method"] == method] for item in (champion, challenger))
    for repeat in sorted(set(ours["repeat"]) & set(theirs["repeat"])):
        left = ours[ours["repeat"] == repeat].set_index(keys.SAMPLE_ID)
        right = theirs[theirs["repeat"] == repeat].set_index(keys.SAMPLE_ID)
        both = sorted(left.index.intersection(right.index))
        left, right = left.loc[both].reset_index(), right.loc[both].reset_index()
        if not both:
            raise DataError("no sample is predicted by both: was the challenger split with --frozen?")
        moved = left[left["fold"] != right["fold"]]
        if len(moved):
            raise DataError(
                f"{len(moved)} samples were tested in other folds by the challenger, as"
                f" {moved[keys.SAMPLE_ID].iloc[0]!r}: the splits were not frozen; make them with `split --frozen`"
            )
        left[truth] = right[truth]
        pairs.append((left, right))
    return pairs


def _score_pairs(
    task: str,
    repeats: list[tuple[pd.DataFrame, pd.DataFrame]],
    patients: npt.NDArray[np.str_],
    of_patients: FloatArray,
) -> tuple[Concordance, Concordance]:
    """Value and resamples of both, mean over repeats."""
    found: tuple[list[Concordance], list[Concordance]] = ([], [])
    for pair in repeats:
        rows = np.searchsorted(patients, pair[0][keys.PATIENT_ID].to_numpy(dtype=str))
        weights = of_patients[:, rows]
        judge = RepeatJudge(pair[1], weights) if task == keys.SURVIVAL else None
        for side, frame in enumerate(pair):
            if judge is not None:
                found[side].append(_concordance(judge, frame))
            else:
                found[side].append(_classes(frame, weights))
    ours, theirs = (
        Concordance(float(np.mean([one.value for one in side])), np.mean([one.resampled for one in side], axis=0))
        for side in found
    )
    return ours, theirs


def _concordance(judge: RepeatJudge, frame: pd.DataFrame) -> Concordance:
    """C within cohort; not estimable for a model that gives a patient no number."""
    risk = frame["risk"].to_numpy(np.float64)
    return judge.concordance.within(risk, is_weighted=True) if np.isfinite(risk).all() else judge.nothing()


def _classes(frame: pd.DataFrame, weights: FloatArray) -> Concordance:
    truth, predicted = (frame[name].to_numpy(dtype=str) for name in ("label", "predicted"))
    once = np.ones((1, len(frame)))
    return Concordance(float(macro_f1(truth, predicted, once)[0]), macro_f1(truth, predicted, weights))


def _new_cohorts(
    champion: Predictions, challenger: Predictions, gates: Sequence[Gate], judgement: Judgement
) -> list[NewCohort]:
    """What the challenger makes of patients whose cohort the champion never saw, over all cohorts' jobs."""
    frame = challenger.frame
    task, scope = str(frame["task"].iloc[0]), str(frame["scope"].iloc[0])
    if scope != keys.PAN:
        return []
    method = next(gate.method for gate in gates if (gate.task, gate.scope) == (task, scope))
    rows = frame[(frame["method"] == method) & (frame["repeat"] == frame["repeat"].min())]
    findings = []
    for cohort in sorted(set(rows[keys.COHORT]) - set(champion.frame[keys.COHORT])):
        of_cohort = rows[rows[keys.COHORT] == cohort].reset_index(drop=True)
        weights = resample_weights(len(of_cohort), judgement.n_resamples, judgement.seed)
        if task == keys.SURVIVAL:
            findings += _ranking(cohort, of_cohort, weights)
        else:
            findings.append(_recognition(cohort, of_cohort, weights, len(challenger.classes)))
    return findings


def _recognition(cohort: str, rows: pd.DataFrame, weights: FloatArray, n_classes: int) -> NewCohort:
    is_right = (rows["label"] == rows["predicted"]).to_numpy(dtype=np.float64)
    interval = percentile_interval(weights @ is_right / len(rows))
    chance = 1.0 / max(1, n_classes)
    passes = interval.low is not None and interval.low > chance
    reason = (
        f"of {len(rows)} held-out patients of {cohort} {is_right.mean():.0%} are recognised (interval from"
        f" {interval.low:.0%}), chance is {chance:.0%}"
    )
    return NewCohort(
        cohort, "recall", len(rows), float(is_right.mean()), interval.low, interval.high, chance, passes, reason
    )


def _ranking(cohort: str, rows: pd.DataFrame, weights: FloatArray) -> list[NewCohort]:
    n_without = int((~np.isfinite(rows["risk"].to_numpy(np.float64))).sum())
    found = _concordance(RepeatJudge(rows, weights), rows)
    if not np.isfinite(found.value):
        reason = f"fewer than {MIN_EVENTS_IN_MEAN} events among {len(rows)} patients of {cohort}"
        if n_without:
            reason = f"{n_without} of {len(rows)} held-out patients of {cohort} have no finite risk"
        return [NewCohort(cohort, "c_index", len(rows), None, None, None, CHANCE_OF_RANKING, not n_without, reason)]
    interval = percentile_interval(found.resampled)
    passes = interval.high is not None and interval.high >= CHANCE_OF_RANKING
    highest = "no resample has one" if interval.high is None else f"to {interval.high:.3f}"
    reason = f"the risk of {len(rows)} held-out patients of {cohort} has C {found.value:.3f} ({highest})"
    return [
        NewCohort(
            cohort, "c_index", len(rows), found.value, interval.low, interval.high, CHANCE_OF_RANKING, passes, reason
        )
    ]


def _summary(gate: Gate) -> str:
    champion, challenger = (
        "not estimable" if one is None else f"{one:.3f}" for one in (gate.champion, gate.challenger)
    )
    values = f"{gate.metric} of {gate.task} {champion} to {challenger}"
    if gate.difference is None or gate.low is None or gate.high is None:
        return f"{values}, difference not estimable"
    return f"{values}, difference {gate.difference:+.3f} ({gate.low:+.3f} to {gate.high:+.3f})"


def _why_promoted(gates: Sequence[Gate], margin: float) -> str:
    kept = "; ".join(_summary(gate) for gate in gates if gate.is_gate)
    return f"no loss above {margin:g} is left open: {kept}" if margin else f"a gain is shown: {kept}"


def _why(gate: Gate, margin: float) -> str:
    open_ = f"a loss of more than {margin:g} is not ruled out" if margin else "a gain is not shown"
    what = "a loss is shown" if gate.holds == "lost" else open_
    return f"{what}: {_summary(gate)}"
