"""The TRIPOD+AI items for a fine-tuned model, with what the records answer and what is left to the authors.

Source:
    Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378: 27 items, here named in our own words. The wording that a
    journal wants is that of the statement.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from bulkrnabert import keys
from bulkrnabert.evaluate.run_card import ModelFacts, RunRecords, interval, metrics_of, origin_text
from bulkrnabert.provenance import package_version

Status = Literal["from the records", "partly from the records", "for the authors"]
RECORDS: Final[Status] = "from the records"
PARTLY: Final[Status] = "partly from the records"
AUTHORS: Final[Status] = "for the authors"
ITEMS: Final[Mapping[str, tuple[str, str]]] = {
    "1": ("Title", "Say that a prediction model is made or judged, for whom and for which outcome."),
    "2": ("Abstract", "Structured summary, by the list for abstracts."),
    "3a": ("Background", "Clinical setting, why a model is wanted, which exist."),
    "3b": ("Background", "For which people, at which point of care, used by whom."),
    "3c": ("Background", "Known health inequalities between groups of these people."),
    "4": ("Objectives", "What the study wanted: to make the model, to judge it, or both."),
    "5a": ("Data", "Source of the data for making and for judging; why these, how representative."),
    "5b": ("Data", "When people were recruited, and followed until when."),
    "6a": ("Participants", "Where they were treated: kind, number and place of centres."),
    "6b": ("Participants", "Who was eligible, and who not."),
    "6c": ("Participants", "Treatments, and how they were taken into account."),
    "7": ("Data preparation", "Cleaning, quality checks, and whether they were the same for all groups."),
    "8a": ("Outcome", "What is predicted, how far ahead, how and when it was assessed."),
    "8b": ("Outcome", "Where assessing takes judgement: who assessed, with which training."),
    "8c": ("Outcome", "Whether the assessors knew the predictors."),
    "9a": ("Predictors", "How the candidate predictors were chosen before any modelling."),
    "9b": ("Predictors", "What each is, how and when it was measured."),
    "9c": ("Predictors", "Where measuring takes judgement: who measured, with which training."),
    "10": ("Sample size", "How it came about, and whether it is enough."),
    "11": ("Missing data", "What was done about it, and why."),
    "12a": ("Analysis", "How the data were divided between making and judging."),
    "12b": ("Analysis", "How predictors entered: scale, transformations."),
    "12c": ("Analysis", "Kind of model, every step of making it, choice of settings, internal validation."),
    "12d": ("Analysis", "Whether and how differences between centres or cohorts were looked at."),
    "12e": ("Analysis", "Every measure of performance and how models were compared."),
    "12f": ("Analysis", "Any updating of the model after it was judged."),
    "12g": ("Analysis", "For a model judged: how its predictions were computed."),
    "13": ("Class imbalance", "Whether anything was done about it, and how predictions were put right afterwards."),
    "14": ("Fairness", "What was done to look at, or improve, fairness between groups."),
    "15": ("Model output", "What comes out: probabilities, classes, and any threshold with its reason."),
    "16": ("Training and evaluation", "Differences between the data for making and for judging."),
    "17": ("Ethics", "Which board approved, and the participants' consent."),
    "18a": ("Open science", "Funding, and the role of the funders."),
    "18b": ("Open science", "Conflicts of interest of all authors."),
    "18c": ("Open science", "Where the protocol is, or that there was none."),
    "18d": ("Open science", "Registration, or that there was none."),
    "18e": ("Open science", "Whether and where the data can be had."),
    "18f": ("Open science", "Whether and where the code can be had."),
    "19": ("Patients and public", "How they were involved in the study, or that they were not."),
    "20a": (
        "Participants, results",
        "Flow of participants, with the numbers with and without the outcome, and follow-up.",
    ),
    "20b": ("Participants, results", "Their characteristics, overall and by cohort, with what is missing."),
    "20c": ("Participants, results", "For judging: how the distribution of predictors compares with that in making."),
    "21": ("Model development", "Participants and events in every analysis."),
    "22": ("Model specification", "All that others need to predict for a new person."),
    "23a": ("Performance", "Every measure with its interval, also for groups that matter."),
    "23b": ("Performance", "How performance differs between centres or cohorts."),
    "24": ("Model updating", "What updating gave."),
    "25": ("Interpretation", "What the results mean, fairness and earlier studies included."),
    "26": ("Limitations", "What limits the study, and which bias may follow."),
    "27a": ("Use", "What to do with input that is poor or missing."),
    "27b": ("Use", "Whether users have to handle input or output, and what they must know."),
    "27c": ("Use", "What comes next, generalisability above all."),
}


@dataclass(frozen=True)
class Answer:
    """What the records say to one item, and where to look further."""

    status: Status
    text: str
    where: str


def answers(model: ModelFacts, records: RunRecords | None) -> dict[str, Answer]:
    """An answer to every item, in their order; what no record knows is left to the authors.

    Args:
        model: A fine-tuned model.
        records: Of the run that made it; None where there are none.
    Raises:
        ConfigError: as `metrics_of`.
    """
    known = {**_of_model(model), **(_of_run(model, records) if records is not None else {})}
    return {number: known.get(number, Answer(AUTHORS, "", _LOOK.get(number, ""))) for number in ITEMS}


_LOOK: Final = {
    "3c": "report.html, clinical columns of the cohorts",
    "5b": "portal pages of the cohorts",
    "6a": "portal pages of the cohorts",
    "6c": "clinical.tsv, where treatments were recorded",
    "14": "evaluate on groups of clinical.tsv; nothing was done by the pipeline itself",
    "20b": "report.html, clinical.tsv",
    "23b": "metrics.json: c_index_cohort; report.html",
    "24": "DECISION.md of a retraining",
    "25": "report.html, comparisons with baselines",
}


def _of_model(model: ModelFacts) -> dict[str, Answer]:
    config, provenance = model.config, model.provenance
    members = config["members"]
    title = keys.MODEL_TITLES.get(model.model, model.model)
    tasks = " and ".join(task["name"].replace("_", " ") for task in config["tasks"])
    survives = any(task["name"] == keys.SURVIVAL for task in config["tasks"])
    classes = [name for task in config["tasks"] for name in task["classes"]]
    outcome = []
    if classes:
        column = next(task["label_column"] for task in config["tasks"] if task["classes"])
        outcome.append(f"class by the column `{column}`: {', '.join(classes)}")
    if survives:
        outcome.append("time to the event of the study's endpoint, in days, censored at last follow-up")
    outputs = []
    if classes:
        outputs.append("a probability for each class; the class is the most probable one, with no other threshold")
    if survives:
        outputs.append(
            "risk (log cumulative hazard, higher is worse) and survival within 1, 3 and 5 years; no threshold"
        )
    genes = {len(one["network"]["gene_idx"]) for one in members if one["network"].get("gene_idx")}
    panel = f"a panel of {' or '.join(map(str, sorted(genes)))} genes" if genes else "every gene of the encoder's list"
    epochs = sorted({int(one["best_epoch"]) for one in members})
    epoch_text = " to ".join(str(number) for number in dict.fromkeys((epochs[0], epochs[-1])))
    n_patients = len(provenance.get("patient_hashes") or []) or "not stated"
    return {
        "4": Answer(PARTLY, f"Made, and judged on patients held out: {tasks}.", "the authors' aim"),
        "7": Answer(PARTLY, "By `bulkrnabert preprocess` and `tokenize`, the same for every sample.", "rejected.tsv"),
        "8a": Answer(PARTLY, f"{'; '.join(outcome)}. How it was assessed is not in the records.", "clinical.tsv"),
        "9a": Answer(
            PARTLY if genes else RECORDS,
            f"Expression of {panel}." + (" How the panel was chosen is in the settings of its run." if genes else ""),
            "config.json, genes.txt",
        ),
        "9b": Answer(
            PARTLY,
            "Gene-level values of bulk profiles, binned as tokenizer.json says. Sampling and sequencing "
            "are not in the records.",
            "portal pages of the cohorts",
        ),
        "10": Answer(
            PARTLY,
            f"All usable samples of the scope: {n_patients} patients. No sample size was planned by the pipeline.",
            "the authors' reasoning",
        ),
        "11": Answer(
            PARTLY,
            "A gene that a sample lacks is fed as tokenizer.json says (`missing`); samples without the "
            "outcome were left out.",
            "tokenizer.json, survival_excluded.tsv",
        ),
        "12a": Answer(
            RECORDS,
            f"{len(members)} members, each trained without the patients of its fold (`final`, where there "
            f"is one, saw all); patients, not samples, were divided; splits sha256 {config['split_sha256']}.",
            "splits.tsv",
        ),
        "12b": Answer(RECORDS, "Binned values as token ids of the encoder, pooled over genes.", "tokenizer.json"),
        "12c": Answer(
            RECORDS,
            f"{title} encoder ({config['start']} start), {config['method']}; epochs "
            f"{epoch_text}, chosen on training patients set aside; seed {config['seed']}.",
            "config.json, provenance.json: parameters",
        ),
        "12g": Answer(
            RECORDS,
            "Judged: each member on the fold that it never saw. New samples: the mean over the members.",
            "README.md: how to use",
        ),
        "13": Answer(
            PARTLY,
            "Whether the loss weighs classes: see the settings. Probabilities were not put right afterwards.",
            "provenance.json: parameters.config",
        ),
        "15": Answer(RECORDS, "; ".join(outputs) + ".", "README.md"),
        "18f": Answer(
            PARTLY,
            f"bulkrnabert {provenance.get('software', {}).get('bulkrnabert', 'of an unknown version')}, "
            f"code sha256 {provenance.get('code_sha256', 'not stated')}.",
            "where the code and the model are published",
        ),
        "21": Answer(
            PARTLY,
            "Training samples by member: "
            + ", ".join(f"{one['split_id']} {one['n_samples']}" for one in members)
            + ".",
            "run with --results for events; metrics.json",
        ),
        "22": Answer(
            RECORDS,
            "The folder of the model: weights, tokenizer, gene list, heads and, for survival, baseline "
            "hazards, with the sha256 of each file.",
            "config.json",
        ),
        "26": Answer(PARTLY, "Samples from outside the cohorts of the run were not looked at.", "README.md: limits"),
        "27a": Answer(
            RECORDS,
            "Tables with less than half of the genes, or in a unit that does not become the model's, "
            "are refused; the share of missing genes stands beside every prediction.",
            "bulkrnabert doctor, predict",
        ),
        "27b": Answer(PARTLY, "One command on a table with a stated unit.", "README.md: how to use"),
    }


def _of_run(model: ModelFacts, records: RunRecords) -> dict[str, Answer]:
    numbers, summary = records.numbers, records.summary
    metrics = metrics_of(model, numbers)
    values = "; ".join(f"{one.task.replace('_', ' ')}, {one.scope}: {one.metric} {interval(one)}" for one in metrics)
    names = ", ".join(one.cohort for one in summary.cohorts)
    n_left = sum(one.n for one in summary.rejected)
    n_samples, n_patients = (sum(getattr(one, name) for one in summary.cohorts) for name in ("n_samples", "n_patients"))
    analysed = sorted({(one.task, one.n_patients, one.n_events) for one in metrics}, key=str)
    events = "; ".join(
        f"{task.replace('_', ' ')}: {patients if patients is not None else 'not stated'} patients"
        + ("" if n_events is None else f", {n_events} events")
        for task, patients, n_events in analysed
    )
    releases = "; ".join(records.releases) or "own tables"
    endpoints = sorted({one.endpoint for one in summary.cohorts if one.endpoint})
    protocol = _text(records.facts.params, "protocol") or numbers.protocol
    found = {
        "5a": Answer(PARTLY, f"Cohorts {names}; {releases}; data-access class {records.access}.", "README.md: data"),
        "6b": Answer(
            PARTLY,
            f"Rules of selection are parameters of the run; {n_left} samples left out.",
            "rejected.tsv, README.md: where the data come from",
        ),
        "12a": Answer(
            RECORDS,
            f"Protocol {protocol}: patients, not samples, were divided; splits sha256 {numbers.split_sha256}.",
            "splits.tsv",
        ),
        "12d": Answer(
            PARTLY,
            "Survival is judged within each cohort and averaged; classes over all cohorts.",
            "metrics.json: c_index_cohort",
        ),
        "12e": Answer(
            RECORDS,
            f"{', '.join(sorted({one.metric for one in metrics}))}; intervals by patient bootstrap; "
            "baselines on the same folds, paired bootstrap and a corrected resampled t test.",
            "metrics.json",
        ),
        "18e": Answer(PARTLY, f"Data-access class {records.access}; {releases}.", "portals of the cohorts"),
        "20a": Answer(
            PARTLY,
            f"{n_samples} samples of {n_patients} patients kept, {n_left} samples left out.",
            "summary.json, rejected.tsv, report.html",
        ),
        "21": Answer(RECORDS, f"{events}.", "metrics.json"),
        "23a": Answer(PARTLY, f"{values}. Groups beside cohorts were not judged.", "metrics.json, report.html"),
    }
    if endpoints and any(task["name"] == keys.SURVIVAL for task in model.config["tasks"]):
        own = _of_model(model)["8a"]
        found["8a"] = Answer(PARTLY, f"{own.text} Endpoint of the run: {', '.join(endpoints)}.", own.where)
    return found


def _text(params: Mapping[str, Any], name: str) -> str:
    value = params.get(name)
    return "" if value is None else str(value)


def tripod_markdown(model: ModelFacts, records: RunRecords | None) -> str:
    """The list as a page."""
    found = answers(model, records)
    counts = {status: sum(one.status == status for one in found.values()) for status in (RECORDS, PARTLY, AUTHORS)}
    rows = "\n".join(
        "| " + " | ".join((number, *ITEMS[number], one.status, _cell(one.text), _cell(one.where))) + " |"
        for number, one in found.items()
    )
    origin = "" if records is None else f"\n## Data of the run\n{origin_text(records)}\n"
    return f"""# TRIPOD+AI, filled in as far as the records go

Items of Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378, named in short words of ours: hand in the list of the
statement itself. Written by `bulkrnabert card` {package_version()} from the records of the model{
        "" if records is None else " and of its run"
    }; {counts[RECORDS]} answers from the records, {counts[PARTLY]} partly, {counts[AUTHORS]} for the authors
to fill. Nothing here was judged by a person.

| item | part | what to report | who knows | answer of the records | where to look |
|---|---|---|---|---|---|
{rows}
{origin}"""  # noqa: E501 - lines of the page


def tripod_csv(model: ModelFacts, records: RunRecords | None) -> str:
    """The list as a table: `item, part, report, status, answer, where`."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["item", "part", "report", "status", "answer", "where"])
    for number, one in answers(model, records).items():
        writer.writerow([number, *ITEMS[number], one.status, one.text, one.where])
    return out.getvalue()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
