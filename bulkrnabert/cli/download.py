"""`bulkrnabert download`: plan and fetch files from a portal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from bulkrnabert.cli._download_portals import (
    download_portal,
    finish_download,
    portal_options,
    refuse_options_of_others,
)
from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._portal_address import api_name, portal_address
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import CASES_JSON, MANIFEST_TSV, PLAN_JSON, PUBLIC_GDC_API

if TYPE_CHECKING:
    from bulkrnabert.data.sources.gdc_plan import Plan
    from bulkrnabert.data.sources.gdc_rules import SelectionRules

GROUPS = {
    "What to fetch": ("source", "api", "projects", "modality", "sample_types", "rules", "access", "token_file"),
    "The plan": ("out", "plan_only", "dry_run", "plan_file", "manifest_file", "replan"),
    "The transfer": ("verify", "wait", "workers", "retries", "idle_timeout"),
    "GTEx": ("release", "gct", "attributes", "subjects", "tissues", "min_rin", "gtex_cohorts"),
    "ENCODE": ("assays", "annotation", "batch"),
}
EXAMPLES = {
    "How much would it be? Nothing is written": (
        "bulkrnabert download --projects TCGA-KIRC,TCGA-KIRP --out raw --dry-run"
    ),
    "RNA-seq of two projects of the GDC": "bulkrnabert download --projects TCGA-KIRC,TCGA-KIRP --out raw",
    "Normal kidney of GTEx": "bulkrnabert download --source gtex --tissues Kidney --out gtex",
}


def _finish_plan(out: Path, plan: Plan, is_dry: bool) -> None:
    projects = {}
    for project in plan.projects:
        files = [file for file in plan.files if file.project_id == project]
        n_rejected = sum(file.project_id == project for file in plan.rejected)
        n_bytes = sum(file.size for file in files)
        projects[project] = {"n_files": len(files), "n_bytes": n_bytes, "n_rejected": n_rejected}
    lines = [
        f"{project}: {one['n_files']} files, {one['n_bytes']} bytes ({one['n_bytes'] / 1e6:,.1f} MB),"
        f" {one['n_rejected']} left out"
        for project, one in projects.items()
    ]
    total = f"{len(plan.files)} files, {plan.total_bytes} bytes, {plan.data_release}"
    lines.append(f"{'nothing was written' if is_dry else out / PLAN_JSON}: {total}")
    finish(
        None if is_dry else out / PLAN_JSON,
        f"{'nothing was written; would be fetched: ' if is_dry else ''}{total}",
        "the same command without " + ("--dry-run" if is_dry else "--plan-only"),
        text="\n".join(lines),
        projects=projects,
        n_files=len(plan.files),
        n_bytes=plan.total_bytes,
        data_release=plan.data_release,
    )


def _finish_preview(out: Path, change: str, without: str) -> None:
    lines = (
        f"{out}: complete; a new plan would change: {change}. Nothing was changed.",
        f"Run it with --replan and without {without} to do it.",
    )
    following = f"the same command with --replan, without {without}"
    finish(None, f"nothing was changed in {out}", following, text="\n".join(lines), change=change)


def _selection_rules(name: str, access: Literal["open", "all"] | None) -> SelectionRules:
    from bulkrnabert.config import preset_path
    from bulkrnabert.data.sources.gdc_rules import SelectionRules

    path = Path(name) if name.endswith((".yaml", ".yml", ".json")) else preset_path("selection", name)
    rules = SelectionRules.from_yaml(path)
    return rules if access is None else rules.model_copy(update={"access": access})


def _is_given(*names: str) -> bool:
    context = click.get_current_context()
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


def _refuse_with_plan(*names: str) -> None:
    context = click.get_current_context()
    for name in names:
        if _is_given(name):
            option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
            raise ConfigError(f"{option} is not used with --plan; the plan says it")


@stage("download", EXAMPLES, GROUPS)
@click.option(
    "--source",
    type=click.Choice(["gdc", "gtex", "encode", "tcga-cdr"]),
    default="gdc",
    show_default=True,
    help="What to fetch from; tcga-cdr is the workbook of the TCGA clinical data resource, for `preprocess --cdr`. An"
    " option whose help begins with GTEx: or ENCODE: is for that portal only.",
)
@click.option(
    "--api",
    default=PUBLIC_GDC_API,
    show_default=True,
    help="Address of the GDC, or with --source encode of ENCODE's portal; `embedded:study.json` serves a synthetic"
    " study by itself.",
)
@click.option(
    "--projects",
    help="GDC: project ids, separated by commas: TCGA-BRCA,TCGA-LUAD. Also COADREAD, GBMLGG, KIPAN and STES, own"
    " cohorts as LUNG=TCGA-LUAD+TCGA-LUSC, and all-tcga; a file keeps its own project.",
)
@click.option(
    "--modality",
    type=click.Choice(["rnaseq", "methylation"]),
    default="rnaseq",
    show_default=True,
    help="STAR gene counts, or SeSAMe beta values.",
)
@click.option(
    "--sample-types",
    type=click.Choice(["primary", "tumor", "all"]),
    help="GDC: primary tumours, every tumour, or normal tissue too.  [default: as the rules say: tumor]",
)
@click.option(
    "--rules",
    metavar="NAME|FILE",
    default="default",
    show_default=True,
    help="GDC: which files are wanted, and which of several of one patient: a shipped set (default, firehose) or a YAML"
    " file of the same keys.",
)
@click.option(
    "--access",
    type=click.Choice(["open", "all"]),
    help="GDC: open files only, or controlled ones too.  [default: as the rules say: open]",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the portal's token, for controlled files; only its owner may read it (chmod 600).",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Raw folder to fill.")
@click.option(
    "--plan-only",
    is_flag=True,
    help="Write OUT/plan.json and OUT/cases.json, say how much it is, and stop. With --replan in a folder that is"
    " complete: write nothing, and say what a new plan would change.",
)
@dry_run_option
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Fetch exactly the files of this plan.json, made here or elsewhere; instead of --projects.",
)
@click.option(
    "--manifest",
    "manifest_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="GDC: fetch the files of a manifest of the GDC (id, filename, md5, size); instead of --projects. Every one of"
    " them, unless --rules, --sample-types or --access is given.",
)
@click.option(
    "--replan", is_flag=True, help="Make a new plan though OUT has one; files that stay in it are not fetched again."
)
@click.option("--verify", is_flag=True, help="Read every file in OUT again, not only those whose size or time changed.")
@click.option("--wait", is_flag=True, help="Wait for another download into OUT to end, instead of stopping.")
@click.option("--workers", type=click.IntRange(1, 32), default=4, show_default=True, help="Files fetched at once.")
@click.option("--retries", type=click.IntRange(0, 20), default=5, show_default=True, help="Further tries of a request.")
@click.option(
    "--idle-timeout",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    help="Give up a connection that sends nothing for so many seconds; a slow one is not given up.",
)
@portal_options
def command(
    source: str,
    api: str,
    projects: str | None,
    modality: Literal["rnaseq", "methylation"],
    sample_types: Literal["primary", "tumor", "all"] | None,
    rules: str,
    access: Literal["open", "all"] | None,
    token_file: Path | None,
    out: Path,
    plan_only: bool,
    dry_run: bool,
    plan_file: Path | None,
    manifest_file: Path | None,
    replan: bool,
    verify: bool,
    wait: bool,
    workers: int,
    retries: int,
    idle_timeout: float,
    **of_portals: Any,
) -> None:
    """Fetch files of whole projects, verified, into a raw folder.

    Writes OUT/plan.json (what is fetched, what is left out and by which rule, of which data release), OUT/cases.json
    (clinical records as published), OUT/<file_id>/<file_name> and, when every file has arrived with the right size and
    md5, OUT/manifest.tsv; else OUT/failed.tsv lists the files that are missing, and the exit status is 1. One file for
    each patient and tissue, by --rules: no FFPE, the primary tumour first, vial A before B, then the lowest plate;
    OUT/rejected.tsv says of every other one why it is left out.

    Run it again to go on after a failure: the plan stays, files that are there are kept, and one that broke off goes on
    where it stopped. When the portal has a new data release, it says what that changes and stops; --replan goes along.

    GTEx: one table of TPM with its annotations of samples and donors; plan.json lists every sample that is used or left
    out. ENCODE: one RSEM file a biological replicate, of the uniform pipeline on GRCh38. Neither has survival, and
    neither is processed as the GDC's files are: a cohort is a batch, too.
    """
    from bulkrnabert.data.sources.gdc import GdcClient
    from bulkrnabert.data.sources.gdc_download import (
        DownloadOptions,
        download,
        download_plan,
        planned_folder,
        replan_preview,
    )
    from bulkrnabert.data.sources.gdc_manifest import plan_from_manifest, read_manifest
    from bulkrnabert.data.sources.gdc_plan import read_plan_file
    from bulkrnabert.data.sources.gdc_planning import make_plan
    from bulkrnabert.data.sources.gdc_token import read_token
    from bulkrnabert.data.sources.transfer import TransferPolicy
    from bulkrnabert.provenance import require_writable

    require_writable(out / PLAN_JSON)
    refuse_options_of_others(source)
    if source != "gdc":
        policy = TransferPolicy(n_workers=workers, n_retries=retries, idle_timeout_s=idle_timeout)
        download_portal(source, out, api, policy, of_portals, use_reading=verify, use_wait=wait)
        return
    if sum(what is not None for what in (projects, plan_file, manifest_file)) != 1:
        raise ConfigError(
            "give either --projects, or --plan with a plan.json, or --manifest with a manifest of the GDC"
        )
    if projects is None and plan_only:
        raise ConfigError("--plan and --manifest say what is fetched; --plan-only makes one plan of --projects")
    if plan_file is not None:
        _refuse_with_plan("modality", "sample_types", "rules", "access")
    project_ids = [project.strip() for project in (projects or "").split(",") if project.strip()]
    if projects is not None and not project_ids:
        raise ConfigError(f"--projects {projects!r} names no project: expected ids separated by commas")
    options = DownloadOptions(use_replan=replan, use_reading=verify, use_wait=wait)
    plan = None if plan_file is None else read_plan_file(plan_file)
    manifest = None if manifest_file is None else read_manifest(manifest_file)
    token = None if token_file is None else read_token(token_file)
    with (
        portal_address(api) as address,
        GdcClient(
            address, n_connections=workers, n_retries=retries, idle_timeout_s=idle_timeout, token=token
        ) as client,
    ):
        selection = _selection_rules(rules, access)
        request = (project_ids, modality, sample_types, api_name(api), options, selection)
        if projects and replan and (plan_only or dry_run) and _is_complete(out):
            change = replan_preview(client, out, project_ids, modality, sample_types, api_name(api), selection)
            _finish_preview(out, change, "--dry-run" if dry_run else "--plan-only")
            return
        if dry_run and projects is not None:
            chosen = selection if sample_types is None else selection.with_tissue(sample_types)
            planned = make_plan(client, project_ids, modality, None, api_name(api), chosen)
            _finish_plan(out, planned.plan, is_dry=True)
            return
        if plan_only:
            with planned_folder(client, out, *request) as new_plan:
                _finish_plan(out, new_plan, is_dry=False)
            return
        if dry_run and plan is not None:
            _finish_plan(out, plan, is_dry=True)
            return
        if plan is not None and plan_file is not None:
            summary = download_plan(client, out, plan, options, plan_file.with_name(CASES_JSON))
        elif manifest is not None:
            wanted = selection if sample_types is None else selection.with_tissue(sample_types)
            is_chosen = _is_given("rules", "sample_types", "access")
            listed = plan_from_manifest(client, manifest, modality, api_name(api), wanted if is_chosen else None)
            if dry_run:
                _finish_plan(out, listed, is_dry=True)
                return
            summary = download_plan(client, out, listed, options)
        else:
            summary = download(client, out, *request)
    finish_download(
        out,
        summary.n_fetched,
        summary.n_kept,
        f", {summary.plan.total_bytes / 1e6:.1f} MB in all, {summary.plan.data_release}",
        n_bytes=summary.plan.total_bytes,
        data_release=summary.plan.data_release,
    )


def _is_complete(out: Path) -> bool:
    return (out / MANIFEST_TSV).exists() and (out / PLAN_JSON).exists()
