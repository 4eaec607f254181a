"""What `bulkrnabert download` offers beside the GDC's projects: GTEx, ENCODE and the TCGA-CDR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import PUBLIC_ENCODE_API, PUBLIC_GDC_API

if TYPE_CHECKING:
    from bulkrnabert.data.sources.transfer import TransferPolicy

TCGA_CDR = "tcga-cdr"
OPTIONS_OF = {
    "gtex": ("release", "gct", "attributes", "subjects", "tissues", "min_rin", "gtex_cohorts"),
    "encode": ("api", "assays", "annotation", "batch"),
    TCGA_CDR: ("api",),
}
COMMON = ("source", "out", "workers", "retries", "idle_timeout", "wait", "verify")

_OPTIONS = (
    click.option(
        "--release",
        type=click.Choice(["v8", "v10"]),
        default="v8",
        show_default=True,
        help="GTEx: release; v8 is counted on GENCODE v26, v10 on GENCODE v39.",
    ),
    click.option(
        "--gct",
        metavar="FILE|URL",
        help="GTEx: gene TPM in place of the release's own; a file is linked or copied, not fetched.",
    ),
    click.option("--attributes", metavar="FILE|URL", help="GTEx: sample attributes (SampleAttributesDS), likewise."),
    click.option("--subjects", metavar="FILE|URL", help="GTEx: subject phenotypes (SubjectPhenotypesDS), likewise."),
    click.option(
        "--tissues",
        help="GTEx: tissues (SMTSD) or groups of them (SMTS), separated by commas: 'Lung,Brain'.  [default: all]",
    ),
    click.option("--min-rin", type=click.FloatRange(0, 10), help="GTEx: lowest RNA integrity number.  [default: any]"),
    click.option(
        "--gtex-cohorts",
        type=click.Choice(["one", "tissue"]),
        default="one",
        show_default=True,
        help="GTEx: one cohort, GTEX, or one a tissue, as GTEX-Lung.",
    ),
    click.option(
        "--assays",
        default="polyA plus RNA-seq,total RNA-seq",
        show_default=True,
        help="ENCODE: assay titles, separated by commas.",
    ),
    click.option(
        "--annotation",
        default="V29",
        show_default=True,
        help="ENCODE: the one GENCODE release that files were counted on.",
    ),
    click.option(
        "--batch",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="ENCODE: folder of a batch download (metadata.tsv and its files) to use instead of a search.",
    ),
)


def portal_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of GTEx and ENCODE to a command, which takes them as further keywords."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_options_of_others(source: str) -> None:
    """Stop when an option was given that this source would not use.

    Raises:
        ConfigError: names it.
    """
    context = click.get_current_context()
    of_others = {name for names in OPTIONS_OF.values() for name in names} - {"api"}
    for name in context.params:
        is_used = name not in of_others if source == "gdc" else name in (*OPTIONS_OF[source], *COMMON)
        if not is_used and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
            raise ConfigError(f"{option} is not used with --source {source}; leave it out")


def download_portal(
    source: str,
    out: Path,
    api: str,
    policy: TransferPolicy,
    given: Mapping[str, Any],
    *,
    use_reading: bool,
    use_wait: bool,
) -> None:
    """Fill a raw folder from GTEx or ENCODE, or fetch the TCGA-CDR.

    Args:
        source: `gtex`, `encode` or `tcga-cdr`.
        out: Raw folder.
        api: Address of the portal (ENCODE; for the TCGA-CDR the GDC).
        policy: How patient the transfer is.
        given: Values of the options that `portal_options` added.
        use_reading: Read the files that are there again.
        use_wait: Wait for another download to end.
    """
    from bulkrnabert.data.sources.encode import download_encode
    from bulkrnabert.data.sources.gtex import download_gtex

    if source == TCGA_CDR:
        from bulkrnabert.data.sources.tcga_cdr_file import download_cdr
        from bulkrnabert.data.sources.transfer import open_session
        from bulkrnabert.data.sources.transfer_http import is_loopback

        with open_session(1, use_environment=not is_loopback(api)) as session:
            workbook = download_cdr(session, out, api, policy)
        finish(workbook, "the TCGA-CDR", f"bulkrnabert preprocess --raw RAW --cdr {workbook} --out COHORTS")
        return
    if source == "gtex":
        done = download_gtex(
            out,
            given["release"],
            gct=given["gct"],
            attributes=given["attributes"],
            subjects=given["subjects"],
            tissues=_names(given["tissues"] or ""),
            min_rin=given["min_rin"],
            cohorts=given["gtex_cohorts"],
            policy=policy,
            use_reading=use_reading,
            use_wait=use_wait,
        )
        finish_download(out, done.n_fetched, done.n_kept)
        return
    fetched = download_encode(
        out,
        PUBLIC_ENCODE_API if api == PUBLIC_GDC_API else api,
        assays=_names(given["assays"]),
        annotation=given["annotation"],
        batch=given["batch"],
        policy=policy,
        use_reading=use_reading,
        use_wait=use_wait,
    )
    finish_download(out, fetched.n_fetched, fetched.n_kept)


def finish_download(out: Path, n_fetched: int, n_kept: int, more: str = "", **facts: Any) -> None:
    """The end of a download: counts, and the next command."""
    finish(
        out,
        f"{n_fetched} files fetched, {n_kept} already there{more}",
        f"bulkrnabert preprocess --raw {out} --out COHORTS",
        n_fetched=n_fetched,
        n_kept=n_kept,
        **facts,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
