"""Plans and fetches cohorts from the GDC: one request a file, a few at a time, each verified on arrival."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_plan import (
    Json,
    Modality,
    Plan,
    PlannedFile,
    RejectedFile,
    SampleTypes,
    file_path,
    read_plan,
    select_files,
)
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError, PortalError, join_problems
from bulkrnabert.keys import CASES_JSON, MANIFEST_TSV, PLAN_JSON
from bulkrnabert.logs import shows_progress
from bulkrnabert.provenance import atomic_path, write_json

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 16
LOG_LINES = 10

_FILTERS: dict[Modality, dict[str, str]] = {
    "rnaseq": {
        "data_category": "Transcriptome Profiling",
        "data_type": "Gene Expression Quantification",
        "experimental_strategy": "RNA-Seq",
        "analysis.workflow_type": "STAR - Counts",
    },
    "methylation": {
        "data_category": "DNA Methylation",
        "data_type": "Methylation Beta Value",
        "experimental_strategy": "Methylation Array",
        "analysis.workflow_type": "SeSAMe Methylation Beta Estimation",
    },
}
_FILE_FIELDS = (
    "file_id",
    "file_name",
    "md5sum",
    "file_size",
    "state",
    "access",
    "platform",
    "cases.case_id",
    "cases.submitter_id",
    "cases.project.project_id",
    "cases.samples.submitter_id",
    "cases.samples.sample_type",
    "cases.samples.tissue_type",
    "cases.samples.preservation_method",
    "cases.samples.portions.is_ffpe",
    "cases.samples.portions.analytes.aliquots.submitter_id",
    "annotations.classification",
    "annotations.category",
)
_CASE_GROUPS = ("demographic", "diagnoses", "follow_ups", "project")


class _BadBodyError(Exception):
    """What arrived is not the planned file; worth another try."""


class _RefusedError(Exception):
    """The portal does not serve the file; another try would get the same answer."""


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


@dataclass(frozen=True)
class PlannedCohorts:
    """A plan and the clinical records of its patients.

    Attributes:
        plan: What to fetch.
        cases: The `/cases` records of the projects, as the portal sent them, sorted by case id.
    """

    plan: Plan
    cases: list[Json]


def make_plan(
    client: GdcClient, projects: Sequence[str], modality: Modality, sample_types: SampleTypes, api_name: str
) -> PlannedCohorts:
    """Ask the portal what it has for some projects, and choose.

    Args:
        client: The portal.
        projects: Project ids.
        modality: What to fetch.
        sample_types: `tumor`, or `all` for normal tissue too.
        api_name: How the plan names the portal.
    Raises:
        ConfigError: a project does not exist (names the nearest).
        DataError: a project has no file to fetch (says what was left out).
        PortalError: the portal's answers cannot be used, or its data release changed meanwhile.
    """
    wanted = sorted(set(projects))
    before = client.status()
    _check_projects(client, wanted)
    conditions: list[Json] = [{"op": "in", "content": {"field": "cases.project.project_id", "value": wanted}}]
    for field, value in _FILTERS[modality].items():
        conditions.append({"op": "=", "content": {"field": field, "value": value}})
    hits = client.query("files", sort="file_id", filters={"op": "and", "content": conditions}, fields=_FILE_FIELDS)
    cases = client.query(
        "cases",
        sort="case_id",
        filters={"op": "in", "content": {"field": "project.project_id", "value": wanted}},
        expand=_CASE_GROUPS,
    )
    check_release(client, before.data_release)
    files, rejected = select_files(hits, modality, sample_types)
    foreign = sorted({file.project_id for file in files} - set(wanted))
    if foreign:
        raise PortalAnswerError(
            f"{client.api}/files: answered with files of project {foreign[0]!r}, which was not asked for; the portal's"
            " answer cannot be trusted"
        )
    _check_no_cohort_is_empty(wanted, modality, files, rejected)
    logger.info(
        "%s: %d %s files planned (%.1f MB), %d left out, %d patients, %s",
        ", ".join(wanted),
        len(files),
        modality,
        sum(file.size for file in files) / 1e6,
        len(rejected),
        len(cases),
        before.data_release,
    )
    plan = Plan(
        api=api_name,
        data_release=before.data_release,
        projects=tuple(wanted),
        modality=modality,
        sample_types=sample_types,
        files=tuple(files),
        rejected=tuple(rejected),
    )
    return PlannedCohorts(plan=plan, cases=cases)


def check_release(client: GdcClient, data_release: str) -> None:
    """Stop when the portal's data release is no longer the one that the work began with.

    Raises:
        PortalError: it changed.
    """
    now = client.status().data_release
    if now != data_release:
        raise PortalError(
            f"{client.api}: the data release changed from {data_release!r} to {now!r} during the download; "
            "run it again to get one release"
        )


def _check_projects(client: GdcClient, wanted: list[str]) -> None:
    known = sorted(str(project.get("project_id")) for project in client.query("projects", sort="project_id"))
    problems = []
    for project in wanted:
        if project not in known:
            nearest = difflib.get_close_matches(project.upper(), known, n=3, cutoff=0.4) or known[:5]
            problems.append(f"no project {project!r} at {client.api}; the nearest are {', '.join(nearest)}")
    if problems:
        raise ConfigError(join_problems("--projects", problems))


def _check_no_cohort_is_empty(
    wanted: list[str], modality: Modality, files: list[PlannedFile], rejected: list[RejectedFile]
) -> None:
    problems = []
    for project in wanted:
        if any(file.project_id == project for file in files):
            continue
        rules = [file.rule for file in rejected if file.project_id == project]
        counts = ", ".join(f"{rules.count(rule)} by {rule}" for rule in sorted(set(rules)))
        problems.append(
            f"{project} has no {modality} file to fetch: "
            + (f"all {len(rules)} are left out ({counts})" if rules else "the portal has none")
        )
    if problems:
        raise DataError(join_problems("nothing to download", problems))


def download(
    client: GdcClient,
    raw_folder: Path,
    projects: Sequence[str],
    modality: Modality,
    sample_types: SampleTypes = "tumor",
    n_workers: int = 4,
    api_name: str | None = None,
) -> DownloadSummary:
    """Plan and fetch: fills a raw folder with `plan.json`, `cases.json`, the files and, last, `manifest.tsv`.

    A folder without `manifest.tsv` is not complete; the same call goes on from what is there.

    Args:
        client: The portal.
        raw_folder: Folder to fill; made when absent.
        projects: Project ids.
        modality: What to fetch.
        sample_types: `tumor`, or `all` for normal tissue too.
        n_workers: Files fetched at once.
        api_name: How the plan names the portal; the client's address when None.
    Raises:
        ConfigError, DataError: the request does not fit the portal, see `make_plan`.
        PortalError: the portal's answers cannot be used, or files could not be fetched and verified (lists them).
    """
    planned = make_plan(client, projects, modality, sample_types, api_name or client.api)
    plan = planned.plan
    _check_same_modality(raw_folder, modality)
    try:
        raw_folder.mkdir(parents=True, exist_ok=True)
        (raw_folder / MANIFEST_TSV).unlink(missing_ok=True)
        plan.save(raw_folder)
        write_json(raw_folder / CASES_JSON, planned.cases)
    except OSError as error:
        raise DataError(f"{raw_folder}: cannot be written: {error.strerror}; choose another --out") from error

    to_fetch = [file for file in plan.files if not _is_complete(file_path(raw_folder, file), file)]
    _fetch_all(client, raw_folder, to_fetch, n_workers)
    check_release(client, plan.data_release)
    _write_manifest(raw_folder, plan)
    return DownloadSummary(plan=plan, n_fetched=len(to_fetch), n_kept=len(plan.files) - len(to_fetch))


def _check_same_modality(raw_folder: Path, modality: Modality) -> None:
    if not (raw_folder / PLAN_JSON).exists():
        return
    there = read_plan(raw_folder).modality
    if there != modality:
        raise ConfigError(f"{raw_folder} holds {there} files; choose another --out for {modality}")


def _write_manifest(raw_folder: Path, plan: Plan) -> None:
    lines = ["id\tfilename\tmd5\tsize\trelease"]
    lines += [f"{file.file_id}\t{file.file_name}\t{file.md5}\t{file.size}\t{plan.data_release}" for file in plan.files]
    with atomic_path(raw_folder / MANIFEST_TSV) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _is_complete(path: Path, file: PlannedFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest() == file.md5


def _fetch_all(client: GdcClient, raw_folder: Path, files: Sequence[PlannedFile], n_workers: int) -> None:
    """Fetch files concurrently; after all were tried, raise one error that lists those that failed."""
    failed: list[str] = []
    progress = tqdm(total=len(files), unit="file", desc="download", disable=not shows_progress())
    with progress, _pool(n_workers) as pool:
        tasks = {pool.submit(_fetch_file, client, file_path(raw_folder, file), file): file for file in files}
        for n_done, task in enumerate(as_completed(tasks), start=1):
            file = tasks[task]
            problem = task.result()
            if problem is not None:
                failed.append(f"{file.file_id} ({file.sample_id}): {problem}")
            progress.update()
            if progress.disable and n_done * LOG_LINES // len(files) > (n_done - 1) * LOG_LINES // len(files):
                logger.info("%d of %d files fetched", n_done - len(failed), len(files))
    if failed:
        raise PortalError(
            join_problems(
                f"{len(failed)} of {len(files)} files could not be fetched; the others are kept, run it again to go on",
                sorted(failed),
            )
        )


@contextmanager
def _pool(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that starts nothing more when its block is left by an error or an interrupt."""
    pool = ThreadPoolExecutor(max_workers=n_workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch_file(client: GdcClient, target: Path, file: PlannedFile) -> str | None:
    """Fetch one file under its final name; returns what went wrong for good, or None."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    problem = ""
    for attempt in range(client.n_retries + 1):
        if attempt > 0:
            logger.warning("%s: %s; try %d of %d", file.file_id, problem, attempt + 1, client.n_retries + 1)
            client.wait_before_retry(attempt - 1)
        try:
            _stream_verified(client, partial, file)
            partial.replace(target)
            return None
        except _RefusedError as error:
            return str(error)
        except (_BadBodyError, requests.RequestException) as error:
            problem = str(error)
        except OSError as error:
            return f"{partial} cannot be written: {error.strerror}"
        finally:
            partial.unlink(missing_ok=True)
    return problem


def _stream_verified(client: GdcClient, partial: Path, file: PlannedFile) -> None:
    """Write the body of a file and check its size and md5 against the plan."""
    with _open_file(client, file) as response:
        if response.status_code != 200:
            _raise_for_status(client, response, file)
        digest = hashlib.md5(usedforsecurity=False)
        n_bytes = 0
        with partial.open("wb") as handle:
            for chunk in response.iter_content(CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > file.size:
                    raise _BadBodyError(f"more than the {file.size} bytes that were announced")
                digest.update(chunk)
                handle.write(chunk)
        if n_bytes != file.size:
            raise _BadBodyError(f"{n_bytes} bytes arrived instead of {file.size}")
        if digest.hexdigest() != file.md5:
            raise _BadBodyError(f"md5 {digest.hexdigest()} instead of {file.md5}")


def _open_file(client: GdcClient, file: PlannedFile) -> requests.Response:
    try:
        return client.open_file(file.file_id)
    except requests.RequestException as error:  # the client itself has tried again already
        raise _RefusedError(f"no answer ({error})") from error


def _raise_for_status(client: GdcClient, response: requests.Response, file: PlannedFile) -> None:
    code = response.status_code
    if code in (404, 451):
        explanation = client.explain_missing(file.file_id)
        raise _RefusedError(f"the portal answered {code}" + (f" ({explanation})" if explanation else ""))
    raise _RefusedError(f"the portal answered {code}: {response.text[:200]}")
