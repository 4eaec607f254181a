"""`bulkrnabert plan`: memory, time and price of a pretraining run before it starts."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.errors import EXIT_BAD_INPUT, ConfigError

EXAMPLES = {
    "Does the paper's model fit one H100, and for how long?": (
        "bulkrnabert plan --genes 19062 --samples 10000 --device h100"
    ),
    "A small model on this machine": "bulkrnabert plan --preset small --genes 2048 --samples 500 --json",
}
GROUPS = {
    "The model": ("preset", "model_config", "train_config", "steps"),
    "The data": ("n_genes", "n_samples"),
    "The machine": ("device", "table", "n_devices", "zero_stage", "mfu", "price_per_hour"),
}


@stage("plan", EXAMPLES, GROUPS)
@click.option("--preset", default="paper", show_default=True, help="Shipped model and training settings.")
@click.option("--model-config", type=click.Path(path_type=Path), help="YAML of model sizes instead of the preset's.")
@click.option(
    "--train-config", type=click.Path(path_type=Path), help="YAML of training settings instead of the preset's."
)
@click.option("--genes", "n_genes", type=click.IntRange(min=1), required=True, help="Genes of the gene list.")
@click.option("--samples", "n_samples", type=click.IntRange(min=2), required=True, help="Samples to pretrain on.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps.  [default: the settings']")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu: this machine, measured for some seconds; or a GPU of the table: h200, h100, a100, l4.",
)
@click.option("--devices", "table", type=click.Path(path_type=Path), help="YAML table of other GPUs.")
@click.option("--n-devices", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs, over all nodes.")
@click.option(
    "--zero-stage",
    type=click.Choice(["auto", "0", "1", "2", "3"]),
    default="auto",
    show_default=True,
    help="ZeRO stage: from 1 on Adam's moments are shared out, from 2 gradients, at 3 parameters; auto: the lowest "
    "that fits.",
)
@click.option(
    "--mfu",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of a GPU's peak that steps reach.  [default: the table's assumption]",
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    help="Of one device, any currency.  [default: the table's example for a GPU, none for cpu]",
)
def command(
    preset: str,
    model_config: Path | None,
    train_config: Path | None,
    n_genes: int,
    n_samples: int,
    steps: int | None,
    device: str,
    table: Path | None,
    n_devices: int,
    zero_stage: str,
    mfu: float | None,
    price_per_hour: float | None,
) -> int:
    """Plan the pretraining of a BulkRNABert (no other model): peak memory, time and price, and settings that fit.

    Memory is counted tensor by tensor. For a GPU, time is the run's operations at an assumed share of the data sheet's
    peak, and its memory traffic: right within a factor, not to the percent. For cpu, attention and real steps of the
    model are measured on this machine first.

    The configured micro-batch is kept if it fits; else activations are recomputed, else the micro-batch is smaller.
    Exit status: 0 it fits (go), 2 it does not (no-go), or the input is wrong.
    """
    from bulkrnabert.train.planner_request import PlanRequest, make_plan
    from bulkrnabert.train.planner_text import render

    if device == "cpu" and mfu is not None:
        raise ConfigError("--mfu belongs to a GPU: this machine is measured")
    plan = make_plan(
        PlanRequest(
            preset=preset,
            model_config=model_config,
            train_config=train_config,
            n_genes=n_genes,
            n_samples=n_samples,
            steps=steps,
            device=device,
            table=table,
            n_devices=n_devices,
            zero_stage=zero_stage,
            mfu=mfu,
            price_per_hour=price_per_hour,
        )
    )
    finish(
        None,
        f"{plan.verdict}: {'it fits' if plan.verdict == 'go' else 'it does not fit'}",
        "bulkrnabert pretrain --tokens TOKENS --out CKPT"
        if plan.verdict == "go"
        else "a smaller model, fewer genes, or more devices",
        text=render(plan),
        document=plan.to_json(),
    )
    return 0 if plan.verdict == "go" else EXIT_BAD_INPUT
