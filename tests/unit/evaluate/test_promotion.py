"""Champion against challenger: who is promoted, and who is refused for which reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.cli import _run
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import Cohorts
from bulkrnabert.downstream.predictions import SCHEMA, Predictions, write_predictions
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.promotion import Judgement, decide, macro_f1
from bulkrnabert.evaluate.promotion_profiles import profile_findings
from bulkrnabert.evaluate.promotion_text import describe_decision

N = 300
OLD, NEW = ("A", "B", "C"), "D"
JUDGEMENT = Judgement(n_resamples=200)


def patients(n: int, cohort: str | None, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = rng.choice(OLD, n) if cohort is None else np.full(n, cohort)
    frame = pd.DataFrame({keys.COHORT: names, keys.STRATUM: names, "label": names, "fold": np.arange(n) % 5})
    frame[keys.PATIENT_ID] = [f"{cohort or 'old'}{row}" for row in range(n)]
    frame[keys.SAMPLE_ID] = frame[keys.PATIENT_ID] + "-01A"
    frame["hazard"] = rng.normal(0, 1, n)
    frame[keys.TIME_DAYS] = rng.exponential(1000 * np.exp(-frame["hazard"]))
    frame[keys.EVENT] = 1
    return frame


PATIENTS = patients(N, None, 0)
NEWCOMERS = patients(40, NEW, 1)


def classes_of(frame: pd.DataFrame, accuracy: float, seed: int, method: str = "model", mix: str = "") -> Predictions:
    """Predictions that are right with this probability; else another class, or `mix`."""
    rng = np.random.default_rng(seed)
    classes = sorted({*OLD, *frame["label"]})
    wrong = np.array([mix or next(name for name in classes if name != label) for label in frame["label"]])
    predicted = np.where(rng.random(len(frame)) < accuracy, frame["label"], wrong)
    return _predictions(frame.assign(task=keys.CANCER_TYPE, predicted=predicted, method=method), classes)


def risks_of(frame: pd.DataFrame, noise: float, seed: int) -> Predictions:
    risk = frame["hazard"] + np.random.default_rng(seed).normal(0, noise, len(frame))
    return _predictions(frame.assign(task=keys.SURVIVAL, risk=risk, method="model", label=None), [])


def _predictions(frame: pd.DataFrame, classes: list[str]) -> Predictions:
    whole = frame.assign(scope=keys.PAN, role="model", repeat=0, split_id="r0f0")
    for name in SCHEMA.names:
        if name not in whole:
            whole[name] = None
    return Predictions(whole[SCHEMA.names], classes, "ab" * 32)


CHAMPION = [classes_of(PATIENTS, 0.8, 1), risks_of(PATIENTS, 1.0, 1)]
EVERYBODY = pd.concat([PATIENTS, NEWCOMERS], ignore_index=True)


def test_macro_f1_by_hand() -> None:
    truth, predicted = np.array(["a", "a", "b", "b"]), np.array(["a", "new", "b", "b"])
    # a: 2 * 1 / (2 + 1), b: 1; the class `new` is true of nobody.
    assert macro_f1(truth, predicted, np.ones((1, 4)))[0] == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(truth, predicted, np.array([[0.0, 0, 1, 1]]))[0] == 1.0


def test_the_same_predictions_are_no_loss() -> None:
    decision = decide(CHAMPION, CHAMPION, Judgement(n_resamples=50))
    assert decision.promote and decision.reason.startswith(
        "no loss above 0.02 is left open: macro_f1 of cancer_type 0.8"
    )
    assert [(gate.difference, gate.low, gate.high, gate.holds) for gate in decision.gates] == [(0, 0, 0, "kept")] * 2


def test_no_margin_wants_a_gain() -> None:
    """The same predictions are no gain: the interval, 0 to 0, does not lie above 0."""
    judgement = Judgement(margin=0.0, n_resamples=50)
    decision = decide(CHAMPION, CHAMPION, judgement)
    assert not decision.promote and [gate.holds for gate in decision.gates] == ["open", "open"]
    assert decision.reason.startswith("a gain is not shown: macro_f1 of cancer_type 0.8")
    better = decide(CHAMPION, [classes_of(PATIENTS, 0.99, 2), risks_of(PATIENTS, 0.1, 2)], judgement)
    assert better.promote and better.reason.startswith("a gain is shown: macro_f1 of cancer_type 0.8")


def test_a_better_challenger_is_promoted() -> None:
    better = [classes_of(EVERYBODY, 0.95, 2), risks_of(EVERYBODY, 0.3, 2)]
    decision = decide(CHAMPION, better, JUDGEMENT)
    assert decision.promote
    assert all(gate.low is not None and gate.low > 0 and gate.n_patients == N for gate in decision.gates)
    assert [(one.cohort, one.metric, one.passes) for one in decision.new_cohorts] == [
        (NEW, "recall", True),
        (NEW, "c_index", True),
    ]


def test_a_loss_is_refused_as_such() -> None:
    decision = decide(CHAMPION, [classes_of(PATIENTS, 0.6, 2), CHAMPION[1]], JUDGEMENT)
    assert not decision.promote and decision.gates[0].holds == "lost" and decision.gates[1].holds == "kept"
    assert decision.reason.startswith("a loss is shown: macro_f1 of cancer_type 0.8")


def test_what_is_not_shown_is_refused() -> None:
    few = PATIENTS.iloc[:40]
    decision = decide([classes_of(few, 0.8, 1)], [classes_of(few, 0.8, 5)], JUDGEMENT)
    assert not decision.promote and decision.gates[0].holds == "open"
    assert decision.reason.startswith("a loss of more than 0.02 is not ruled out")
    # The same interval is enough where a larger loss counts as none.
    assert decide([classes_of(few, 0.8, 1)], [classes_of(few, 0.8, 5)], Judgement(0.9, 200)).promote


def test_shuffled_labels_of_a_new_cohort_are_refused() -> None:
    """Nobody can tell the new cohort, and the old ones are taken for it: both are reasons."""
    confused = pd.concat([classes_of(PATIENTS, 0.6, 2, mix=NEW).frame, classes_of(NEWCOMERS, 0.2, 2).frame])
    decision = decide(CHAMPION[:1], [Predictions(confused, [*OLD, NEW], "cd" * 32)], JUDGEMENT)
    assert not decision.promote
    assert "a loss is shown" in decision.reason and "held-out patients of D" in decision.reason
    unharmed = pd.concat([CHAMPION[0].frame, classes_of(NEWCOMERS, 0.2, 2).frame])
    decision = decide(CHAMPION[:1], [Predictions(unharmed, [*OLD, NEW], "cd" * 32)], JUDGEMENT)
    assert not decision.promote and decision.gates[0].holds == "kept"


def test_risks_that_are_turned_round_are_refused() -> None:
    many = patients(150, NEW, 1)
    turned = risks_of(many.assign(hazard=-many["hazard"]), 0.1, 3).frame
    decision = decide(CHAMPION[1:], [Predictions(pd.concat([CHAMPION[1].frame, turned]), [], "cd" * 32)], JUDGEMENT)
    assert not decision.promote and "held-out patients of D has C 0." in decision.reason


def test_todays_follow_up_judges_both() -> None:
    longer = PATIENTS.assign(**{keys.TIME_DAYS: PATIENTS[keys.TIME_DAYS] + 5.0})
    gate = decide(CHAMPION[1:], [risks_of(longer, 1.0, 1)], JUDGEMENT).gates[0]
    assert gate.difference == 0.0 and gate.holds == "kept"


def test_the_champions_best_method_is_compared() -> None:
    both = [classes_of(PATIENTS, 0.8, 1), classes_of(PATIENTS, 0.95, 1, method="better")]
    assert decide(both, both, JUDGEMENT).gates[0].method == "better"
    assert decide(both, both, Judgement(n_resamples=20, method="model")).gates[0].method == "model"
    with pytest.raises(ConfigError, match="no method 'other' is of both; the champion has better, model"):
        decide(both, both, Judgement(method="other"))


def test_inputs_that_do_not_fit() -> None:
    moved = Predictions(CHAMPION[0].frame.assign(fold=(CHAMPION[0].frame["fold"] + 1) % 5), list(OLD), "cd" * 32)
    with pytest.raises(DataError, match="300 samples were tested in other folds"):
        decide(CHAMPION[:1], [moved], JUDGEMENT)
    with pytest.raises(DataError, match="no sample is predicted by both"):
        decide(CHAMPION[:1], [classes_of(NEWCOMERS, 1.0, 0)], JUDGEMENT)
    with pytest.raises(ConfigError, match="no job over all cohorts is of both"):
        decide(CHAMPION[:1], CHAMPION[1:], JUDGEMENT)
    decision = decide(CHAMPION, CHAMPION[:1], JUDGEMENT)
    assert not decision.promote and "no predictions of survival over all cohorts" in decision.reason


def test_a_risk_that_is_no_number_is_refused() -> None:
    """Of one side not estimable, so that no difference is shown; nor is a new cohort ranked by it."""
    whole = risks_of(EVERYBODY, 1.0, 1)
    for patient in ("old3", f"{NEW}3"):
        broken = Predictions(whole.frame.copy(), [], "cd" * 32)
        broken.frame.loc[broken.frame[keys.PATIENT_ID] == patient, "risk"] = np.nan
        decision = decide(CHAMPION[1:], [broken], JUDGEMENT)
        assert not decision.promote
        if patient == "old3":
            gate = decision.gates[0]
            assert gate.champion is not None and (gate.challenger, gate.difference, gate.holds) == (None, None, "open")
            assert "of survival 0.670 to not estimable, difference not estimable" in decision.reason
            assert not decide([broken], CHAMPION[1:], JUDGEMENT).promote
        else:
            assert decision.gates[0].challenger is not None
            assert "1 of 40 held-out patients of D have no finite risk" in decision.reason


def test_a_cohort_without_events_is_said_to_be_not_judged() -> None:
    nobody = pd.concat([PATIENTS, NEWCOMERS.assign(**{keys.EVENT: 0})], ignore_index=True)
    decision = decide(CHAMPION[1:], [risks_of(nobody, 0.3, 2)], JUDGEMENT)
    assert decision.promote
    assert decision.reason.endswith("; not judged: fewer than 5 events among 40 patients of D")
    assert "- not judged, c_index: fewer than 5" in describe_decision(decision, "")


def test_a_cohort_that_was_withdrawn() -> None:
    """It is in nobody's hands any more: both are judged on the patients who are left, by hand for six of them."""
    six = PATIENTS.iloc[:6].assign(
        **{keys.COHORT: list("AABBCC"), keys.STRATUM: list("AABBCC"), "label": list("AABBCC")}
    )
    classes = six.assign(task=keys.CANCER_TYPE, method="model")
    champion = _predictions(classes.assign(predicted=list("ACBBCC")), ["A", "B", "C"])
    challenger = _predictions(classes.assign(predicted=list("AABBCC")).iloc[:4], ["A", "B"])
    gate = decide([champion], [challenger], JUDGEMENT).gates[0]
    # A: 2 * 1 / (2 + 1), B: 1; the class C, which is gone, is true of nobody who is left.
    assert gate.n_patients == 4 and gate.champion == pytest.approx((2 / 3 + 1) / 2) and gate.challenger == 1.0


def test_a_class_that_vanished_but_not_its_patients() -> None:
    """A challenger that cannot say C has an F1 of 0 for it."""
    six = PATIENTS.iloc[:6].assign(
        **{keys.COHORT: list("AABBCC"), keys.STRATUM: list("AABBCC"), "label": list("AABBCC")}
    )
    classes = six.assign(task=keys.CANCER_TYPE, method="model")
    champion = _predictions(classes.assign(predicted=list("AABBCC")), ["A", "B", "C"])
    challenger = _predictions(classes.assign(predicted=list("AABBBB")), ["A", "B"])
    decision = decide([champion], [challenger], JUDGEMENT)
    # A: 1, B: 2 * 2 / (2 + 4), C: 0
    assert decision.gates[0].challenger == pytest.approx((1 + 2 / 3) / 3) and not decision.promote


def cohorts_of(values: dict[str, np.ndarray], modality: str = keys.RNASEQ) -> Cohorts:
    names = np.repeat(list(values), [len(rows) for rows in values.values()])
    matrix = np.concatenate(list(values.values())).astype(np.float32)
    genes = GeneVocabulary.from_ids([f"ENSG{number:011d}" for number in range(matrix.shape[1])])
    samples = pd.DataFrame({keys.SAMPLE_ID: [f"S{row}" for row in range(len(names))], keys.COHORT: names})
    return Cohorts(genes, samples, matrix, "tpm", "open", modality)


def test_profiles_by_hand() -> None:
    """Genes in the same order correlate by 1, in the reverse order by -1; half of the lowest among the old is 0.5."""
    rising = np.tile(np.arange(30.0), (4, 1))
    findings = profile_findings(cohorts_of({"A": rising, "B": 2 * rising, "D": rising + 5, "E": -rising}), {"D", "E"})
    assert [(one.cohort, one.value, one.against, one.passes) for one in findings] == [
        ("D", pytest.approx(1.0), pytest.approx(0.5), True),
        ("E", pytest.approx(-1.0), pytest.approx(0.5), False),
    ]
    # Half of the genes are not known in the new cohort, the other 15 are too few; with two more samples all are known.
    halves = np.where(np.arange(30) < 15, np.nan, rising)
    (few,) = profile_findings(cohorts_of({"A": rising, "B": rising, "D": halves}), {"D"})
    assert (few.value, few.passes, few.is_judged) == (None, False, True)
    assert "of 30 genes of rnaseq that the old cohorts share, 15 are known" in few.reason
    mixed = np.concatenate([halves[:2], rising[:2]])
    (enough,) = profile_findings(cohorts_of({"A": rising, "B": rising, "D": mixed}), {"D"})
    assert enough.passes and enough.value == pytest.approx(1.0) and "30 genes" in enough.reason


def test_profiles_with_a_gap_in_every_gene() -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(0, 1, 50)
    values = {name: level + rng.normal(0, 0.1, (30, 50)) for name in ("A", "B", NEW)}
    for rows in values.values():
        rows[rng.random(rows.shape) < 0.1] = np.nan
    assert np.isnan(np.concatenate(list(values.values()))).any(axis=0).all()
    (good,) = profile_findings(cohorts_of(values, keys.METHYLATION), {NEW})
    assert good.passes and good.value is not None and good.value > 0.8 and "50 genes of methylation" in good.reason
    (bad,) = profile_findings(cohorts_of({**values, NEW: rng.permuted(values[NEW], axis=1)}), {NEW})
    assert not bad.passes and bad.value is not None and abs(bad.value) < 0.3


def test_profiles_with_nothing_to_compare_with_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    rising = np.tile(np.arange(30.0), (4, 1))
    noise = [rng.normal(0, 1, (10, 30)) for _ in range(3)]
    cases = [
        ({"A": rising, "D": rising}, "old cohorts with rnaseq: 1; two are needed"),
        ({"D": rising}, "old cohorts with rnaseq: 0; two are needed"),
        ({"A": rising[:, :19], "B": rising[:, :19], "D": rising[:, :19]}, "19 of 19 genes of rnaseq are known"),
        (dict(zip("ABD", noise, strict=True)), "do not correlate with each other"),
    ]
    for values, why in cases:
        (finding,) = profile_findings(cohorts_of(values), {"D"})
        assert finding.passes and not finding.is_judged and finding.reason.startswith("the profiles of D were not")
        assert why in finding.reason
        decision = decide(CHAMPION, CHAMPION, JUDGEMENT, [finding])
        assert decision.promote and f"; not judged: {finding.reason}" in decision.reason
        assert "- not judged, profile_correlation: the profiles of D" in describe_decision(decision, "")


def test_profiles_of_a_new_cohort() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(5, 3, 200)
    names = np.repeat(["A", "B", NEW], 10)
    values = (level + rng.normal(0, 1, (30, 200))).astype(np.float32)
    genes = GeneVocabulary.from_ids([f"ENSG{number:011d}" for number in range(200)])
    samples = pd.DataFrame({keys.SAMPLE_ID: [f"S{row}" for row in range(30)], keys.COHORT: names})
    (good,) = profile_findings(Cohorts(genes, samples, values, "tpm", "open"), {NEW})
    assert good.passes and good.value is not None and good.value > 0.9 and "?" not in good.reason
    permuted = values.copy()
    permuted[20:] = rng.permuted(values[20:], axis=1)
    (bad,) = profile_findings(Cohorts(genes, samples, permuted, "tpm", "open"), {NEW})
    assert not bad.passes and "are its values and gene ids right?" in bad.reason
    assert profile_findings(Cohorts(genes, samples, values, "tpm", "open"), set()) == []
    decision = decide(CHAMPION, CHAMPION, JUDGEMENT, [bad])
    assert not decision.promote and "the profiles of D" in decision.reason


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, predictions in (("champion", CHAMPION), ("challenger", [classes_of(EVERYBODY, 0.95, 2), CHAMPION[1]])):
        for item in predictions:
            task = item.frame["task"].iloc[0]
            job = tmp_path / "jobs" / name / f"{task}.pan"
            write_predictions(item, job / "predictions.parquet")
            linked = tmp_path / name / "predictions"
            linked.mkdir(parents=True, exist_ok=True)
            (linked / job.name).symlink_to(job)  # as Nextflow stages folders
    (tmp_path / "CHANGES.md").write_text("# What a retraining would change\n\n40 new\n\n## Withdrawn\n- one\n")
    folders = ["--champion", str(tmp_path / "champion"), "--challenger", str(tmp_path / "challenger")]
    more = ["--bootstrap", "100", "--changes", str(tmp_path / "CHANGES.md"), "--out", str(tmp_path / "out")]
    assert _run(["promote", *folders, *more, "--dry-run", "--json"]) == 0
    dry = json.loads(capfd.readouterr().out)
    assert not (tmp_path / "out").exists()
    assert _run(["promote", *folders, *more]) == 0
    assert capfd.readouterr().out.startswith("promoted: no loss above 0.02 is left open")
    values = json.loads((tmp_path / "out" / "decision.json").read_text())
    assert values == dry
    assert (
        values["promote"] is True and values["margin"] == 0.02 and "What is not shown is not promoted" in values["rule"]
    )
    assert [row["task"] for row in values["metrics"]] == [keys.CANCER_TYPE, keys.SURVIVAL]
    page = (tmp_path / "out" / "DECISION.md").read_text()
    assert page.count("\n# ") == 0 and "## What a retraining would change" in page and "### Withdrawn" in page
    assert _run(["promote", *folders[:3], str(tmp_path / "out"), "--out", str(tmp_path / "other")]) == 2
    assert "no predictions.parquet below it" in capfd.readouterr().err


def test_the_page_of_a_refusal() -> None:
    page = describe_decision(decide(CHAMPION, [classes_of(PATIENTS, 0.6, 2), CHAMPION[1]], JUDGEMENT), "")
    assert "**The champion stays**: a loss is shown" in page and "| lost |" in page and "| kept |" in page
