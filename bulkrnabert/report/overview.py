"""The first screen: whether it worked, how large it is, and by what protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from bulkrnabert.evaluate.artefacts import Encoder, ReportInputs
from bulkrnabert.report import tables, text
from bulkrnabert.report.parts import n_repeats
from bulkrnabert.report.terms import PROTOCOLS


@dataclass(frozen=True)
class Check:
    """One thing that a reader wants to be sure of, and where more is said of it."""

    state: Literal["good", "warn"]
    title: str
    words: str
    target: str


@dataclass(frozen=True)
class Fact:
    """One number of the strip, and what it is made of."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class EncoderRow:
    """One line of the table of encoders."""

    name: str
    n_parameters: int | None
    n_patients: int | None
    n_steps: int | None
    loss: float | None
    accuracy: float | None
    baseline: float | None
    rmse: float | None
    baseline_rmse: float | None
    took: str
    code_sha256: str

    @property
    def has_learnt(self) -> bool | None:
        """Whether it restores hidden genes better than what needs no network; None where that is not recorded."""
        if self.accuracy is not None and self.baseline is not None:
            return self.accuracy > self.baseline
        if self.rmse is not None and self.baseline_rmse is not None:
            return self.rmse < self.baseline_rmse
        return None


def describe_encoder(encoder: Encoder) -> EncoderRow:
    """What the page says of one encoder, from its last validation."""
    validation = encoder.records_of("validation")
    last = validation[-1] if validation else {}
    patients = encoder.provenance.get("patient_hashes")
    steps = [record["step"] for record in encoder.records if isinstance(record.get("step"), int)]
    summary = _summary(encoder)
    seconds = summary.get("train_s")
    device = summary.get("device")
    took = text.format_seconds(seconds) if isinstance(seconds, int | float) else ""
    return EncoderRow(
        name=encoder.name,
        n_parameters=encoder.n_parameters,
        n_patients=len(patients) if isinstance(patients, list) else None,
        n_steps=max(steps, default=None),
        loss=last.get("loss"),
        accuracy=last.get("masked_accuracy"),
        baseline=last.get("baseline_accuracy"),
        rmse=last.get("rmse"),
        baseline_rmse=last.get("baseline_rmse"),
        took=f"{took} ({device})" if took and device else took,
        code_sha256=str(encoder.provenance.get("code_sha256", "")),
    )


def _summary(encoder: Encoder) -> dict[str, Any]:
    return next(iter(encoder.records_of("summary")), {})


def build_checks(inputs: ReportInputs) -> list[Check]:
    """Did everything run, is it honest, did the encoders learn, were the own tables sound."""
    numbers = inputs.numbers
    n_jobs = len({(item.task, item.scope) for item in numbers.metrics})
    n_skipped = len(numbers.skipped)
    ran = f"{n_jobs} job{'s' * (n_jobs != 1)} scored"
    checks = [
        Check("warn", f"{ran}, {n_skipped} skipped", "Each with its reason.", "skipped")
        if n_skipped or not n_jobs
        else Check("good", f"{ran}, none skipped", "Every task ran on every cohort that was asked for.", "skipped")
    ]
    overlap, is_warning = tables.pretraining_overlap(numbers)
    title = "No leakage from pretraining" if not is_warning else "Pretraining may have seen test patients"
    checks.append(Check("warn" if is_warning else "good", title, overlap, "methods"))
    learnt = [row.has_learnt for row in map(describe_encoder, inputs.encoders) if row.has_learnt is not None]
    if learnt:
        n = len(learnt)
        words = "Better at restoring hidden genes than each gene's most frequent bin, or its mean."
        all_of = f"All {n} encoders" if n > 1 else "The encoder"
        good, bad = f"{all_of} learnt something", f"{n - sum(learnt)} of {n} encoders learnt nothing"
        checks.append(Check("good" if all(learnt) else "warn", good if all(learnt) else bad, words, "training"))
    if inputs.diagnoses:
        n_bad = sum(item.verdict != "go" for item in inputs.diagnoses)
        n = len(inputs.diagnoses)
        title = f"{n_bad} of {n} own tables no-go" if n_bad else f"{n} own table{'s' * (n != 1)} examined: go"
        checks.append(Check("warn" if n_bad else "good", title, "Gene ids, coverage, scale.", "doctor"))
    return checks


def build_totals(inputs: ReportInputs, small_cells: int) -> dict[str, str]:
    """Sums over cohorts, small ones hidden."""
    cohorts = inputs.summary.cohorts

    def total(counts: list[int | None]) -> str:
        known = [count for count in counts if count is not None]
        return text.format_count(sum(known) if known else None, small_cells)

    return {
        "cohorts": f"{len(cohorts):,}",
        "samples": total([cohort.n_samples for cohort in cohorts]),
        "patients": total([cohort.n_patients for cohort in cohorts]),
        "events": total([cohort.n_events for cohort in cohorts]),
        "tumor": total([cohort.n_tumor for cohort in cohorts]),
        "normal": total([cohort.n_normal for cohort in cohorts]),
        "rejected": text.format_count(sum(count.n for count in inputs.summary.rejected), small_cells),
    }


def _short_count(n: int) -> str:
    """`6.0 M`, `182 k` or the number itself."""
    if n >= 1_000_000:
        return f"{n / 1e6:.1f} M"
    return f"{n / 1e3:.0f} k" if n >= 10_000 else f"{n:,}"


def parameters_text(encoders: list[Encoder]) -> str:
    """Sizes of the encoders, from the smallest to the largest."""
    known = sorted({encoder.n_parameters for encoder in encoders if encoder.n_parameters is not None})
    return " to ".join(_short_count(n) for n in ([known[0], known[-1]] if len(known) > 1 else known))


def _event_names(inputs: ReportInputs) -> str:
    """What an event is in this run, by the endpoints of the cohorts that have one."""
    endpoints = [name.strip() for cohort in inputs.summary.cohorts for name in (cohort.endpoint or "").split(",")]
    return text.name_of_events(name for name in endpoints if name)


def build_facts(inputs: ReportInputs, totals: dict[str, str]) -> list[Fact]:
    """The strip under the checks."""
    dropped = sum(item.n for item in tables.build_gene_rules(inputs.summary.genes.dropped) if item.are_genes)
    events = _event_names(inputs)
    repeats = n_repeats(inputs.numbers)
    is_typed = any(cohort.n_tumor or cohort.n_normal for cohort in inputs.summary.cohorts)
    types = f"{totals['tumor']} tumour, {totals['normal']} normal" if is_typed else "tumour or normal not stated"
    in_cohorts = f"in {totals['cohorts']} cohort{'s' * (totals['cohorts'] != '1')}"
    protocol = PROTOCOLS.get(inputs.numbers.protocol)
    how = f"{repeats} repeats" if repeats > 1 else (protocol.short if protocol else "")
    return [
        Fact("Patients", totals["patients"], in_cohorts),
        Fact("Samples", totals["samples"], types),
        Fact("Events", totals["events"], "" if events == "events" else events),
        Fact("Left out", totals["rejected"], "samples, reasons below" if inputs.summary.rejected else "samples"),
        Fact("Genes", f"{inputs.summary.genes.n_kept:,}", f"{dropped:,} left out" if dropped else ""),
        *_encoder_facts(inputs.encoders),
        Fact("Protocol", inputs.numbers.protocol, how),
    ]  # fmt: skip


def _encoder_facts(encoders: list[Encoder]) -> list[Fact]:
    if not encoders:
        return []
    size = parameters_text(encoders)
    seconds = [summary["train_s"] for summary in map(_summary, encoders) if summary.get("train_s") is not None]
    devices = sorted({str(summary["device"]) for summary in map(_summary, encoders) if summary.get("device")})
    each = " each" if len(encoders) > 1 and " to " not in size else ""
    facts = [Fact("Encoders", f"{len(encoders)}", f"{size} parameters{each}" if size else "")]
    if seconds:
        where = f"in all, on {' and '.join(devices)}" if devices else "in all"
        facts.append(Fact("Pretraining", text.format_seconds(sum(seconds)), where))
    return facts
