"""What changed, for people: `changes.tsv` and `CHANGES.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from bulkrnabert.data.sources.update import KINDS, Change, Update, as_json
from bulkrnabert.keys import CHANGES_JSON, CHANGES_MD, CHANGES_TSV
from bulkrnabert.provenance import atomic_path, write_json

NOTHING = "nothing to do"
SHOWN = 20
_COLUMNS = [item.name for item in fields(Change)]
_TITLES = {
    "new": "New",
    "changed": "Changed (same file, another md5)",
    "superseded": "Superseded by another file",
    "withdrawn": "Withdrawn",
    "left_out": "Left out now by a rule of selection",
    "clinical": "Clinical records that differ",
}


def write_update(folder: Path, update: Update) -> None:
    """Write `changes.json`, `changes.tsv` and `CHANGES.md`."""
    write_json(folder / CHANGES_JSON, as_json(update))
    rows = ["\t".join(_COLUMNS)]
    rows += ["\t".join(_cell(getattr(change, name)) for name in _COLUMNS) for change in update.changes]
    for name, text in ((CHANGES_TSV, "\n".join(rows) + "\n"), (CHANGES_MD, describe_update(update))):
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def summary_line(update: Update) -> str:
    """Counts in one line, or that there is nothing to do."""
    if update.is_nothing:
        return f"{NOTHING}: every file of {len(update.projects)} projects is as it was ({update.release_now})"
    found = [(kind, sum(change.kind == kind for change in update.changes)) for kind in KINDS]
    parts = [f"{n} {kind.replace('_', ' ')}" for kind, n in found if n]
    return f"{', '.join(parts)}; {update.bytes_to_fetch / 1e6:,.1f} MB to fetch ({update.release_now})"


def describe_update(update: Update) -> str:
    """The page `CHANGES.md`."""
    before = ", ".join(update.releases_before) or "not known (no plan was given)"
    lines = ["# What a retraining would change", "", f"{summary_line(update)}.", ""]
    lines += [f"- portal: {update.api}", f"- before: {before}", f"- now: {update.release_now}"]
    if update.new_projects:
        lines.append(f"- new cohorts: {', '.join(update.new_projects)}")
    if update.gone_projects:
        lines.append(f"- cohorts that the portal does not list any more: {', '.join(update.gone_projects)}")
    if update.learnt is not None:
        lines.append(
            f"- the checkpoints learnt from {update.learnt.n_patients} patients; of {update.learnt.n_withdrawn} of them"
            f" every file is withdrawn, and {update.learnt.n_not_listed} have no file in these projects (other sources'"
            " patients among them)"
        )
    lines += ["", "| project | modality | same | " + " | ".join(kind.replace("_", " ") for kind in KINDS) + " |"]
    lines.append("|---" * (3 + len(KINDS)) + "|")
    for count in update.counts:
        numbers = " | ".join(str(count.n[kind]) for kind in KINDS)
        lines.append(f"| {count.project_id} | {count.modality} | {count.n_same} | {numbers} |")
    for kind in KINDS:
        found = [change for change in update.changes if change.kind == kind]
        if found and kind != "new":
            lines += ["", f"## {_TITLES[kind]}", *_listed(found)]
    if any(change.kind == "withdrawn" and change.learnt_from for change in update.changes):
        lines += [
            "",
            "A checkpoint has learnt from patients whose files are withdrawn, and going on from its weights does not"
            " undo that. If consent was withdrawn, train anew without them.",
        ]
    return "\n".join(lines) + "\n"


def _listed(changes: Sequence[Change]) -> list[str]:
    lines = []
    for change in changes[:SHOWN]:
        parts = [change.sample_id or change.patient_id, change.file_id, change.reason]
        parts.append(f"replaced by {change.replaced_by}" if change.replaced_by else "")
        parts.append("learnt from" if change.learnt_from else "")
        lines.append(f"- {change.project_id}: {', '.join(filter(None, parts))}")
    if len(changes) > SHOWN:
        lines.append(f"- and {len(changes) - SHOWN} more, in {CHANGES_TSV}")
    return lines


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else " ".join(str(value).split())
