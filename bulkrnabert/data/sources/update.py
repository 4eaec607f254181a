"""What a portal has now against what a model was made from: new, changed, superseded, withdrawn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_changes import MAX_LOOKED_UP, compare_plans
from bulkrnabert.data.sources.gdc_plan import Json, Plan, PlannedFile
from bulkrnabert.data.sources.gdc_planning import listed_projects, make_plan, requested_names
from bulkrnabert.data.sources.gdc_rules import DEFAULT_RULES, Modality, SelectionRules
from bulkrnabert.data.sources.update_baseline import Baseline
from bulkrnabert.errors import ConfigError
from bulkrnabert.provenance import hash_patients

Kind = Literal["new", "changed", "superseded", "withdrawn", "left_out", "clinical"]
KINDS: tuple[Kind, ...] = ("new", "changed", "superseded", "withdrawn", "left_out", "clinical")
CLINICAL: Final = "clinical"
_CLINICAL_GROUPS = ("demographic", "diagnoses", "follow_ups")
_CHANGES_WITH_EVERY_RELEASE = "datetime"


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        kind: `new`; `changed` (same id, another md5); `superseded` (another file of the sample came in its place);
            `withdrawn` (not listed any more); `left_out` (listed, but a rule of selection leaves it out now);
            `clinical` (the records of a patient differ; of no file).
        modality: `rnaseq`, `methylation`, or `clinical`.
        file_id: Of the old file, or of the new one where there was none.
        md5_before: Empty for a new file.
        md5_now: Of the file that is fetched now; empty where there is none.
        size: Bytes to fetch.
        replaced_by: File that came in its place.
        learnt_from: Whether a checkpoint was trained on the patient; None where no checkpoint says.
        reason: The portal's, or the rule.
    """

    kind: Kind
    project_id: str
    modality: str
    file_id: str = ""
    sample_id: str = ""
    patient_id: str = ""
    md5_before: str = ""
    md5_now: str = ""
    size: int = 0
    replaced_by: str = ""
    learnt_from: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class CohortCount:
    """How much of one project and modality stays and changes; `n` has every kind, those that are 0 too."""

    project_id: str
    modality: str
    n_same: int
    n: Mapping[Kind, int]


@dataclass(frozen=True)
class Learnt:
    """What the checkpoints were trained on.

    Attributes:
        n_patients: Their training patients.
        n_not_listed: Of them, those of whom the portal has no file in the projects; other sources' are among them.
        n_withdrawn: Of them, those of whom a file was withdrawn and none is left.
    """

    n_patients: int
    n_not_listed: int
    n_withdrawn: int


@dataclass(frozen=True)
class Update:
    """Everything that a retraining would change.

    Attributes:
        releases_before: Data releases of the plans that were compared, sorted.
        release_now: That the portal serves.
        projects: That were asked for and are listed.
        new_projects: Those that no plan (without a plan: no checkpoint) has.
        gone_projects: Those of a plan that the portal does not list any more.
        changes: Sorted by project, modality, kind and file.
        learnt: None without a checkpoint.
    """

    api: str
    releases_before: tuple[str, ...]
    release_now: str
    projects: tuple[str, ...]
    new_projects: tuple[str, ...]
    gone_projects: tuple[str, ...]
    counts: tuple[CohortCount, ...]
    changes: tuple[Change, ...]
    learnt: Learnt | None

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to retrain on; a new release of the same files is nothing."""
        return not self.changes

    @property
    def bytes_to_fetch(self) -> int:
        """Size of the files that a retraining would fetch."""
        return sum(change.size for change in self.changes)


def compare_with_portal(
    client: GdcClient, baseline: Baseline, projects: Sequence[str], modalities: Sequence[Modality], api_name: str
) -> Update:
    """Ask the portal for the projects of the plans and for others, and say what differs.

    Without a plan of a modality the checkpoints decide: a file is new if none of them learnt from its patient.

    Args:
        client: The portal.
        baseline: Plans and checkpoints to compare with.
        projects: To look for beside those of the plans; see `expand_projects`.
        modalities: To look for beside those of the plans.
        api_name: How a plan names the portal.
    Raises:
        ConfigError: no project is named anywhere or one does not exist, or the plans were made by different rules.
        PortalError: the portal's answers cannot be used.
    """
    listed = listed_projects(client)
    known = {name for plan in baseline.plans for name in plan.projects}
    gone = tuple(sorted(known.difference(listed)))
    asked = [name for plan in baseline.plans for name in requested_names(plan.requested or plan.projects)]
    wanted = [name for name in dict.fromkeys([*asked, *requested_names(projects)]) if name not in gone]
    if not wanted:
        raise ConfigError("no project to look for: name some with --projects")
    rules = _one_set_of_rules(baseline.plans)
    now = [
        make_plan(client, wanted, modality, None, api_name, rules, may_be_empty=True)
        for modality in dict.fromkeys([*(plan.modality for plan in baseline.plans), *modalities])
    ]
    changes: list[Change] = []
    n_same: dict[tuple[str, str], int] = {}
    for planned in now:
        old = _merged([plan for plan in baseline.plans if plan.modality == planned.plan.modality])
        found = _not_learnt(planned.plan, baseline) if old is None else _file_changes(client, old, planned.plan)
        touched = {change.file_id for change in found} | {change.replaced_by for change in found}
        for file in planned.plan.files:
            key = (file.project_id, planned.plan.modality)
            n_same[key] = n_same.get(key, 0) + (file.file_id not in touched)
        changes += found
    changes += _clinical_changes(baseline, [case for planned in now[:1] for case in planned.cases])
    if baseline.learnt is not None:
        patients = {change.patient_id for change in changes}
        of_learnt = {name for name in patients if baseline.learnt.intersection(hash_patients([name]))}
        changes = [replace(change, learnt_from=change.patient_id in of_learnt) for change in changes]
    changes.sort(key=lambda one: (one.project_id, one.modality, KINDS.index(one.kind), one.sample_id, one.file_id))
    plan = now[0].plan
    before = known if baseline.plans else set(baseline.cohorts)
    merged_projects = {name for cohort, names in plan.merged.items() if cohort in before for name in names}
    return Update(
        api=api_name,
        releases_before=tuple(sorted({old.data_release for old in baseline.plans})),
        release_now=plan.data_release,
        projects=plan.projects,
        new_projects=tuple(name for name in plan.projects if name not in before | merged_projects),
        gone_projects=gone,
        counts=_counts(changes, n_same),
        changes=tuple(changes),
        learnt=_learnt(baseline, [file for planned in now for file in planned.plan.files], changes),
    )


def as_json(update: Update) -> dict[str, Any]:
    """The content of `changes.json`."""
    n_of_kind = {kind: sum(change.kind == kind for change in update.changes) for kind in KINDS}
    return {
        "version": 1,
        "api": update.api,
        "data_release": {"before": list(update.releases_before), "now": update.release_now},
        "n_changes": len(update.changes),
        "n_of_kind": n_of_kind,
        "bytes_to_fetch": update.bytes_to_fetch,
        "projects": list(update.projects),
        "new_projects": list(update.new_projects),
        "gone_projects": list(update.gone_projects),
        "learnt": None if update.learnt is None else vars(update.learnt),
        "counts": [
            {"project_id": one.project_id, "modality": one.modality, "same": one.n_same, **one.n}
            for one in update.counts
        ],
        "changes": [vars(change) for change in update.changes],
    }


def _one_set_of_rules(plans: Sequence[Plan]) -> SelectionRules:
    found = {json.dumps(plan.rules.model_dump(mode="json")): plan.rules for plan in plans if plan.rules is not None}
    if len(found) > 1:
        raise ConfigError(
            f"the plans were made by {len(found)} different sets of rules: compare those of one set at a time"
        )
    return next(iter(found.values()), DEFAULT_RULES)


def _merged(plans: Sequence[Plan]) -> Plan | None:
    """Several plans of a modality as one; None without any."""
    if not plans:
        return None
    files = {file.file_id: file for plan in plans for file in plan.files}
    return plans[0].model_copy(update={"files": tuple(files.values())})


def _file_changes(client: GdcClient, old: Plan, new: Plan) -> list[Change]:
    change = compare_plans(old, new)
    added = {file.file_id: file for file in change.added}
    of_sample = {(file.project_id, file.sample_id): file for file in change.added}
    found: list[Change] = []
    n_looked_up = 0
    for file in change.gone:
        successor = added.get(file.file_id) or of_sample.get((file.project_id, file.sample_id))
        if successor is not None:
            added.pop(successor.file_id, None)
            is_same = successor.file_id == file.file_id
            found.append(
                replace(
                    _change("changed" if is_same else "superseded", new.modality, file),
                    md5_now=successor.md5,
                    size=successor.size,
                    replaced_by="" if is_same else successor.file_id,
                )
            )
            continue
        is_looked_up = n_looked_up < MAX_LOOKED_UP
        n_looked_up += 1
        fate = client.fate(file.file_id) if is_looked_up else None
        reason = str(fate or ("no longer listed" if is_looked_up else "no longer listed (not looked up)"))
        has_successor = fate is not None and fate.latest_id != file.file_id
        kind: Kind = "superseded" if has_successor else "withdrawn"
        # A successor that was not planned is one that the rules leave out.
        found.append(replace(_change(kind, new.modality, file), reason=reason))
    found += [replace(_change("left_out", new.modality, file), reason=rule) for file, rule in change.left_out]
    return found + [_new(new.modality, file) for file in added.values()]


def _not_learnt(plan: Plan, baseline: Baseline) -> list[Change]:
    learnt = baseline.learnt or frozenset()
    return [
        _new(plan.modality, file) for file in plan.files if not learnt.intersection(hash_patients([file.patient_id]))
    ]


def _new(modality: str, file: PlannedFile) -> Change:
    return replace(_change("new", modality, file), md5_before="", md5_now=file.md5, size=file.size)


def _change(kind: Kind, modality: str, file: PlannedFile) -> Change:
    return Change(kind, file.project_id, modality, file.file_id, file.sample_id, file.patient_id, file.md5)


def _clinical_changes(baseline: Baseline, cases: Iterable[Json]) -> list[Change]:
    """Patients whose records differ in more than the dates of their last edit."""
    return [
        Change(
            CLINICAL,
            str((case.get("project") or {}).get("project_id", "")),
            CLINICAL,
            patient_id=str(case.get("submitter_id", "")),
            reason="the clinical records differ",
        )
        for case in cases
        if str(case.get("case_id")) in baseline.cases
        and _clinical_part(case) != _clinical_part(baseline.cases[str(case.get("case_id"))])
    ]


def _clinical_part(case: Json) -> Any:
    return _without_dates({group: case.get(group) for group in _CLINICAL_GROUPS})


def _without_dates(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_dates(item) for key, item in value.items() if not key.endswith(_CHANGES_WITH_EVERY_RELEASE)
        }
    if isinstance(value, list):
        return sorted((_without_dates(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value


def _counts(changes: Sequence[Change], n_same: Mapping[tuple[str, str], int]) -> tuple[CohortCount, ...]:
    groups = sorted({*n_same, *((change.project_id, change.modality) for change in changes)})
    return tuple(
        CohortCount(
            project,
            modality,
            n_same.get((project, modality), 0),
            {
                kind: sum((one.kind, one.project_id, one.modality) == (kind, project, modality) for one in changes)
                for kind in KINDS
            },
        )
        for project, modality in groups
    )


def _learnt(baseline: Baseline, files: Iterable[PlannedFile], changes: Iterable[Change]) -> Learnt | None:
    if baseline.learnt is None:
        return None
    listed = set(hash_patients({file.patient_id for file in files}))
    withdrawn = set(hash_patients({one.patient_id for one in changes if one.kind == "withdrawn"}))
    return Learnt(
        n_patients=len(baseline.learnt),
        n_not_listed=len(baseline.learnt - listed),
        n_withdrawn=len((withdrawn & baseline.learnt) - listed),
    )
