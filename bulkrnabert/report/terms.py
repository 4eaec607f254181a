"""How to read the numbers: one entry a metric or word, each with its orientation."""

from __future__ import annotations

from dataclasses import dataclass

from bulkrnabert.evaluate.artefacts import Numbers


@dataclass(frozen=True)
class Term:
    """One entry; shown where one of its metrics is on the page."""

    name: str
    meaning: str
    metrics: frozenset[str]


@dataclass(frozen=True)
class ProtocolWords:
    """What a protocol means: in a few words, and as a part of the methods paragraph."""

    short: str
    text: str


PROTOCOLS = {
    "leak-free": ProtocolWords(
        "test patients unseen, in pretraining too",
        "the folds are over patients, and the gene list, the bins and the encoder of each fold never saw its patients.",
    ),
    "transductive": ProtocolWords(
        "pretrained on all samples, without labels",
        "the encoder was pretrained on all samples, without labels, as in the papers; the heads on it are "
        "cross-validated over patients.",
    ),
    "paper": ProtocolWords(
        "as the papers: a fifth held out",
        "the encoder was pretrained on all samples, without labels, and a fifth of the patients is held out for "
        "testing, anew in each repeat. Every sample is judged, normal tissue too, with the label of its patient. "
        "Numbers are means over the repeats, with their standard deviation (±), as the papers print them.",
    ),
}


def _term(name: str, meaning: str, *metrics: str) -> Term:
    return Term(name, meaning, frozenset(metrics))


METRIC_TERMS = (
    _term(
        "Macro F1, weighted F1",
        "Agreement of predicted and true class, averaged over classes: each class counts the same (macro), or by its "
        "size (weighted). Higher is better, 1 is perfect.",
        "macro_f1",
        "weighted_f1",
    ),
    _term(
        "Balanced accuracy",
        "The share of each class that is found, averaged over classes. Higher is better.",
        "balanced_accuracy",
    ),
    _term(
        "AUROC",
        "How well the probability of a class ranks its samples above the others; one class against the rest, averaged. "
        "Higher is better; 0.5 is chance, and a method that says the same of every sample, such as the most frequent "
        "class, gets about 0.5.",
        "auroc_ovr_macro",
    ),
    _term(
        "Expected calibration error",
        "Mean gap between how sure a method is and how often it is right, over tenths of the probability of the "
        "predicted class. Lower is better, 0 is perfect; a method that says the share of each class to everyone gets "
        "about 0 too. Resampling makes it larger, so that the interval may lie above the number.",
        "expected_calibration_error",
    ),
    _term(
        "Brier score",
        "Mean squared gap between the probabilities and the truth, summed over classes. Lower is better; it goes from "
        "0 to 2.",
        "brier_score",
    ),
    _term(
        "Log loss",
        "Mean of minus the natural logarithm of the probability of the true class, so that sure and wrong predictions "
        "cost most. Lower is better, 0 is perfect.",
        "log_loss",
    ),
    _term(
        "C within cohort",
        "Concordance over pairs of patients of the same cohort, averaged over cohorts: weighted by their patients, or "
        "each cohort the same (mean). Higher is better, 0.5 is chance.",
        "c_index_within_weighted",
        "c_index_within_macro",
        "c_index_cohort",
    ),
    _term(
        "Uno's C",
        "Concordance with pairs weighted so that it does not depend on how long patients happen to be followed, up to "
        "the time that a tenth of them is followed beyond. Higher is better, 0.5 is chance.",
        "uno_c",
        "uno_c_within_weighted",
    ),
    _term(
        "AUC at 1, 3 and 5 years",
        "How often a patient with the event by that time has a higher predicted risk than one who is free of it then. "
        "The mean weighs the years by when the events are. Higher is better, 0.5 is chance.",
        "auc_1y",
        "auc_3y",
        "auc_5y",
        "auc_mean",
    ),
    _term(
        "Integrated Brier score",
        "Mean squared gap between predicted survival and what became of the patients, over all times up to the one "
        "named. Lower is better; always saying one half gets 0.25.",
        "integrated_brier_score",
    ),
    _term(
        "Calibration error (survival)",
        "Mean gap between predicted and Kaplan-Meier survival at one time, over groups of patients by prediction. "
        "Lower is better, 0 is perfect. Resampling makes it larger, so that the interval may lie above the number.",
        "calibration_error",
    ),
)


def terms_of(numbers: Numbers) -> list[Term]:
    """The entries of the metrics that there are."""
    found = {item.metric for item in numbers.metrics}
    return [term for term in METRIC_TERMS if term.metrics & found]
