"""`bulkrnabert impute`: missing values and unmeasured genes of a table."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "Fill the gaps of a table": (
        "bulkrnabert impute --checkpoint gexbert --table tpm.tsv --unit tpm --out tpm.filled.tsv"
    ),
}


@stage("impute", EXAMPLES)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint of GexBERT, made for this; or of BulkRNABert (expected centre of a masked gene's bin).",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    required=True,
    help="Expression with gaps: empty cells, NA, or genes of the model that are not listed.",
)
@click.option("--unit", required=True, help="Unit of --table: tpm, rsem, log2(tpm+1), log2(tpm+0.001), zscore, …")
@click.option(
    "--format",
    "file_format",
    default="",
    help="Format of --table: tsv, csv, parquet, h5ad, gct; tsv, csv and parquet may say :genes-in-rows or "
    ":genes-in-columns.  [default: by its name and content]",
)
@device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write: .parquet, .tsv or .csv.")
def command(checkpoint: Path, table: Path, unit: str, file_format: str, device: str, out: Path) -> None:
    """Restore what a table of expression lacks; measured cells stay as they are.

    \b
    Writes, in the layout and the unit of --table, genes that it lacked last:
      OUT          the table, missing cells filled
      .imputed     before OUT's extension: 1 where a cell was imputed, else 0
      .sd          before OUT's extension: standard deviation that the model
                   states of each imputed cell
      .impute.json in its place: counts, genes added, samples left out,
                   provenance

    Deviations are in standard deviations of the gene (z; GexBERT) or in log10(x+1) (BulkRNABert). A sample without any
    value of the model's genes stays as it is and is named; a cell of a gene that the model lacks stays missing. A gene
    that never varied in training is restored as its one value. Values come from a model, not from the sample: check
    with impute-benchmark how far they can be trusted, and keep the flags with the table.
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.downstream.impute import impute_file, written_files
    from bulkrnabert.downstream.predict import check_out
    from bulkrnabert.provenance import require_writable

    check_out(out)
    require_writable(out)
    impute_file(checkpoint, table, unit, file_format, out, str(torch_device(device)))
    files = written_files(out)
    finish(
        files.table,
        f"the table without gaps; imputed cells: {files.flags}, deviations: {files.deviations}",
        f"how far it can be trusted: bulkrnabert impute-benchmark --checkpoint {checkpoint} …",
        flags=files.flags,
        deviations=files.deviations,
    )
