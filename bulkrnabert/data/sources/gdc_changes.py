"""What a new data release of the GDC changes for a plan, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_plan import Plan, PlannedFile

MAX_LOOKED_UP = 100
_SHOWN = 10


@dataclass(frozen=True)
class PlanChange:
    """How two plans of the same request differ.

    Attributes:
        n_same: Files that both have, with the same md5.
        added: Files of the new plan only, or with another md5.
        left_out: Files of the old plan that the new one leaves out by a rule, with the rule.
        gone: Files of the old plan that the portal does not list any more, or with another md5.
    """

    n_same: int
    added: tuple[PlannedFile, ...]
    left_out: tuple[tuple[PlannedFile, str], ...]
    gone: tuple[PlannedFile, ...]


def compare_plans(old: Plan, new: Plan) -> PlanChange:
    """Which files come and go between two plans."""
    before = {(file.file_id, file.md5): file for file in old.files}
    after = {(file.file_id, file.md5): file for file in new.files}
    rules = {(file.file_id, file.md5): file.rule for file in new.rejected}
    lost = [key for key in sorted(before) if key not in after]
    return PlanChange(
        n_same=len(before) - len(lost),
        added=tuple(after[key] for key in sorted(after) if key not in before),
        left_out=tuple((before[key], rules[key]) for key in lost if key in rules),
        gone=tuple(before[key] for key in lost if key not in rules),
    )


def describe_change(client: GdcClient, old: Plan, new: Plan) -> str:
    """The difference in one line: counts, and what has become of the first files that are gone."""
    change = compare_plans(old, new)
    superseded: list[str] = []
    withdrawn: list[str] = []
    for file in change.gone[:MAX_LOOKED_UP]:
        fate = client.fate(file.file_id)
        named = f"{file.file_id} ({file.sample_id}): {fate or 'no longer listed'}"
        (superseded if fate is not None and fate.latest_id != file.file_id else withdrawn).append(named)
    parts = [f"{change.n_same} of {len(old.files)} planned files stay", f"{len(change.added)} are new"]
    parts += _named("superseded", superseded)
    parts += _named("withdrawn", withdrawn)
    parts += _named("left out now", [f"{file.file_id} ({file.sample_id}): {rule}" for file, rule in change.left_out])
    if len(change.gone) > MAX_LOOKED_UP:
        parts.append(f"{len(change.gone) - MAX_LOOKED_UP} more are gone (not looked up)")
    return "; ".join(parts)


def _named(what: str, files: Sequence[str]) -> list[str]:
    if not files:
        return []
    more = f", and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return [f"{len(files)} {what} ({', '.join(files[:_SHOWN])}{more})"]
