"""Plans and fetches cohorts from the GDC: one request a file, a few at a time, each verified on arrival."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkrnabert.data.sources.gdc import OPEN, GdcClient
from bulkrnabert.data.sources.gdc_changes import describe_change
from bulkrnabert.data.sources.gdc_plan import Json, Plan, is_file_id, read_plan, safe_file_name, write_rejected
from bulkrnabert.data.sources.gdc_planning import (
    PlannedCohorts,
    check_release,
    make_plan,
    query_cases,
    requested_names,
)
from bulkrnabert.data.sources.gdc_rules import DEFAULT_RULES, Modality, SampleTypes, SelectionRules
from bulkrnabert.data.sources.transfer import RemoteFile, TransferError, fetch_all, folder_lock
from bulkrnabert.data.sources.transfer_folder import RECORDS_FOLDER
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.keys import CASES_JSON, FAILED_TSV, MANIFEST_TSV, PLAN_JSON, REASON, SAMPLE_ID
from bulkrnabert.provenance import atomic_path, write_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadOptions:
    """How a download treats what is in its folder already.

    Attributes:
        use_replan: Make a new plan though the folder has one.
        use_reading: Read every file that is there, and do not believe size and time of change.
        use_wait: Wait for another download into the folder, instead of stopping.
    """

    use_replan: bool = False
    use_reading: bool = False
    use_wait: bool = False


DEFAULT_OPTIONS = DownloadOptions()


@dataclass(frozen=True)
class DownloadSummary:
    """What a download did.

    Attributes:
        plan: The plan that the raw folder now holds.
        n_fetched: Files fetched by this run.
        n_kept: Files that were there already with the right md5.
    """

    plan: Plan
    n_fetched: int
    n_kept: int


def download(
    client: GdcClient,
    raw_folder: Path,
    projects: Sequence[str],
    modality: Modality,
    sample_types: SampleTypes | None = None,
    api_name: str | None = None,
    options: DownloadOptions = DEFAULT_OPTIONS,
    rules: SelectionRules = DEFAULT_RULES,
) -> DownloadSummary:
    """Plan and fetch: fills a raw folder with `cases.json`, `plan.json`, the files and, last, `manifest.tsv`.

    A folder without `manifest.tsv` is not complete; the same call goes on from what is there. A folder that has a plan
    of the same request and data release keeps it.

    Args:
        client: The portal.
        raw_folder: Folder to fill; made when absent.
        projects: Project ids, merged cohorts (`GBMLGG`) or `all-tcga`.
        modality: What to fetch.
        sample_types: Tissues, instead of those of the rules; None for those.
        api_name: How the plan names the portal; the client's address when None.
        options: How to treat what is in the folder already.
        rules: Which of the portal's files are wanted.
    Raises:
        ConfigError, DataError: the request does not fit the portal (see `make_plan`) or the folder, the data release
            has changed since the folder's plan was made (says what that changes), or the disk is full.
        PortalError: the portal's answers cannot be used, or files could not be fetched and verified (lists them).
    """
    with planned_folder(client, raw_folder, projects, modality, sample_types, api_name, options, rules) as plan:
        return _fetch_plan(client, raw_folder, plan, plan.data_release, options)


def download_plan(
    client: GdcClient,
    raw_folder: Path,
    plan: Plan,
    options: DownloadOptions = DEFAULT_OPTIONS,
    cases_json: Path | None = None,
) -> DownloadSummary:
    """Fetch exactly the files of a plan, as `download` would have done where it was made.

    Args:
        client: The portal.
        raw_folder: Folder to fill; made when absent.
        plan: From `read_plan_file`.
        options: How to treat what is in the folder already.
        cases_json: The clinical records made with the plan; asked of the portal when there are none.
    Raises:
        ConfigError, DataError, PortalError: as `download`. Another data release than the plan's is only said.
    """
    _check_access(client, plan)
    release = client.status().data_release
    if release != plan.data_release:
        logger.warning(
            "%s: the plan is of %r, the portal now serves %r; ids and md5 of the plan decide what is fetched",
            client.api,
            plan.data_release,
            release,
        )
    with folder_lock(raw_folder, use_wait=options.use_wait):
        _check_same_modality(raw_folder, plan.modality)
        is_there = (raw_folder / PLAN_JSON).exists() and read_plan(raw_folder) == plan
        if (raw_folder / PLAN_JSON).exists() and not is_there and not options.use_replan:
            raise ConfigError(f"{raw_folder} holds files of another plan; choose another --out, or give --replan")
        if not is_there or not (raw_folder / CASES_JSON).exists():
            is_given = cases_json is not None and cases_json.is_file()
            cases = _read_cases(cases_json) if cases_json and is_given else query_cases(client, plan.projects)
            _write_plan(raw_folder, PlannedCohorts(plan=plan, cases=cases))
        return _fetch_plan(client, raw_folder, plan, release, options)


@contextmanager
def planned_folder(
    client: GdcClient,
    raw_folder: Path,
    projects: Sequence[str],
    modality: Modality,
    sample_types: SampleTypes | None = None,
    api_name: str | None = None,
    options: DownloadOptions = DEFAULT_OPTIONS,
    rules: SelectionRules = DEFAULT_RULES,
) -> Iterator[Plan]:
    """A raw folder with its plan and no other download at work in it, while the block runs; arguments as `download`.

    Raises:
        ConfigError, DataError, PortalError: as `download`.
    """
    rules = rules if sample_types is None else rules.with_tissue(sample_types)

    def make() -> PlannedCohorts:
        return make_plan(client, projects, modality, None, api_name or client.api, rules)

    # Nothing is written for a request that does not fit the portal.
    planned = None if (raw_folder / PLAN_JSON).exists() else make()
    with folder_lock(raw_folder, use_wait=options.use_wait):
        if not (raw_folder / PLAN_JSON).exists():
            planned = planned or make()
            _write_plan(raw_folder, planned)
            yield planned.plan
            return
        _check_same_modality(raw_folder, modality)
        there = read_plan(raw_folder)
        other = _other_request(there, projects, rules)
        if other and not options.use_replan:
            raise ConfigError(
                f"{raw_folder} holds files of another request ({other}); choose another --out, or give --replan"
            )
        is_old = client.status().data_release != there.data_release
        if options.use_replan or is_old:
            planned = make()
            change = describe_change(client, there, planned.plan)
            if not options.use_replan:
                raise DataError(
                    f"{raw_folder} holds a plan of {there.data_release!r}, and the portal now serves"
                    f" {planned.plan.data_release!r}: {change}. Nothing was changed. Give --replan to bring the folder"
                    f" to the new release (what stays is kept), or --plan {raw_folder / PLAN_JSON} to finish the old"
                    " plan"
                )
            logger.info("%s: a new plan: %s", raw_folder, change)
            _write_plan(raw_folder, planned)
            there = planned.plan
        elif not (raw_folder / CASES_JSON).exists():
            write_json(raw_folder / CASES_JSON, query_cases(client, list(there.projects)))
        yield there


def replan_preview(
    client: GdcClient,
    raw_folder: Path,
    projects: Sequence[str],
    modality: Modality,
    sample_types: SampleTypes | None = None,
    api_name: str | None = None,
    rules: SelectionRules = DEFAULT_RULES,
) -> str:
    """What a new plan would change in a folder that has one, in one line; writes nothing. Arguments as `download`.

    Raises:
        ConfigError, DataError, PortalError: as `download`.
    """
    _check_same_modality(raw_folder, modality)
    rules = rules if sample_types is None else rules.with_tissue(sample_types)
    there = read_plan(raw_folder)
    planned = make_plan(client, projects, modality, None, api_name or client.api, rules).plan
    release = (
        f"{there.data_release!r} to {planned.data_release!r}, " if planned.data_release != there.data_release else ""
    )
    return f"{release}{describe_change(client, there, planned)}"


def _read_cases(path: Path) -> list[Json]:
    try:
        cases = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as the clinical records of a plan: {error}") from error
    if not isinstance(cases, list):
        raise DataError(f"{path}: expected a list of clinical records, found {type(cases).__name__}")
    return cases


def _other_request(plan: Plan, projects: Sequence[str], rules: SelectionRules) -> str:
    """How a request differs from that of a plan, in words; empty when it does not."""
    wanted, there = requested_names(projects), requested_names(plan.requested or plan.projects)
    differences = []
    if there != wanted:
        differences.append(f"projects {','.join(there)} instead of {','.join(wanted)}")
    if plan.sample_types != rules.tissue:
        differences.append(f"sample types {plan.sample_types!r} instead of {rules.tissue!r}")
    elif plan.rules is not None and plan.rules != rules:
        changed = [key for key in SelectionRules.model_fields if getattr(plan.rules, key) != getattr(rules, key)]
        differences.append(f"other rules of selection: {', '.join(changed)}")
    return "; ".join(differences)


def _write_plan(raw_folder: Path, planned: PlannedCohorts) -> None:
    """Write the plan last, so that a folder with a plan has its clinical records."""
    try:
        (raw_folder / MANIFEST_TSV).unlink(missing_ok=True)
        (raw_folder / PLAN_JSON).unlink(missing_ok=True)
        write_json(raw_folder / CASES_JSON, planned.cases)
        write_rejected(raw_folder, planned.plan)
        planned.plan.save(raw_folder)
    except OSError as error:
        raise DataError(f"{raw_folder}: cannot be written: {error.strerror}; choose another --out") from error


def _check_access(client: GdcClient, plan: Plan) -> None:
    controlled = [file for file in plan.files if file.access != OPEN]
    if controlled and not client.has_token:
        raise ConfigError(
            f"{len(controlled)} of {len(plan.files)} planned files are not open, as {controlled[0].file_id}"
            f" ({controlled[0].sample_id}, access {controlled[0].access!r}): give --token-file, or plan with --access"
            " open"
        )


def _check_names(plan: Plan) -> None:
    """A plan may come from anywhere; its names must not lead out of the folder."""
    for file in plan.files:
        if not is_file_id(file.file_id) or safe_file_name(file.file_name) != file.file_name:
            raise DataError(
                f"{PLAN_JSON}: file {file.file_id!r} with name {file.file_name!r}; expected a UUID and a plain name"
            )
    twice = [file_id for file_id, n in Counter(file.file_id for file in plan.files).items() if n > 1]
    if twice:
        raise DataError(f"{PLAN_JSON}: file {twice[0]} is planned twice; make the plan anew")


def _check_same_modality(raw_folder: Path, modality: Modality) -> None:
    if not (raw_folder / PLAN_JSON).exists():
        return
    there = read_plan(raw_folder).modality
    if there != modality:
        raise ConfigError(f"{raw_folder} holds {there} files; choose another --out for {modality}")


def _fetch_plan(
    client: GdcClient, raw_folder: Path, plan: Plan, data_release: str, options: DownloadOptions
) -> DownloadSummary:
    _check_access(client, plan)
    _check_names(plan)
    files = [client.remote_file(raw_folder, file) for file in plan.files]
    _list_unplanned(raw_folder, plan)
    for name in (MANIFEST_TSV, FAILED_TSV):
        (raw_folder / name).unlink(missing_ok=True)

    def explain(file: RemoteFile, status: int) -> str:
        fate = client.fate(file.file_id) if status in (404, 410, 451) else None
        return f"redacted: {fate}" if fate is not None and status == 451 else str(fate or "")

    try:
        done = fetch_all(
            client.session,
            files,
            client.policy,
            folder=raw_folder,
            explain=explain,
            use_reading=options.use_reading,
        )
    except TransferError as error:
        _write_failed(raw_folder, error)
        raise TransferError(f"{error}\nthe whole list: {raw_folder / FAILED_TSV}", error.failures) from error
    check_release(client, data_release)
    _write_manifest(raw_folder, plan)
    return DownloadSummary(plan=plan, n_fetched=done.n_fetched, n_kept=done.n_kept)


def _list_unplanned(raw_folder: Path, plan: Plan) -> None:
    """Say what lies in the folder beside the planned files; nothing reads it."""
    planned = {file.file_id: file.file_name for file in plan.files}
    strange = [
        path.relative_to(raw_folder)
        for path in sorted(raw_folder.glob("*/*"))
        if path.parent.name != RECORDS_FOLDER and not path.name.startswith(planned.get(path.parent.name, "/"))
    ]
    if strange:
        logger.warning(
            "%s: %d files are not in the plan and are not used, as %s; delete them to save room",
            raw_folder,
            len(strange),
            strange[0],
        )


def _write_failed(raw_folder: Path, error: TransferError) -> None:
    lines = [f"id\t{SAMPLE_ID}\t{REASON}"]
    lines += [f"{one.file.file_id}\t{one.file.label}\t{' '.join(one.reason.split())}" for one in error.failures]
    _write_lines(raw_folder / FAILED_TSV, lines)


def _write_manifest(raw_folder: Path, plan: Plan) -> None:
    lines = ["id\tfilename\tmd5\tsize\trelease"]
    lines += [f"{file.file_id}\t{file.file_name}\t{file.md5}\t{file.size}\t{plan.data_release}" for file in plan.files]
    _write_lines(raw_folder / MANIFEST_TSV, lines)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    try:
        with atomic_path(path) as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}; make room and run it again") from error
