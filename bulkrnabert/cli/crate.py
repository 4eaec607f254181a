"""`bulkrnabert crate`: a finished run as an RO-Crate."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from bulkrnabert import keys
from bulkrnabert.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@click.command("crate")
@click.option(
    "--results",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Results folder of a finished run.",
)
@click.option("--image", help="Container image of the run with its digest, as name@sha256:….  [default: none was used]")
@click.option(
    "--with-patients",
    is_flag=True,
    help="Tables, splits, embeddings and predictions too, which tell of single patients; only where all data are open.",
)
@click.option(
    "--audit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Log that a line is added to, also when the export is refused.  [default: RESULTS/audit.jsonl]",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the crate.")
def command(results: Path, image: str | None, with_patients: bool, audit: Path | None, out: Path) -> None:
    """Export a run: its files, and ro-crate-metadata.json that says where they come from.

    The metadata name every input with its md5 and data release, the code, the container, the hash of the splits, the
    parameters, and every output with its sha256. Refused (exit status 2) where anything is of data-access class
    controlled. Every attempt is a line of the audit log, which holds the hash of the line before.
    """
    from bulkrnabert.evaluate.audit import append_audit
    from bulkrnabert.evaluate.crate import check_export, read_results, write_crate
    from bulkrnabert.provenance import require_writable, sha256_file

    if image is not None and "@sha256:" not in image:
        raise ConfigError(f"--image {image}: has no digest; expected name@sha256:…, as `docker image inspect` shows it")
    if out.resolve().is_relative_to(results.resolve()):
        raise ConfigError(f"--out {out}: lies in --results, and would be a part of the next crate; name another folder")
    require_writable(out)
    log = audit or results / keys.AUDIT_JSONL
    run = read_results(results)
    facts = {"results": results.name, "access": run.access, "with_patients": with_patients, "out": out.name}
    try:
        check_export(run, with_patients)
    except DataError as error:
        append_audit(log, "export refused", {**facts, "reason": str(error)})
        raise
    metadata = write_crate(run, out, with_patients, image)
    append_audit(log, "export", {**facts, "crate_sha256": sha256_file(metadata)})
    logger.info(
        "%s: %d inputs, %d outputs, class %s; %d files of single patients %s; noted in %s",
        metadata,
        len(run.inputs),
        len(run.others) + (len(run.patient_level) if with_patients else 0),
        run.access,
        len(run.patient_level),
        "went along" if with_patients else "stay",
        log,
    )
