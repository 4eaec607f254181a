"""`bulkrnabert import-weights`: published checkpoints to ours."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "The published BulkRNABert": (
        "bulkrnabert import-weights --params params.joblib --config config.json --out checkpoint"
    ),
    "The published MOJO": (
        "bulkrnabert import-weights --model mojo --params model.safetensors --config config.json --out mojo"
    ),
}


@stage("import-weights", EXAMPLES)
@click.option(
    "--model",
    "model_name",
    type=click.Choice(["bulkrnabert", "mojo"]),
    default="bulkrnabert",
    show_default=True,
    help="Kind of model.",
)
@click.option(
    "--params",
    type=click.Path(path_type=Path),
    required=True,
    help="params.joblib or params.npz (haiku), or model.safetensors (PyTorch names; haiku names for mojo). Nothing in "
    "a pickle is executed.",
)
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The published config.json.")
@click.option(
    "--genes",
    type=click.Path(path_type=Path),
    help="Gene names in model order, one a line.  [default: genes.txt or the published list beside --params]",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint folder to write.")
def command(model_name: str, params: Path, config: Path, genes: Path | None, out: Path) -> None:
    """Turn published weights into a checkpoint folder that every other command reads.

    Every tensor is accounted for, by name and shape. The tokenizers behave as the published ones do: log10(1 + TPM)
    divided by the published constant, for mojo also beta values as they are; values at or above the top get id 64. A
    missing gene counts as 0 for bulkrnabert and is masked for mojo.

    Writes config.json, model.safetensors, tokenizer.json, genes.txt, provenance.json and README.md.
    """
    from bulkrnabert.downstream.published import import_checkpoint

    network = import_checkpoint(params, config, genes, out, model_name)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    finish(
        out,
        f"checkpoint folder of {model_name}, {n_parameters} parameters, {network.config.n_genes} genes",
        f"bulkrnabert embed --checkpoint {out} --table TABLE --unit tpm --out emb.h5ad",
        n_parameters=n_parameters,
        n_genes=network.config.n_genes,
    )
