"""`bulkrnabert impute-benchmark`: how well hidden values of held-out samples are restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

PATTERNS = ("at_random", "whole_genes", "low_expression")
RATES = tuple(number / 10 for number in range(1, 10))

EXAMPLES = {
    "A fifth of the cells hidden at random": (
        "bulkrnabert impute-benchmark --checkpoint gexbert.r0f0 --tokens tokens.r0f0 --pattern at_random --rate "
        "0.2 --out imputation.json"
    ),
}


@stage("impute-benchmark", EXAMPLES)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    required=True,
    help="Checkpoint of GexBERT, pretrained under a fold that holds patients out.",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `tokenize --model gexbert` wrote for the same fold; its held-out samples are judged.",
)
@click.option(
    "--pattern",
    "patterns",
    type=click.Choice(PATTERNS),
    multiple=True,
    default=PATTERNS,
    show_default=True,
    help="at_random: any cell; whole_genes: a gene in every sample; low_expression: low values are likelier to go.",
)
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    multiple=True,
    default=RATES,
    help="Share of the values that is hidden, 0 to 1; may be repeated.  [default: 0.1, 0.2, … 0.9]",
)
@click.option(
    "--samples",
    "n_samples",
    type=click.IntRange(min=2),
    help="Held-out samples at most; with thousands of genes some hundreds do.  [default: all]",
)
@click.option(
    "--resamples",
    "n_resamples",
    type=click.IntRange(min=10),
    default=200,
    show_default=True,
    help="Resamples of patients for the 95 % intervals.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@device_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="imputation.json to write.")
def command(**options: Any) -> None:
    """Hide measured values of held-out samples, restore them, and say how well, next to simpler methods.

    The methods: the model; each gene's mean; k nearest neighbours; ridge regression of each gene on the others,
    iterated; PCA (soft-impute); a variational autoencoder. All but the model are fitted here on the training part of
    the same split, their settings chosen inside it.

    Per pattern and rate: RMSE in standard deviations of a gene (z; lower is better), the median correlation of a gene
    over samples and of a sample over genes, and the share of true values inside the stated 50, 80 and 95 % intervals;
    intervals and paired differences to the model by patient bootstrap.
    """
    from bulkrnabert.cli._device import torch_device
    from bulkrnabert.evaluate.imputation_run import ImputationRequest, run_imputation
    from bulkrnabert.provenance import require_writable

    require_writable(options["out"])
    run_imputation(ImputationRequest(**{**options, "device": torch_device(options["device"])}))
    finish(
        options["out"],
        f"{len(options['patterns'])} patterns, {len(options['rates'])} rates",
        f"bulkrnabert report --findings {options['out']} …",
    )
