"""`bulkrnabert biomarkers`: genes that stand out in each cancer type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "Genes of each cancer type, and whether two seeds agree": (
        "bulkrnabert biomarkers --checkpoint gexbert.0 --checkpoint gexbert.1 --tokens tokens --genes "
        "cohorts/genes.tsv --gmt hallmark.gmt --out biomarkers"
    ),
}
GROUPS = {
    "Inputs": ("checkpoints", "tokens", "clinical", "label_column"),
    "What is restored from what": ("target_genes", "n_targets", "n_inputs", "n_samples", "seed"),
    "Genes and gene sets": ("genes", "gmt", "n_top", "attributions"),
    "Output": ("out", "device"),
}


@stage("biomarkers", EXAMPLES, GROUPS)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Checkpoint of GexBERT; several (seeds or folds) show what is stable.",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Folder that `tokenize --model gexbert` wrote; one for each split of the checkpoints.",
)
@click.option(
    "--clinical", type=click.Path(path_type=Path), help="clinical.tsv, where --label-column is not the cohort."
)
@click.option("--label-column", default=keys.COHORT, show_default=True, help="Class whose genes are wanted.")
@click.option(
    "--attributions",
    type=click.Path(path_type=Path),
    help="attributions.tsv of `attribute` for a fine-tuned model: integrated gradients to compare with.",
)
@click.option("--genes", type=click.Path(path_type=Path), help="genes.tsv with symbols of the Ensembl ids.")
@click.option("--gmt", type=click.Path(path_type=Path), help="Gene sets to test for enrichment.")
@click.option(
    "--target-genes", type=click.Path(path_type=Path), help="Genes to restore, one id a line.  [default: see --targets]"
)
@click.option(
    "--targets",
    "n_targets",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Genes to restore at most, drawn at random.",
)
@click.option(
    "--inputs", "n_inputs", type=click.IntRange(min=2), help="Genes read together.  [default: as in pretraining]"
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Samples of a class, at most.",
)
@click.option(
    "--top",
    "n_top",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Genes of a class that count as first.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def command(**options: Any) -> None:
    """Rank the genes that the model looks at when it restores others, by how far a class stands out.

    Attention is a share (1: even) that the decoder gives to an input gene, averaged over restored genes, samples and
    checkpoints; the excess is that of a class above the other classes. Attention says what is looked at; it has no
    direction and proves no effect, so it stands beside a Welch t test of the class against all others and, if given,
    integrated gradients.

    \b
    Writes in --out:
      biomarkers.tsv   class, gene_id, symbol, rank, attention, excess,
                       stability (share of checkpoints in which the gene is
                       among the first --top), difference (of means, in z),
                       t, q, integrated_gradient
      enrichment.tsv   with --gmt
      biomarkers.json  stability over checkpoints, agreement with the other
                       scores, heat map
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.downstream.biomarkers_run import BiomarkerRequest, run_biomarkers
    from bulkrnabert.provenance import require_writable

    require_writable(options["out"] / "biomarkers.json")
    run_biomarkers(BiomarkerRequest(**{**options, "device": torch_device(options["device"])}))
    found = options["out"] / "biomarkers.json"
    finish(
        options["out"] / "biomarkers.tsv",
        "genes of each class by rank",
        f"bulkrnabert report --findings {found} …",
        findings=found,
    )
