"""`bulkrnabert crate`: a finished run as an RO-Crate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError, DataError

EXAMPLES = {
    "What would leave the house": "bulkrnabert crate --results results --out crate --dry-run",
    "Export a run that used a container": (
        "bulkrnabert crate --results results --image registry.example/bulkrnabert@sha256:0123456789abcdef --out crate"
    ),
}


@stage("crate", EXAMPLES)
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
@dry_run_option
def command(
    results: Path, image: str | None, with_patients: bool, audit: Path | None, out: Path, dry_run: bool
) -> None:
    """Export a run: its files, and ro-crate-metadata.json that says where they come from.

    The metadata name every input with its md5 and data release, the code, the container, the hash of the splits, the
    parameters, and every output with its sha256. Refused (exit status 2) where anything is of data-access class
    controlled. Without --with-patients a file that names a patient or sample of the run stays, and is listed. Every
    attempt is noted in the audit log before anything leaves; each line holds the hash of the line before.
    """
    from bulkrnabert.evaluate.audit import append_audit
    from bulkrnabert.evaluate.crate import check_export, new_crate, read_results, select_files
    from bulkrnabert.provenance import require_writable, sha256_file

    log = audit or results / keys.AUDIT_JSONL
    _check_places(results, image, log, out)
    require_writable(out)
    run = read_results(results)
    facts: dict[str, Any] = {"results": results.name, "access": run.access, "with_patients": with_patients}
    facts["out"] = out.name
    try:
        check_export(run, with_patients)
    except DataError as error:
        if not dry_run:
            append_audit(log, "export refused", {**facts, "reason": str(error)})
        raise
    chosen = select_files(run, with_patients)
    n_files, n_of_patients = len(chosen.files), len(run.patient_level) if with_patients else len(chosen.stays)
    what = (
        f"{len(run.inputs)} inputs, {n_files} outputs, class {run.access}; {n_of_patients} files that tell of single"
        f" patients {'went along' if with_patients else 'stay'}"
    )
    counts: dict[str, Any] = {"n_inputs": len(run.inputs), "n_outputs": n_files, "access": run.access}
    counts["stays"] = {file.as_posix(): reason for file, reason in chosen.stays.items()}
    if dry_run:
        finish(None, f"nothing was written; would go to {out}: {what}", "the same without --dry-run", **counts)
        return
    facts |= {"n_outputs": n_files, "n_stay": len(chosen.stays)}
    append_audit(log, "export begun", facts)
    with new_crate(run, chosen, out, image) as metadata:
        line = append_audit(log, "export", {**facts, "crate_sha256": sha256_file(metadata)})
    noted = f"noted in {log}, hash of the line {line}"
    finish(out / keys.CRATE_JSON, f"{what}; {noted}", f"share the folder {out}", audit_sha256=line, **counts)


def _check_places(results: Path, image: str | None, log: Path, out: Path) -> None:
    if image is not None and "@sha256:" not in image:
        raise ConfigError(f"--image {image}: has no digest; expected name@sha256:…, as `docker image inspect` shows it")
    if out.resolve().is_relative_to(results.resolve()):
        raise ConfigError(f"--out {out}: lies in --results, and would be a part of the next crate; name another folder")
    if results.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"--out {out}: holds --results, and would be replaced with it; name another folder")
    if log.resolve().is_relative_to(out.resolve()):
        raise ConfigError(f"--audit {log}: lies in --out, which the next export replaces; keep the log elsewhere")
