"""Fetches a release of GTEx from its public bucket, or takes own copies of it, and chooses samples."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from bulkrnabert.data.sources.gct import read_gct_header
from bulkrnabert.data.sources.gdc_plan import safe_file_name
from bulkrnabert.data.sources.gtex_samples import (
    ATTRIBUTES_FILE,
    SUBJECTS_FILE,
    TPM_FILE,
    GtexCohorts,
    GtexPlan,
    read_attributes,
    read_subjects,
    resolve_tissues,
    select_samples,
)
from bulkrnabert.data.sources.own_files import place_own_file
from bulkrnabert.data.sources.raw_plan import (
    GTEX,
    RawFile,
    read_raw_plan,
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
from bulkrnabert.data.sources.transfer_http import TRANSIENT_STATUS, announced_md5, where, whole_number
from bulkrnabert.errors import ConfigError, DataError, PortalError
from bulkrnabert.keys import MANIFEST_TSV, PLAN_JSON

logger = logging.getLogger(__name__)

BUCKET = "https://storage.googleapis.com/adult-gtex"


@dataclass(frozen=True)
class GtexRelease:
    """Where a release lies in the bucket, as gtexportal.org (Downloads, Adult GTEx) links to it.

    Attributes:
        annotation: Gene annotation that its expression was counted on.
        tpm: Gene TPM of all samples.
        attributes: Sample attributes.
        subjects: Subject phenotypes.
    """

    annotation: str
    tpm: str
    attributes: str
    subjects: str


RELEASES = {
    "v8": GtexRelease(
        "GENCODE v26",
        f"{BUCKET}/bulk-gex/v8/rna-seq/GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_tpm.gct.gz",
        f"{BUCKET}/annotations/v8/metadata-files/GTEx_Analysis_v8_Annotations_SampleAttributesDS.txt",
        f"{BUCKET}/annotations/v8/metadata-files/GTEx_Analysis_v8_Annotations_SubjectPhenotypesDS.txt",
    ),
    "v10": GtexRelease(
        "GENCODE v39",
        f"{BUCKET}/bulk-gex/v10/rna-seq/GTEx_Analysis_v10_RNASeQCv2.4.2_gene_tpm.gct.gz",
        f"{BUCKET}/annotations/v10/metadata-files/GTEx_Analysis_v10_Annotations_SampleAttributesDS.txt",
        f"{BUCKET}/annotations/v10/metadata-files/GTEx_Analysis_v10_Annotations_SubjectPhenotypesDS.txt",
    ),
}


@dataclass(frozen=True)
class GtexSummary:
    """What a download did.

    Attributes:
        plan: The plan that the raw folder now holds.
        n_fetched: Files fetched by this run.
        n_kept: Files that were there already, or are the user's own.
    """

    plan: GtexPlan
    n_fetched: int
    n_kept: int


def download_gtex(
    out: Path,
    release: str = "v8",
    *,
    gct: str | None = None,
    attributes: str | None = None,
    subjects: str | None = None,
    tissues: Sequence[str] = (),
    min_rin: float | None = None,
    cohorts: GtexCohorts = "one",
    policy: TransferPolicy | None = None,
    use_reading: bool = False,
    use_wait: bool = False,
) -> GtexSummary:
    """Fill a raw folder with the table, its two annotations, `plan.json` and, last, `manifest.tsv`.

    The small files come first, so that a wrong tissue is said before the large one is fetched. What the bucket says of
    size and md5 is verified. Own files are linked or copied, never fetched, and their md5 is recorded.

    Args:
        out: Folder to fill; made when absent. The same call goes on from what is there.
        release: `v8` or `v10`.
        gct: Gene TPM in place of the release's own: a path, or an address (as of one tissue of the release).
        attributes: Sample attributes, likewise.
        subjects: Subject phenotypes, likewise.
        tissues: Names of tissues (`SMTSD`) or groups of them (`SMTS`), in any case; none for all.
        min_rin: Lowest RNA integrity number.
        cohorts: `one` cohort, or one a `tissue`.
        policy: How patient the transfer is.
        use_reading: Read every fetched file that is there again, and do not believe size and time of change.
        use_wait: Wait for another download into this folder to end.
    Raises:
        ConfigError: no such release or tissue, or the folder holds something else.
        DataError: an own file is wrong, or no sample is left.
        PortalError: a file could not be fetched and verified.
    """
    if release not in RELEASES:
        raise ConfigError(f"no GTEx release {release!r} is known; choose one of {', '.join(RELEASES)}")
    policy = policy or TransferPolicy()
    known = RELEASES[release]
    places = {
        ATTRIBUTES_FILE: attributes or known.attributes,
        SUBJECTS_FILE: subjects or known.subjects,
        TPM_FILE: gct or known.tpm,
    }
    with folder_lock(out, use_wait=use_wait):
        _refuse_other_folder(out, release)
        (out / MANIFEST_TSV).unlink(missing_ok=True)
        only_loopback = all(is_loopback(place) for place in places.values() if _is_address(place))
        have = _Files(out, policy, only_loopback, use_reading)
        with have.session:
            table = read_attributes(have.get(ATTRIBUTES_FILE, places[ATTRIBUTES_FILE]))
            wanted = resolve_tissues(table, tissues)
            read_subjects(have.get(SUBJECTS_FILE, places[SUBJECTS_FILE]))
            header = read_gct_header(have.get(TPM_FILE, places[TPM_FILE]))
        chosen, rejected = select_samples(table, header.sample_ids, wanted, min_rin)
        rules = Counter(sample.rule for sample in rejected)
        counted = ", ".join(f"{n} by {rule}" for rule, n in sorted(rules.items())) or "none"
        if not chosen:
            raise DataError(
                f"{out}: no sample of GTEx {release} is left; rejected: {counted}. Check --tissues, --min-rin"
            )
        plan = GtexPlan(
            release=release,
            annotation=known.annotation,
            cohorts=cohorts,
            tissues=wanted,
            min_rin=min_rin,
            files=tuple(have.files),
            samples=tuple(chosen),
            rejected=tuple(rejected),
        )
        save_plan(out, plan)
        write_manifest(out, plan.files, f"GTEx {release}")
    logger.info(
        "%s: GTEx %s (%s), %d samples of %d donors and %d tissues; left out: %s",
        out,
        release,
        known.annotation,
        len(chosen),
        len({sample.patient_id for sample in chosen}),
        len({sample.tissue for sample in chosen}),
        counted,
    )
    return GtexSummary(plan, have.n_fetched, len(plan.files) - have.n_fetched)


def _refuse_other_folder(out: Path, release: str) -> None:
    refuse_other_plan(out, GTEX)
    if (out / PLAN_JSON).exists():
        there = read_raw_plan(out, GtexPlan).release
        if there != release:
            raise ConfigError(f"{out} holds GTEx {there}; choose another --out for {release}")


def _is_address(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


class _Files:
    """Files of the raw folder, fetched or placed one after the other."""

    def __init__(self, out: Path, policy: TransferPolicy, only_loopback: bool, use_reading: bool) -> None:
        self._out = out
        self._policy = policy
        self._use_reading = use_reading
        self.session = open_session(1, use_environment=not only_loopback)
        self.files: list[RawFile] = []
        self.n_fetched = 0

    def get(self, file_id: str, place: str) -> Path:
        """Have a file at its place in the raw folder."""
        path = unquote(urlsplit(place).path) if _is_address(place) else place
        target = self._out / file_id / safe_file_name(PurePosixPath(path).name)
        if _is_address(place):
            n_bytes, md5 = _announced(self.session, place, self._policy)
            remote = RemoteFile(file_id, place, target, n_bytes, md5)
            summary = fetch_all(self.session, [remote], self._policy, folder=self._out, use_reading=self._use_reading)
            self.n_fetched += summary.n_fetched
            md5 = summary.md5[file_id]
            url = where(place)
        else:
            md5 = place_own_file(Path(place), target)
            url = Path(place).name
        self.files.append(RawFile(file_id=file_id, file_name=target.name, md5=md5, size=target.stat().st_size, url=url))
        return target


def _announced(session: requests.Session, url: str, policy: TransferPolicy) -> tuple[int | None, str | None]:
    """Size and md5 of a file as its server says without sending it, where it does.

    Raises:
        PortalError: there is no such file, or no answer.
    """
    problem = ""
    for attempt in range(policy.n_retries + 1):
        response = None
        try:
            response = session.head(
                url, headers={"Accept-Encoding": "identity"}, timeout=policy.timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            problem = f"no answer ({type(error).__name__})"
        else:
            if response.status_code == 200:
                md5 = announced_md5(response.headers)
                if md5 is None:
                    logger.warning("%s: its server announces no md5; only the size is verified", where(url))
                return whole_number(response.headers.get("Content-Length")), md5
            if 300 <= response.status_code < 400:
                return None, None
            problem = f"answered {response.status_code}"
            if response.status_code not in TRANSIENT_STATUS:
                raise PortalError(
                    f"{where(url)}: {problem}; the file is not there. Give the file as a path or another address, or"
                    " try again later"
                )
        if attempt < policy.n_retries:
            logger.warning("%s: %s; try %d of %d", where(url), problem, attempt + 2, policy.n_retries + 1)
            time.sleep(policy.wait_s(attempt, response))
    raise PortalError(f"{where(url)}: {problem} after {policy.n_retries + 1} tries; check the network and the address")
