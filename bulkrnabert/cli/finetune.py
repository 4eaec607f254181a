"""`bulkrnabert finetune`: a pretrained encoder to a classifier, a survival model, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bulkrnabert import keys
from bulkrnabert.cli._device import device_option
from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish
from bulkrnabert.cli._worker import worker_command
from bulkrnabert.config import preset_names
from bulkrnabert.errors import ConfigError

EXAMPLES = {
    "A cancer-type classifier from an encoder of all samples": (
        "bulkrnabert finetune --checkpoint checkpoint --cohorts cohorts --splits splits/splits.tsv --task "
        "cancer_type --out finetuned"
    ),
    "Survival in one cohort, settings chosen in each fold": (
        "bulkrnabert finetune --checkpoint checkpoint --cohorts cohorts --splits splits/splits.tsv --task survival "
        "--scope TCGA-KIRC --tune 10 --out finetuned.kirc"
    ),
}
GROUPS = {
    "Inputs": ("checkpoints", "tokens", "cohorts", "splits"),
    "What to learn": ("tasks", "scope", "label_column", "panel"),
    "How to learn": ("preset", "task_config", "adapter", "start", "n_trials", "seed"),
    "Which folds": ("only_folds", "has_final"),
    "Machine": ("device", "processes", "threads"),
    "Output": ("out",),
}


@stage("finetune", EXAMPLES, GROUPS)
@click.option(
    "--checkpoint",
    "checkpoints",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Checkpoint folder; once for every fold, or a single one of an encoder trained on all samples.",
)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder that `tokenize` wrote, of all samples; one for each checkpoint.  [default: the values in --cohorts "
    "through each checkpoint's own tokenizer, as imported weights need it]",
)
@click.option(
    "--cohorts",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `preprocess` wrote; its clinical.tsv is read.",
)
@click.option("--splits", type=click.Path(path_type=Path), required=True, help="splits.tsv.")
@click.option(
    "--task",
    "tasks",
    type=click.Choice([keys.CANCER_TYPE, keys.SURVIVAL]),
    multiple=True,
    required=True,
    help="What to predict; give both to train two heads on one encoder.",
)
@click.option("--scope", default=keys.PAN, show_default=True, help="`pan` for all cohorts together, or a cohort.")
@click.option("--label-column", default=keys.COHORT, show_default=True, help="Class to predict; for cancer_type.")
@click.option(
    "--adapter",
    type=click.Choice(["ia3", "lora", "full", "none"]),
    help="What of the encoder is trained: three vectors a block, low-rank updates, everything, nothing.  [default: as "
    "the preset says]",
)
@click.option(
    "--preset",
    type=click.Choice(preset_names("task")),
    default="default",
    show_default=True,
    help="Settings: default (a CPU, minutes a fold), paper (heads as published; GPUs).",
)
@click.option(
    "--task-config",
    type=click.Path(path_type=Path),
    help="YAML of settings instead of the preset's, with the keys cancer_type, survival, joint.",
)
@click.option(
    "--start",
    type=click.Choice(["pretrained", "random"]),
    default="pretrained",
    show_default=True,
    help="random: the same encoder with weights drawn anew, which shows what pretraining gives.",
)
@click.option(
    "--tune",
    "n_trials",
    type=click.IntRange(min=2),
    help="Settings to try in each fold (rates, adapter, pooling, epochs), judged inside its training part.  [default: "
    "none]",
)
@click.option(
    "--panel",
    type=click.Path(path_type=Path),
    help="File with gene ids, one a line: the model reads these genes alone, and `predict` needs no others. Not for "
    "mojo, which reads all of its genes.  [default: all genes of the checkpoint]",
)
@click.option("--fold", "only_folds", multiple=True, help="Run this fold only, as r0f1; may be repeated.")
@click.option(
    "--final",
    "has_final",
    is_flag=True,
    help="Train a network on every sample as well; needs an encoder trained on all samples.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@device_option
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads a process.  [default: OMP_NUM_THREADS, or all]"
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on this machine, one a GPU, through torchrun; the result is the same within rounding.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--launch-folder", type=click.Path(path_type=Path), hidden=True)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Fine-tune a pretrained encoder, and predict the patients that each fold left out.

    The number of epochs (and with --tune the settings) is chosen on patients set aside from the training part; test
    patients are never looked at. A step of survival sees every training sample, so the gradient is that of the whole
    risk set whatever the micro-batch and the number of processes.

    A model of several omics (mojo) learns from every sample that has one of them, and is also judged with each omic
    alone: predictions.parquet has the methods "…, RNA-seq alone" and "…, methylation alone" beside the whole.

    Writes OUT/model (a member a fold, for `bulkrnabert predict`; holds no patient's data), OUT/predictions.parquet (out
    of fold, for `bulkrnabert evaluate`; with two tasks predictions.cancer_type.parquet and
    predictions.survival.parquet), OUT/records/records.jsonl (losses) and, with --tune, OUT/records/tuning.json.
    """
    import torch

    from bulkrnabert.cli._device import default_threads, torch_device
    from bulkrnabert.downstream.finetune_run import FinetuneRequest, run_finetuning
    from bulkrnabert.provenance import require_writable
    from bulkrnabert.train import launch

    out: Path = options["out"]
    require_writable(out / "model")
    launch_folder: Path | None = options.pop("launch_folder")
    n_processes: int = options.pop("processes")
    n_threads = options.pop("threads") or default_threads(n_processes)
    if n_processes > 1 and not launch.is_worker():
        launch.launch(worker_command(ctx), n_processes, {"OMP_NUM_THREADS": str(n_threads)}, "--launch-folder")
        _finish(out, options["tasks"])
        return
    if options["label_column"] != keys.COHORT and keys.CANCER_TYPE not in options["tasks"]:
        raise ConfigError("--label-column is for --task cancer_type")
    device = torch_device(options.pop("device"))
    request = FinetuneRequest(device=device, **{**options, "n_trials": options["n_trials"] or 0})
    torch.set_num_threads(n_threads)
    if not launch.is_worker():
        run_finetuning(request)
        _finish(out, options["tasks"])
        return
    launch.end_with_launcher(launch_folder)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        launch.report_outcome(launch_folder, lambda: run_finetuning(request))
        torch.distributed.barrier()  # the others wait for the one that writes
    finally:
        torch.distributed.destroy_process_group()


def _finish(out: Path, tasks: tuple[str, ...]) -> None:
    is_one = len(set(tasks)) == 1
    names = [keys.PREDICTIONS_PARQUET] if is_one else [f"predictions.{task}.parquet" for task in dict.fromkeys(tasks)]
    finish(
        out / "model",
        f"fine-tuned model; out-of-fold predictions: {', '.join(str(out / name) for name in names)}",
        f"bulkrnabert evaluate --predictions {out / names[0]} …, or bulkrnabert predict --model {out / 'model'} …",
        predictions=[out / name for name in names],
    )
