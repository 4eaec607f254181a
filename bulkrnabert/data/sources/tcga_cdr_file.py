"""Where the TCGA clinical data resource is published, and how to get it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import requests

from bulkrnabert import keys
from bulkrnabert.data.sources.transfer import RemoteFile, TransferPolicy, fetch_all, folder_lock

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CdrFile:
    """An open file of the GDC.

    Attributes:
        file_id: Its id at the portal.
        name: Its name.
        size: Bytes.
        md5: Hex.
    """

    file_id: str
    name: str
    size: int
    md5: str


# Liu et al., Cell 2018, doi 10.1016/j.cell.2018.02.052, supplemental table S1, as the GDC publishes it:
# https://gdc.cancer.gov/about-data/publications/pancanatlas
CDR_FILE = CdrFile(
    file_id="1b5f413e-a8d1-4d10-92eb-7c4ae739ed81",
    name="TCGA-CDR-SupplementalTableS1.xlsx",
    size=2_945_129,
    md5="a4591b2dcee39591f59e5e25a6ce75fa",
)


def download_cdr(
    session: requests.Session,
    folder: Path,
    api: str = keys.PUBLIC_GDC_API,
    policy: TransferPolicy | None = None,
    file: CdrFile | None = None,
) -> Path:
    """Have the workbook of the TCGA-CDR in a folder; kept when it is there already and has the right md5.

    Args:
        session: From `open_session`.
        folder: Made when absent; locked here.
        api: Address of the GDC.
        policy: How patient to be.
        file: What to fetch; the published workbook when None.
    Returns:
        The file.
    Raises:
        TransferError: it could not be fetched, or is not the published one.
    """
    file = file or CDR_FILE
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / file.name
    remote = RemoteFile(file.file_id, f"{api.rstrip('/')}/data/{file.file_id}", target, file.size, file.md5)
    with folder_lock(folder):
        fetched = fetch_all(session, [remote], policy or TransferPolicy(), folder=folder)
    logger.info("%s: TCGA-CDR %s", target, "fetched" if fetched.n_fetched else "was there")
    return target
