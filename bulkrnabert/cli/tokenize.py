"""`bulkrnabert tokenize`: cohort tables to token ids for one outer split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert import keys

if TYPE_CHECKING:
    from bulkrnabert.data.tokenizer import MissingAs

logger = logging.getLogger(__name__)


@click.command("tokenize")
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote: <cohort>.rnaseq.parquet, genes.tsv.",
)
@click.option(
    "--splits", type=click.Path(path_type=Path), required=True, help="splits.tsv, or the folder that `split` wrote."
)
@click.option(
    "--split-id",
    default=keys.ALL_SPLIT,
    show_default=True,
    help="Outer split, as r0f2 (fold 2 of repeat 0 is held out), or all: every sample is in the training part.",
)
@click.option(
    "--max-genes",
    type=click.IntRange(min=0),
    default=4096,
    show_default=True,
    help="Keep this many genes, those with the largest variance of log10(1 + x) in the training part; 0 keeps all. "
    "The time of a model grows with the square of this number, its memory with the number.",
)
@click.option(
    "--missing-genes",
    type=click.Choice(["mask", "zero"]),
    default="mask",
    show_default=True,
    help="What a gene without a value in a sample becomes: <mask>, which says that it is unknown, or zero expression.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
def command(cohorts: Path, splits: Path, split_id: str, max_genes: int, missing_genes: MissingAs, out: Path) -> None:
    """Choose genes and fit the binning on the training part, and write the token ids of every sample.

    Values with a true zero (TPM, RSEM) become log10(1 + x), are divided by the maximum of the training part and fall
    into 64 linear bins; values above that maximum go to the top bin. Centred values (zscore, log2_ratio) fall between
    quantiles of the training part. Ids: 0 to 63 bins, 64 <pad>, 65 <mask> (also a missing value). Masked genes are
    never predicted in pretraining; how missing values were treated is written to tokenizer.json.

    Writes tokens.parquet, tokenizer.json and genes.txt.
    """
    from bulkrnabert.data.splits import read_splits
    from bulkrnabert.data.tables import read_cohorts, read_samples
    from bulkrnabert.data.tokenize import tokenize_cohorts
    from bulkrnabert.data.tokens import write_tokens
    from bulkrnabert.provenance import require_writable

    require_writable(out / keys.TOKENS_PARQUET)
    folds = read_splits(splits)
    expression = read_cohorts(cohorts)
    # Splits are made over the samples of all modalities; those without expression have nothing to learn from here.
    elsewhere = set(read_samples(cohorts)[keys.SAMPLE_ID]) - set(expression.samples[keys.SAMPLE_ID])
    if elsewhere:
        logger.info("%d samples have no expression and are left out", len(elsewhere))
    training_samples = folds.training_samples(split_id) - elsewhere
    tokens = tokenize_cohorts(expression, training_samples, split_id, folds.sha256, max_genes, missing_genes)
    write_tokens(out, tokens)
    logger.info("%d samples x %d genes written to %s", *tokens.token_ids.shape, out / keys.TOKENS_PARQUET)
