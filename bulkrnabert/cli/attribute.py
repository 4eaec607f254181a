"""`bulkrnabert attribute`: which genes a prediction rests on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bulkrnabert import keys
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

if TYPE_CHECKING:
    from bulkrnabert.downstream.attribution_gradients import Baseline
    from bulkrnabert.downstream.attribution_study import Method

logger = logging.getLogger(__name__)

GROUPS = {
    "Model and samples": [
        *("model", "checkpoint", "table", "unit", "file_format", "cohorts", "task", "classes", "n_samples")
    ],
    "Method": ["method", "baseline", "n_steps", "points_at_once", "layers"],
    "Genes and gene sets": ["genes", "gmt", "n_top"],
    "Output": ["out", "keeps_samples", "seed"],
}
EXAMPLES = {
    "What a fine-tuned classifier looks at, with gene sets": (
        "bulkrnabert attribute --model finetuned/model --table tpm.tsv --unit tpm --gmt hallmark.gmt --out attributions"
    ),
    "What an encoder looks at": (
        "bulkrnabert attribute --checkpoint checkpoint --table tpm.tsv --unit tpm --out attention"
    ),
}


@stage("attribute", EXAMPLES, GROUPS)
@click.option("--model", type=click.Path(path_type=Path), help="Folder of a fine-tuned model, from `finetune`.")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Folder of an encoder, from `pretrain`: attention only."
)
@click.option("--table", type=click.Path(path_type=Path), help="Expression to explain.")
@click.option("--unit", help="Unit of --table: tpm, rsem, fpkm, log2(tpm+1), log2(tpm+0.001), zscore, …")
@click.option("--format", "file_format", help="Format of --table.  [default: by its name and content]")
@click.option(
    "--cohorts", type=click.Path(path_type=Path), help="Folder that `preprocess` wrote, in place of --table and --unit."
)
@click.option("--task", help="cancer_type or survival.  [default: the only one the model has]")
@click.option("--class", "classes", multiple=True, help="Only samples predicted as this class; may be repeated.")
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Samples to explain at most, drawn evenly over the classes, or over the cohorts of --cohorts; 0: all.",
)
@click.option(
    "--method",
    type=click.Choice(["ig", "attention"]),
    help="ig: integrated gradients of the output; attention: the share of attention that each gene gets, from all "
    "heads and genes.  [default: ig with --model, attention with --checkpoint]",
)
@click.option(
    "--baseline",
    type=click.Choice(["mean", "zero", "mask"]),
    help="Where ig starts. mean: each gene at its usual level in training, so that a gene counts for being unusual; "
    "zero: nothing expressed, so that highly expressed genes count most; mask: nothing measured.  [default: mean; mask "
    "for imported encoders, which keep no mean]",
)
@click.option(
    "--steps", "n_steps", type=click.IntRange(min=1), default=32, show_default=True, help="Points of ig's path."
)
@click.option(
    "--points-at-once",
    type=click.IntRange(min=1),
    help="Points that go through the network together: bounds the memory.  [default: from the number of genes]",
)
@click.option(
    "--layer",
    "layers",
    type=click.IntRange(min=1),
    multiple=True,
    help="Layer whose attention is summed up; may be repeated.  [default: the one that predictions are made from]",
)
@click.option(
    "--genes", type=click.Path(path_type=Path), help="genes.tsv with symbols.  [default: symbols of the table, if any]"
)
@click.option(
    "--gmt",
    type=click.Path(path_type=Path),
    help="Gene sets to test (a set a line: name, description, genes; symbols or Ensembl ids).",
)
@click.option(
    "--top", "n_top", type=click.IntRange(min=1), default=50, show_default=True, help="Genes that count as first."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--per-sample", "keeps_samples", is_flag=True, help="Write every sample's values too (Parquet).")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice of samples (--samples)."
)
def command(
    model: Path | None,
    checkpoint: Path | None,
    table: Path | None,
    unit: str | None,
    file_format: str | None,
    cohorts: Path | None,
    task: str | None,
    classes: tuple[str, ...],
    n_samples: int,
    method: Method | None,
    baseline: Baseline | None,
    n_steps: int,
    points_at_once: int | None,
    layers: tuple[int, ...],
    genes: Path | None,
    gmt: Path | None,
    n_top: int,
    out: Path,
    keeps_samples: bool,
    seed: int,
) -> None:
    """Which genes a prediction of a BulkRNABert rests on, for each class (or cohort).

    Integrated gradients share out the difference between a sample's output and the output at the baseline among its
    genes: the logit of the predicted class above the mean of all classes, or the log hazard. A value above 0 speaks for
    the class (for a higher hazard). How far a sample's values are from adding up is in samples.tsv. Attention says what
    the encoder looks at, 1 being an even share; it has no direction and is no explanation of a prediction.

    \b
    Writes in --out:
      attributions.tsv  class, layer, gene_id, symbol, mean, mean_abs, sd, rank,
                        n_samples, stability (share of the model's members in
                        which the gene is among the first --top)
      samples.tsv       the samples explained: output, baseline_output, delta
      enrichment.tsv    with --gmt: overlap of the first genes with each set,
                        and ranks of the set's genes
      attribution.json  settings, agreement of the members, first genes
    """
    from bulkrnabert.downstream.attribute import attribute_table
    from bulkrnabert.downstream.attribution_study import AttributeRequest
    from bulkrnabert.provenance import require_writable

    require_writable(out)
    request = AttributeRequest(
        model=model,
        checkpoint=checkpoint,
        table=table,
        unit=unit,
        file_format=file_format,
        cohorts=cohorts,
        method=method or ("ig" if checkpoint is None else "attention"),
        task=task,
        classes=classes,
        baseline=baseline,
        n_steps=n_steps,
        points_at_once=points_at_once,
        layers=layers,
        genes=genes,
        gmt=gmt,
        n_top=n_top,
        n_samples=n_samples or None,
        keeps_samples=keeps_samples,
        seed=seed,
        out=out,
    )
    groups = attribute_table(request)
    for group in groups:
        agreement = "" if group.top_overlap is None else f", members share {group.top_overlap:.0%} of the first {n_top}"
        where = group.name if group.layer is None else f"{group.name}, layer {group.layer}"
        logger.info("%s: %d samples%s", where, group.n_samples, agreement)
    finish(
        out / keys.ATTRIBUTIONS_TSV,
        f"genes by rank of {len(groups)} groups of samples",
        "open it, or give it to bulkrnabert biomarkers --attributions",
        groups=[group.name for group in groups],
    )
