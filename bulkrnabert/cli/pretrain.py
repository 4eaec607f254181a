"""`bulkrnabert pretrain`: tokens to a checkpoint folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bulkrnabert.cli._device import default_threads, device_option, torch_device
from bulkrnabert.config import preset_names
from bulkrnabert.errors import ConfigError


@click.command("pretrain")
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
    help="Processes on this machine, one a GPU, through torchrun. [default: 1, or as torchrun was told]",
)
@device_option
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads a process. [default: OMP_NUM_THREADS, or all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn.")
@click.option(
    "--checkpoint-dir",
    type=click.Path(path_type=Path),
    help="Where the state of unfinished work is kept, and found again by the same command. [default: OUT.state]",
)
@click.option(
    "--time-limit",
    help="Seconds, HH:MM:SS or D-HH:MM:SS: checkpoint and stop with status 75 in time before it. [default: none]",
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
    plan = plan_run(settings)
    if settings.engine == "deepspeed" and not launch.is_worker():
        from bulkrnabert.train.engine_deepspeed import require_deepspeed

        require_deepspeed()
        environment = {"OMP_NUM_THREADS": str(n_threads)}
        if settings.device == "cpu":
            environment["DS_ACCELERATOR"] = "cpu"
        launch.launch(_worker_command(ctx), settings.n_processes, environment, "--launch-folder")
        return
    if launch.is_worker():
        launch.end_with_launcher(launch_folder)
    stop = StopWatch(time_limit_s, started, launch_folder)
    stop.install_signals()
    _make_deterministic(n_threads)
    launch.report_outcome(launch_folder, lambda: run_plan(plan, stop))


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


def _worker_command(ctx: click.Context) -> list[str]:
    arguments = ["--verbose"] if ctx.find_root().params.get("verbose") else []
    arguments.append(ctx.command.name or "pretrain")
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if value is not None:
            arguments += [parameter.opts[0], str(value)]
    return arguments


def _make_deterministic(n_threads: int) -> None:
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS at its first use
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(n_threads)
