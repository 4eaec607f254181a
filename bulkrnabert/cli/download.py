"""`bulkrnabert download`: plan and fetch files from a portal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click

from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import PLAN_JSON, PUBLIC_GDC_API

logger = logging.getLogger(__name__)

EMBEDDED = "embedded:"


@contextmanager
def _portal_address(api: str) -> Iterator[str]:
    """The address to ask; for `embedded:FILE` a stand-in that serves the study meanwhile."""
    if not api.startswith(EMBEDDED):
        yield api
        return
    from bulkrnabert.data.sources.gdc_standin import serve
    from bulkrnabert.data.synthetic import SyntheticStudy

    with serve(SyntheticStudy.from_json(Path(api.removeprefix(EMBEDDED)))) as handle:
        yield handle.url


def _api_name(api: str) -> str:
    return f"{EMBEDDED}{Path(api.removeprefix(EMBEDDED)).name}" if api.startswith(EMBEDDED) else api


@click.command("download")
@click.option("--source", type=click.Choice(["gdc"]), default="gdc", show_default=True, help="Portal to fetch from.")
@click.option(
    "--api",
    default=PUBLIC_GDC_API,
    show_default=True,
    help="Address of the portal; `embedded:study.json` serves a synthetic study by itself.",
)
@click.option("--projects", required=True, help="Project ids, separated by commas: TCGA-BRCA,TCGA-LUAD.")
@click.option(
    "--modality",
    type=click.Choice(["rnaseq", "methylation"]),
    default="rnaseq",
    show_default=True,
    help="STAR gene counts, or SeSAMe beta values.",
)
@click.option(
    "--sample-types",
    type=click.Choice(["tumor", "all"]),
    default="tumor",
    show_default=True,
    help="Tumours only, or normal tissue too.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Raw folder to fill.")
@click.option("--workers", type=click.IntRange(1, 32), default=4, show_default=True, help="Files fetched at once.")
@click.option("--retries", type=click.IntRange(0, 20), default=5, show_default=True, help="Further tries of a request.")
@click.option(
    "--idle-timeout",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Give up a connection that sends nothing for so many seconds.",
)
def command(
    source: str,  # noqa: ARG001 - one choice today
    api: str,
    projects: str,
    modality: Literal["rnaseq", "methylation"],
    sample_types: Literal["tumor", "all"],
    out: Path,
    workers: int,
    retries: int,
    idle_timeout: float,
) -> None:
    """Fetch open-access files of whole projects, verified, into a raw folder.

    Writes OUT/plan.json (what is fetched, what is left out and by which rule, of which data release), OUT/cases.json
    (clinical records as published), OUT/<file_id>/<file_name> and, when every file has arrived with the right size and
    md5, OUT/manifest.tsv. One file for each patient and tissue: no FFPE, the primary tumour first, vial A before B,
    then the lowest plate. Run it again to go on after a failure: files that are there already are kept.
    """
    from bulkrnabert.data.sources.gdc import GdcClient
    from bulkrnabert.data.sources.gdc_download import download
    from bulkrnabert.provenance import require_writable

    require_writable(out / PLAN_JSON)
    project_ids = [project.strip() for project in projects.split(",") if project.strip()]
    if not project_ids:
        raise ConfigError(f"--projects {projects!r} names no project: expected ids separated by commas")
    with (
        _portal_address(api) as address,
        GdcClient(address, n_connections=workers, n_retries=retries, idle_timeout_s=idle_timeout) as client,
    ):
        summary = download(client, out, project_ids, modality, sample_types, workers, _api_name(api))
    logger.info(
        "%s: %d files fetched, %d already there, %.1f MB in all, %s",
        out,
        summary.n_fetched,
        summary.n_kept,
        summary.plan.total_bytes / 1e6,
        summary.plan.data_release,
    )
