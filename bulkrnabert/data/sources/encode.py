"""Fetches gene quantifications from the ENCODE portal, or takes those of a batch download."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter

from bulkrnabert.data.sources.encode_files import (
    ANNOTATION,
    ASSAYS,
    ASSEMBLY,
    OUTPUT_TYPE,
    PIPELINE_LAB,
    RELEASED,
    EncodeFile,
    EncodePlan,
    Json,
    read_batch_metadata,
    select_encode_files,
)
from bulkrnabert.data.sources.own_files import place_own_file
from bulkrnabert.data.sources.raw_plan import (
    ENCODE,
    raw_file_path,
    refuse_other_plan,
    save_plan,
    write_manifest,
)
from bulkrnabert.data.sources.transfer import (
    RemoteFile,
    TransferPolicy,
    fetch_all,
    folder_lock,
    is_loopback,
    open_session,
)
from bulkrnabert.data.sources.transfer_folder import md5_of_file
from bulkrnabert.data.sources.transfer_http import TRANSIENT_STATUS, get, shorten, where
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError, PortalError
from bulkrnabert.keys import MANIFEST_TSV, PUBLIC_ENCODE_API

logger = logging.getLogger(__name__)

# https://www.encodeproject.org/help/rest-api/ allows 10 GET requests a second.
MIN_SECONDS_BETWEEN_REQUESTS = 0.11
REDIRECT_HOSTS = ("encode-public.s3.amazonaws.com", "encode-files.s3.amazonaws.com")
METADATA_TSV = "metadata.tsv"
FIELDS = (
    "accession",
    "href",
    "md5sum",
    "file_size",
    "file_format",
    "output_type",
    "status",
    "assembly",
    "genome_annotation",
    "assay_title",
    "lab.title",
    "preferred_default",
    "dataset",
    "biological_replicates",
    "date_created",
    "biosample_ontology.classification",
    "biosample_ontology.term_name",
    "simple_biosample_summary",
)


@dataclass(frozen=True)
class EncodeSummary:
    """What a download did.

    Attributes:
        plan: The plan that the raw folder now holds.
        n_fetched: Files fetched by this run.
        n_kept: Files that were there already, or are of the batch download.
    """

    plan: EncodePlan
    n_fetched: int
    n_kept: int


class _PacedAdapter(HTTPAdapter):
    """Lets requests start one after the other, so far apart that the portal's limit is kept."""

    def __init__(self, seconds: float, n_connections: int) -> None:
        super().__init__(max_retries=0, pool_connections=n_connections, pool_maxsize=n_connections)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._next = 0.0

    def send(self, request: requests.PreparedRequest, **arguments: Any) -> requests.Response:  # type: ignore[override]
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._seconds
        time.sleep(start - now)
        return super().send(request, **arguments)


def download_encode(
    out: Path,
    api: str = PUBLIC_ENCODE_API,
    *,
    assays: Sequence[str] = ASSAYS,
    annotation: str = ANNOTATION,
    batch: Path | None = None,
    policy: TransferPolicy | None = None,
    use_reading: bool = False,
    use_wait: bool = False,
) -> EncodeSummary:
    """Fill a raw folder with `plan.json`, one RSEM file a biological replicate and, last, `manifest.tsv`.

    Size and md5 of every file are verified against the portal's metadata.

    Args:
        out: Folder to fill; made when absent. The same call goes on from what is there.
        api: Address of the portal; with `batch`, where files come from that the folder does not have.
        assays: Assay titles.
        annotation: The one GENCODE release that the files must have been counted on, as `V29`.
        batch: Folder of a batch download with its `metadata.tsv`; its files are used, and no search is made.
        policy: How patient the transfer is.
        use_reading: Read every file that is there again, and do not believe size and time of change.
        use_wait: Wait for another download into this folder to end.
    Raises:
        ConfigError: the address is none, or the folder holds something else.
        DataError: the search finds nothing, or nothing is left of it.
        PortalError: the portal's answer cannot be used, or files could not be fetched and verified (lists them).
    """
    if not re.match(r"^https?://[^/\s]+", api):
        raise ConfigError(f"--api {api!r} is no address: expected http(s)://host, for example {PUBLIC_ENCODE_API}")
    if not assays:
        raise ConfigError(f"--assays names no assay; the usual ones are {', '.join(ASSAYS)}")
    api = api.rstrip("/")
    policy = policy or TransferPolicy()
    with folder_lock(out, use_wait=use_wait), _open(api, policy) as session:
        refuse_other_plan(out, ENCODE)
        (out / MANIFEST_TSV).unlink(missing_ok=True)
        if batch is None:
            records = search_files(session, api, assays, annotation, policy)
        else:
            records = read_batch_metadata(batch / METADATA_TSV)
        files, rejected = select_encode_files(records, api, assays, annotation)
        rules = Counter(file.rule for file in rejected)
        counted = ", ".join(f"{n} by {rule}" for rule, n in sorted(rules.items())) or "none"
        if not files:
            raise DataError(
                f"nothing to download: none of {len(records)} files can be used; rejected: {counted}. Check --assays"
                f" and --annotation ({annotation})"
            )
        logger.info(
            "%s: %d files of %d experiments (%.1f MB), left out: %s",
            out,
            len(files),
            len({file.dataset for file in files}),
            sum(file.size for file in files) / 1e6,
            counted,
        )
        plan = EncodePlan(
            api=api if batch is None else batch.name,
            annotation=f"GENCODE {annotation}",
            assays=tuple(assays),
            files=tuple(files),
            rejected=tuple(rejected),
        )
        save_plan(out, plan)
        if batch is not None:
            _place_batch(batch, out, files)
        remote = [
            RemoteFile(
                file.file_id,
                file.url,
                raw_file_path(out, file),
                file.size,
                file.md5,
                label=file.dataset,
                redirect_hosts=REDIRECT_HOSTS,
            )
            for file in files
        ]
        summary = fetch_all(session, remote, policy, folder=out, use_reading=use_reading)
        write_manifest(out, plan.files, f"ENCODE {annotation}")
    return EncodeSummary(plan, summary.n_fetched, summary.n_kept)


def _open(api: str, policy: TransferPolicy) -> requests.Session:
    session = open_session(policy.n_workers, use_environment=not is_loopback(api))
    session.mount(api, _PacedAdapter(MIN_SECONDS_BETWEEN_REQUESTS, policy.n_workers))
    return session


def _place_batch(batch: Path, out: Path, files: Sequence[EncodeFile]) -> None:
    """Link the files of a batch download that are whole; the others are fetched."""
    for file in files:
        own = batch / file.file_name
        if not own.is_file():
            continue
        if own.stat().st_size == file.size and md5_of_file(own) == file.md5:
            place_own_file(own, raw_file_path(out, file))
        else:
            logger.warning("%s: not the size or md5 of %s; it is fetched again", own, METADATA_TSV)


def search_files(
    session: requests.Session, api: str, assays: Sequence[str], annotation: str, policy: TransferPolicy
) -> list[Json]:
    """File objects of the uniformly processed gene quantifications of some assays.

    Raises:
        DataError: the search finds nothing.
        PortalError: no usable answer.
    """
    question = [
        ("type", "File"),
        ("status", RELEASED),
        ("output_type", OUTPUT_TYPE),
        ("file_format", "tsv"),
        ("assembly", ASSEMBLY),
        ("genome_annotation", annotation),
        ("lab.title", PIPELINE_LAB),
        ("preferred_default", "true"),
        *(("assay_title", assay) for assay in assays),
        *(("field", field) for field in FIELDS),
        ("format", "json"),
        ("limit", "all"),
    ]
    url = f"{api}/search/?{urlencode(question)}"
    body = _ask(session, url, policy)
    records = body.get("@graph")
    if records == []:
        raise DataError(
            f"{where(url)}: no file of {' or '.join(assays)} on {ASSEMBLY} and GENCODE {annotation}; check --assays"
            " (as the portal spells them) and --annotation (as V29)"
        )
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise PortalAnswerError(f"{where(url)}: expected a list `@graph` of files, found {shorten(str(body))}")
    total = body.get("total")
    accessions = {record.get("accession") for record in records}
    if len(accessions) != len(records) or (isinstance(total, int) and total != len(records)):
        raise PortalError(
            f"{where(url)}: {len(records)} files, {len(accessions)} of them different, but the portal counts {total};"
            " run it again"
        )
    return records


def _ask(session: requests.Session, url: str, policy: TransferPolicy) -> Json:
    """One JSON object; a search that finds nothing answers 404 and says so in JSON."""
    problem = ""
    for attempt in range(policy.n_retries + 1):
        asked: requests.Response | None = None
        try:
            with get(session, url, {"Accept": "application/json"}, policy) as response:
                status, text = response.status_code, response.text
                asked = response
        except requests.RequestException as error:
            problem = f"no answer ({type(error).__name__}: {shorten(str(error))})"
        else:
            if status not in TRANSIENT_STATUS:
                return _json_of(url, status, response, text)
            problem = f"answered {status}: {shorten(text)}"
        if attempt < policy.n_retries:
            logger.warning("%s: %s; try %d of %d", where(url), problem, attempt + 2, policy.n_retries + 1)
            time.sleep(policy.wait_s(attempt, asked))
    raise PortalError(
        f"{where(url)}: {problem}, after {policy.n_retries + 1} tries; check the portal's address (--api) and the"
        " network"
    )


def _json_of(url: str, status: int, response: requests.Response, text: str) -> Json:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise PortalAnswerError(
            f"{where(url)}: answered {status}, expected a JSON object, found {shorten(text)!r}; is this the address of"
            " an ENCODE portal?"
        )
    if status == 404:
        return {"@graph": []}
    if status != 200:
        raise PortalError(f"{where(url)}: answered {status}: {shorten(text)}")
    return body
