"""`bulkrnabert pretrain`: tokens to a checkpoint folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bulkrnabert.cli._device import default_threads, device_option, torch_device
from bulkrnabert.cli._look import dry_run_option, stage
from bulkrnabert.cli._result import finish
from bulkrnabert.cli._worker import worker_command
from bulkrnabert.config import preset_names
from bulkrnabert.errors import ConfigError
from bulkrnabert.keys import BULKRNABERT, RECORDS_JSONL
from bulkrnabert.logs import is_main_process

if TYPE_CHECKING:
    from bulkrnabert.train.run import RunPlan

EXAMPLES = {
    "Look first: sizes and steps, nothing is written": (
        "bulkrnabert pretrain --tokens tokens --preset small --out checkpoint --dry-run"
    ),
    "On a laptop": "bulkrnabert pretrain --tokens tokens --preset small --out checkpoint",
    "On four GPUs, in a job of one day": (
        "bulkrnabert pretrain --tokens tokens --preset paper --processes 4 --time-limit 1-00:00:00 --out checkpoint"
    ),
}
GROUPS = {
    "What to learn from": ("tokens", "start_from", "new_share"),
    "Sizes and settings": ("preset", "model_config", "train_config", "steps", "seed"),
    "Machine": ("engine", "zero_stage", "processes", "device", "threads"),
    "Stopping and going on": ("time_limit", "checkpoint_dir"),
    "Output": ("out", "dry_run"),
}


@stage("pretrain", EXAMPLES, GROUPS)
@click.option(
    "--tokens",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that `tokenize` wrote. Only samples of part `train` are read.",
)
@click.option(
    "--preset",
    type=click.Choice(preset_names("train")),
    default="small",
    show_default=True,
    help="Sizes and settings: tiny (demo, seconds), small (a laptop, minutes), paper (GPUs).",
)
@click.option(
    "--model-config", type=click.Path(path_type=Path), help="YAML of the model's sizes instead of the preset's."
)
@click.option(
    "--train-config", type=click.Path(path_type=Path), help="YAML of training settings instead of the preset's."
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps instead of the configured number.")
@click.option(
    "--engine",
    type=click.Choice(["auto", "deepspeed", "torch"]),
    default="auto",
    show_default=True,
    help="auto: torch for one process, deepspeed for several. Both give the same result within rounding.",
)
@click.option(
    "--zero-stage",
    type=click.Choice(["0", "1", "2", "3"]),
    default="1",
    show_default=True,
    help="What DeepSpeed shares out among the processes: 0 nothing, 1 Adam's moments, 2 gradients too, 3 weights too.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes on this machine, one a GPU, through torchrun.  [default: 1, or as torchrun was told]",
)
@device_option
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads a process.  [default: OMP_NUM_THREADS, or all]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@click.option(
    "--checkpoint-dir",
    type=click.Path(path_type=Path),
    help="Where the state of unfinished work is kept, and found again by the same command.  [default: OUT.state]",
)
@click.option(
    "--time-limit",
    help="Seconds, HH:MM:SS or D-HH:MM:SS: checkpoint and stop with status 75 in time before it.  [default: none]",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Checkpoint folder to write.")
@click.option(
    "--start-from",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Checkpoint folder to go on from, of the same sizes, genes and tokenizer (`tokenize --like`) and the same "
    "fold; refused if it was trained on patients that this split holds out.",
)
@click.option(
    "--new-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of each batch for patients that --start-from was not trained on; the rest is a replay of the others.  "
    "[default: every sample counts the same]",
)
@dry_run_option
@click.option("--launch-folder", type=click.Path(path_type=Path), hidden=True)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Pretrain the model that the tokens were made for (`tokenize --model`).

    BulkRNABert and MOJO hide 15 % of a sample's genes and learn to predict their bins; GexBERT reads some genes and
    learns to restore others. A twentieth of the training patients is set aside for the validation curve; held-out
    samples are never touched. Writes the checkpoint folder OUT: config.json, model.safetensors (weights of the last
    step), tokenizer.json, genes.txt, provenance.json, records.jsonl (curves), README.md (model card).

    Killed at any moment, the same command goes on from the last checkpoint to the same weights. SIGTERM, SIGUSR1 and
    SIGUSR2 make it checkpoint after the current step and end with status 75, as --time-limit does.
    """
    from bulkrnabert.train import launch

    launch_folder: Path | None = options["launch_folder"]
    started = launch.launch_time(launch_folder)  # before the slow imports, which the time limit counts as well

    from bulkrnabert.train.run import plan_run, run_plan
    from bulkrnabert.train.stopping import StopWatch, parse_duration

    time_limit_s = None if options["time_limit"] is None else parse_duration(options["time_limit"])
    settings = _settings(options, is_worker=launch.is_worker())
    n_threads = options["threads"] or default_threads(settings.n_processes)
    plan = plan_run(settings, makes_folders=not options["dry_run"])
    if options["dry_run"]:
        _finish_dry(plan, options)
        return
    if settings.engine == "deepspeed" and not launch.is_worker():
        from bulkrnabert.train.engine_deepspeed import require_deepspeed

        require_deepspeed()
        environment = {"OMP_NUM_THREADS": str(n_threads)}
        if settings.device == "cpu":
            environment["DS_ACCELERATOR"] = "cpu"
        launch.launch(worker_command(ctx), settings.n_processes, environment, "--launch-folder")
        _finish(settings.out, str(options["tokens"]))
        return
    if launch.is_worker():
        launch.end_with_launcher(launch_folder)
    stop = StopWatch(time_limit_s, started, launch_folder)
    stop.install_signals()
    _make_deterministic(n_threads)
    launch.report_outcome(launch_folder, lambda: run_plan(plan, stop))
    if launch_folder is None and is_main_process():
        _finish(settings.out, str(options["tokens"]))


def _finish_dry(plan: RunPlan, options: dict[str, Any]) -> None:
    settings, parts = plan.settings, plan.recipe.data.parts
    step = plan.states.check()
    facts: dict[str, Any] = {
        "model": plan.tokens.model,
        "n_samples": len(parts.fit_idx),
        "n_validation_samples": len(parts.validation_idx),
        "n_genes": len(plan.tokens.gene_ids),
        "steps": plan.train.steps,
        "first_step": step,
        "global_batch_size": plan.train.global_batch_size,
        "n_processes": settings.n_processes,
        "engine": settings.engine,
        "device": settings.device,
        "state_folder": settings.state_folder,
    }
    what = (
        f"{facts['model']}, {facts['n_genes']} genes, {facts['n_samples']} samples to learn from and"
        f" {facts['n_validation_samples']} for validation; steps {step} to {facts['steps']} of"
        f" {facts['global_batch_size']} samples, by {settings.engine} on {settings.n_processes} x {settings.device}"
    )
    sizes = f"--genes {facts['n_genes']} --samples {facts['n_samples']} --steps {facts['steps']}"
    finish(
        None,
        f"nothing was written; would go to {settings.out}: {what}",
        f"memory and time: bulkrnabert plan --preset {options['preset']} {sizes}"
        if plan.tokens.model == BULKRNABERT
        else "the same without --dry-run",
        **facts,
    )


def _finish(out: Path, tokens: str) -> None:
    lines = (out / RECORDS_JSONL).read_text(encoding="utf-8").splitlines()
    summaries = [record for record in map(json.loads, lines) if record["kind"] == "summary"]
    finish(
        out,
        "checkpoint folder; its README.md says what was learnt from",
        f"bulkrnabert embed --checkpoint {out} --cohorts COHORTS --out emb.h5ad",
        tokens=tokens,
        summary=summaries[-1],
    )


def _settings(options: dict[str, Any], is_worker: bool) -> Any:
    from bulkrnabert.train.run import RunSettings

    n_processes = options["processes"] or (int(os.environ["WORLD_SIZE"]) if is_worker else 1)
    if is_worker and n_processes != int(os.environ["WORLD_SIZE"]):
        raise ConfigError(
            f"--processes {n_processes}, but torchrun started {os.environ['WORLD_SIZE']}: leave --processes out"
        )
    engine = options["engine"]
    if engine == "auto":
        engine = "deepspeed" if n_processes > 1 else "torch"
    out: Path = options["out"]
    return RunSettings(
        tokens=options["tokens"],
        out=out,
        state_folder=options["checkpoint_dir"] or out.with_name(f"{out.name}.state"),
        preset=options["preset"],
        model_config=options["model_config"],
        train_config=options["train_config"],
        steps=options["steps"],
        engine=engine,
        zero_stage=int(options["zero_stage"]),  # type: ignore[arg-type]
        n_processes=n_processes,
        device="cuda" if torch_device(options["device"]).type == "cuda" else "cpu",
        seed=options["seed"],
        start_from=options["start_from"],
        new_share=options["new_share"],
    )


def _make_deterministic(n_threads: int) -> None:
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS at its first use
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(n_threads)
