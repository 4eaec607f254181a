"""The decision on a challenger, for programs and for people: `decision.json` and `DECISION.md`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkrnabert.evaluate.promotion import RULE, Decision, NewCohort
from bulkrnabert.keys import DECISION_JSON, DECISION_MD
from bulkrnabert.provenance import atomic_path, write_json


def decision_values(decision: Decision) -> dict[str, Any]:
    """The content of `decision.json`."""
    return {
        "version": 1,
        "promote": decision.promote,
        "reason": decision.reason,
        "rule": RULE,
        **asdict(decision.judgement),
        "metrics": [asdict(gate) for gate in decision.gates],
        "new_cohorts": [asdict(finding) for finding in decision.new_cohorts],
    }


def write_decision(folder: Path, decision: Decision, changes: str) -> None:
    """Write `decision.json` and `DECISION.md`.

    Args:
        folder: Where to.
        decision: What was decided.
        changes: `CHANGES.md` of the update that led to it, which becomes a part of the page; may be empty.
    """
    write_json(folder / DECISION_JSON, decision_values(decision))
    with atomic_path(folder / DECISION_MD) as partial:
        partial.write_text(describe_decision(decision, changes), encoding="utf-8")


def describe_decision(decision: Decision, changes: str) -> str:
    """The page `DECISION.md`: outcome, rule, numbers, and what changed in the data."""
    outcome = "The challenger is promoted" if decision.promote else "The champion stays"
    lines = ["# Champion and challenger", "", f"**{outcome}**: {decision.reason}.", "", RULE, ""]
    lines.append(
        f"Margin {decision.judgement.margin:g}, {decision.judgement.n_resamples} resamples of patients, seed"
        f" {decision.judgement.seed}."
    )
    lines += ["", "## On the frozen test patients", ""]
    lines.append("| task | scope | method | metric | patients | champion | challenger | difference (95 %) | |")
    lines.append("|---" * 9 + "|")
    for gate in decision.gates:
        interval = f"{_text(gate.difference, '+.3f')} ({_text(gate.low, '+.3f')} to {_text(gate.high, '+.3f')})"
        note = gate.holds if gate.is_gate else f"{gate.holds}, shown only"
        values = f"{_text(gate.champion, '.3f')} | {_text(gate.challenger, '.3f')} | {interval} | {note}"
        lines.append(f"| {gate.task} | {gate.scope} | {gate.method} | {gate.metric} | {gate.n_patients} | {values} |")
    if decision.new_cohorts:
        lines += ["", "## New cohorts, held out once", ""]
        for finding in decision.new_cohorts:
            lines.append(f"- {_verdict(finding)}, {finding.metric}: {finding.reason}")
    if changes:
        lines += ["", changes.replace("\n#", "\n##").replace("# What", "## What", 1).rstrip()]
    return "\n".join(lines) + "\n"


def _verdict(finding: NewCohort) -> str:
    if not finding.is_judged:
        return "not judged"
    return "passes" if finding.passes else "**fails**"


def _text(value: float | None, form: str) -> str:
    return "not estimable" if value is None else format(value, form)
