"""`bulkrnabert tokenize`: cohort tables to token ids for one outer split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    from bulkrnabert.data.gene_choice import SharedGenes
    from bulkrnabert.data.tokenizer import MissingAs
    from bulkrnabert.data.tokens import Tokens

logger = logging.getLogger(__name__)

EXAMPLES = {
    "For an encoder that never sees fold 0": (
        "bulkrnabert tokenize --cohorts cohorts --splits splits/splits.tsv --split-id r0f0 --out tokens.r0f0"
    ),
    "For MOJO, every sample": (
        "bulkrnabert tokenize --cohorts cohorts --splits splits/splits.tsv --model mojo --out tokens.mojo"
    ),
}


@stage("tokenize", EXAMPLES)
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote: <cohort>.rnaseq.parquet, genes.tsv, and for mojo the same of methylation.",
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
    "--model",
    type=click.Choice([keys.BULKRNABERT, keys.MOJO, keys.GEXBERT]),
    default=keys.BULKRNABERT,
    show_default=True,
    help="Kind of model that will read the tokens; mojo reads RNA-seq and methylation.",
)
@click.option(
    "--genes",
    "shared",
    type=click.Choice(["common", "union"]),
    help="For mojo: genes that both RNA-seq and methylation list, matched by id, or genes of either, <mask> where one "
    "lacks a gene.  [default: common]",
)
@click.option(
    "--max-genes",
    type=click.IntRange(min=0),
    default=4096,
    show_default=True,
    help="Keep this many genes, those with the largest variance of log10(1 + x) in the training part (with --genes "
    "union those of RNA-seq first, then of beta); 0 keeps all. The time of a model grows with the square of this "
    "number, its memory with the number.",
)
@click.option(
    "--missing-genes",
    type=click.Choice(["mask", "zero"]),
    default="mask",
    show_default=True,
    help="What a gene without a value in a sample becomes: <mask>, which says that it is unknown, or zero expression.",
)
@click.option(
    "--like",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Checkpoint folder whose genes and bins are used in place of fitting; for going on from it.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
def command(
    cohorts: Path,
    splits: Path,
    split_id: str,
    model: str,
    shared: SharedGenes | None,
    max_genes: int,
    missing_genes: MissingAs,
    like: Path | None,
    out: Path,
) -> None:
    """Choose genes and fit the binning on the training part, and write the token ids of every sample.

    Values with a true zero (TPM, RSEM) become log10(1 + x), are divided by the maximum of the training part and fall
    into 64 linear bins; values above that maximum go to the top bin. Centred values (zscore, log2_ratio) fall between
    quantiles of the training part. Beta values fall into 64 linear bins over [0, 1]. For gexbert each gene is
    standardised over the training part and its z fall into 64 bins over [-5, 5]. Ids: 0 to 63 bins, 64 <pad>, 65 <mask>
    (also a missing value). Masked genes are never predicted in pretraining; how missing values were treated is written
    to tokenizer.json.

    mojo takes every sample of either RNA-seq or methylation, paired by sample_id; what a sample does not have is
    <mask>. Make its splits with `split --modality any`.

    Writes tokens.parquet, tokenizer.json and genes.txt.
    """
    if shared is not None and model != keys.MOJO:
        raise ConfigError(f"--genes is for --model {keys.MOJO}, which reads two omics: leave it out")
    from bulkrnabert.data.tokens import write_tokens
    from bulkrnabert.provenance import require_writable

    require_writable(out / keys.TOKENS_PARQUET)
    if like is not None:
        tokens = _as_in(like, cohorts, splits, split_id)
    elif model == keys.MOJO:
        tokens = _of_both(cohorts, splits, split_id, max_genes, missing_genes, shared or "common")
    else:
        tokens = _of_expression(cohorts, splits, split_id, model, max_genes, missing_genes)
    write_tokens(out, tokens)
    of_omics = f" of {' and '.join(tokens.omics)}" if len(tokens.omics) > 1 else ""
    finish(
        out / keys.TOKENS_PARQUET,
        f"{len(tokens.samples)} samples x {len(tokens.gene_ids)} genes{of_omics}",
        f"bulkrnabert pretrain --tokens {out} --out CKPT",
        n_samples=len(tokens.samples),
        n_genes=len(tokens.gene_ids),
        split_id=split_id,
    )


def _of_expression(
    cohorts: Path, splits: Path, split_id: str, model: str, max_genes: int, missing: MissingAs
) -> Tokens:
    from bulkrnabert.data.splits import read_splits
    from bulkrnabert.data.tables import read_cohorts, read_samples
    from bulkrnabert.data.tokenize import tokenize_cohorts, tokenize_standardised

    folds = read_splits(splits)
    expression = read_cohorts(cohorts)
    # Splits are made over the samples of all modalities; those without expression have nothing to learn from here.
    elsewhere = set(read_samples(cohorts)[keys.SAMPLE_ID]) - set(expression.samples[keys.SAMPLE_ID])
    if elsewhere:
        logger.info("%d samples have no expression and are left out", len(elsewhere))
    training = folds.training_samples(split_id) - elsewhere
    tokenized = tokenize_standardised if model == keys.GEXBERT else tokenize_cohorts
    return tokenized(expression, training, split_id, folds.sha256, max_genes, missing)


def _of_both(
    cohorts: Path, splits: Path, split_id: str, max_genes: int, missing: MissingAs, shared: SharedGenes
) -> Tokens:
    from bulkrnabert.data.splits import read_splits
    from bulkrnabert.data.tables import MODALITIES, modalities_of, read_cohorts
    from bulkrnabert.data.tokenize import tokenize_omics

    folds = read_splits(splits)
    present = modalities_of(cohorts)
    if set(present) != set(MODALITIES):
        raise ConfigError(
            f"{cohorts}: has {' and '.join(present) or 'no'} tables, and --model {keys.MOJO} reads "
            f"{' and '.join(MODALITIES)}: preprocess both in one run, or use --model {keys.BULKRNABERT}"
        )
    omics = {omic: read_cohorts(cohorts, omic) for omic in MODALITIES}
    ids = set().union(*(one.samples[keys.SAMPLE_ID] for one in omics.values()))
    n_outside = len(ids - set(folds.frame[keys.SAMPLE_ID]))
    if n_outside:
        logger.warning(
            "%d of %d samples are in no split, so they are not learnt from: make the splits with --modality any",
            n_outside,
            len(ids),
        )
    training = folds.training_samples(split_id)
    return tokenize_omics(omics, training, split_id, folds.sha256, max_genes, missing, shared)


def _as_in(checkpoint: Path, cohorts: Path, splits: Path, split_id: str) -> Tokens:
    import json

    from bulkrnabert.data.splits import read_splits
    from bulkrnabert.data.tables import read_cohorts
    from bulkrnabert.data.tokenize_like import omics_of, tokenize_like

    context = click.get_current_context()
    for name in ("model", "shared", "max_genes", "missing_genes"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
            raise ConfigError(f"{option} is not used with --like; the checkpoint says it")
    try:
        model = str(json.loads((checkpoint / keys.CONFIG_JSON).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--like {checkpoint}: no checkpoint folder: {error}") from error
    folds = read_splits(splits)
    expression = {omic: read_cohorts(cohorts, omic) for omic in omics_of(checkpoint)}
    present = set().union(*(one.samples[keys.SAMPLE_ID] for one in expression.values()))
    training = folds.training_samples(split_id) & present
    return tokenize_like(expression, training, split_id, folds.sha256, checkpoint, model)
