"""From what the command line says to a plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bulkrnabert.config import preset_path
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.bulkrnabert import BulkRNABertConfig
from bulkrnabert.train.config import MaskedTrainConfig
from bulkrnabert.train.devices import CPU, Device, devices_path, read_devices
from bulkrnabert.train.engine_deepspeed import ZeroStage
from bulkrnabert.train.planner import (
    GPU_OVERHEAD_BYTES,
    STAGES,
    Choice,
    Job,
    check_job,
    choose_settings,
    gpu_step_seconds,
    largest_micro_batch,
    run_time,
)
from bulkrnabert.train.planner_cpu import calibrate, cpu_step_seconds
from bulkrnabert.train.planner_text import Plan


@dataclass(frozen=True)
class PlanRequest:
    """What `plan` is asked for.

    Attributes:
        preset: Shipped sizes and settings, where no file is given.
        model_config: YAML of the model's sizes instead.
        train_config: YAML of the training settings instead.
        n_genes: Genes of the gene list.
        n_samples: Samples to pretrain on.
        steps: Instead of the settings' own.
        device: `cpu`, or a name of the table.
        table: Table of devices; None for the shipped one.
        n_devices: Devices.
        zero_stage: `auto`, or 0 to 3.
        mfu: Share of the peak; None for the table's assumption.
        price_per_hour: Of one device; None for the table's example.
    """

    preset: str
    model_config: Path | None
    train_config: Path | None
    n_genes: int
    n_samples: int
    steps: int | None
    device: str
    table: Path | None
    n_devices: int
    zero_stage: str
    mfu: float | None
    price_per_hour: float | None


def make_plan(request: PlanRequest) -> Plan:
    """Plan the pretraining of a BulkRNABert; on `cpu`, some seconds are measured.

    Raises:
        ConfigError: a configuration, a device or their combination is wrong, or is that of another model.
    """
    try:
        model = BulkRNABertConfig.from_yaml(request.model_config or preset_path("model", request.preset))
        train = MaskedTrainConfig.from_yaml(request.train_config or preset_path("train", request.preset))
    except ConfigError as error:
        raise ConfigError(f"{error}\nOnly a BulkRNABert can be planned, no other model") from error
    if request.steps is not None:
        train = MaskedTrainConfig.from_mapping({**train.model_dump(), "steps": request.steps}, "--steps")
    is_cpu = request.device == CPU
    job = Job(
        model=model.with_genes(request.n_genes),
        train=train,
        n_samples=request.n_samples,
        n_devices=request.n_devices,
        is_bf16=train.precision == "bf16" or (train.precision == "auto" and not is_cpu),
    )
    stage = next((stage for stage in STAGES if str(stage) == request.zero_stage), None)
    if is_cpu and job.n_devices > 1:
        raise ConfigError(f"--n-devices {job.n_devices}: on cpu one process is planned, which uses all cores")
    if is_cpu and job.is_bf16:
        raise ConfigError("precision bf16 is not planned for cpu, where it is no faster: use fp32 or auto")
    check_job(job, stage)
    return _plan_cpu(request, job) if is_cpu else _plan_gpu(request, job, _find_device(request), stage)


def _find_device(request: PlanRequest) -> Device:
    path = request.table or devices_path()
    devices = read_devices(path)
    if request.device not in devices:
        raise ConfigError(
            f"no device named {request.device!r}: choose {CPU} or one of {', '.join(devices)} ({path.name})"
        )
    return devices[request.device]


def _plan_cpu(request: PlanRequest, job: Job) -> Plan:
    speed = calibrate(job)
    choice = choose_settings(job, speed.memory_bytes, speed.framework_bytes, holds_data=True, zero_stage=0)
    return Plan(
        job=job,
        device_name=f"this machine's processor, {speed.n_threads} threads",
        memory_bytes=speed.memory_bytes,
        choice=choice,
        largest_micro_batch=largest_micro_batch(choice, job, speed.memory_bytes, speed.framework_bytes, True),
        speed=run_time(job, cpu_step_seconds(job, choice.settings, speed)),
        basis=f"measured here: {speed.attention_flops_per_s / 1e9:.0f} GFLOP/s in attention, "
        f"{speed.other_flops_per_s / 1e9:.0f} GFLOP/s in the rest",
        price_per_hour=request.price_per_hour,
        is_example_price=False,
    )


def _plan_gpu(request: PlanRequest, job: Job, device: Device, stage: ZeroStage | None) -> Plan:
    memory_bytes = int(device.memory_gb * 1e9)
    choice: Choice = choose_settings(job, memory_bytes, GPU_OVERHEAD_BYTES, holds_data=False, zero_stage=stage)
    mfu = request.mfu if request.mfu is not None else device.assumed_mfu
    kind = "given" if request.mfu is not None else "assumed, not measured"
    return Plan(
        job=job,
        device_name=device.name,
        memory_bytes=memory_bytes,
        choice=choice,
        largest_micro_batch=largest_micro_batch(choice, job, memory_bytes, GPU_OVERHEAD_BYTES, False),
        speed=run_time(job, gpu_step_seconds(job, choice.settings, device, mfu)),
        basis=f"at {mfu:.0%} ({kind}) of {device.peak_bf16_tflops:.0f} TFLOP/s, and memory traffic",
        price_per_hour=device.example_price_per_hour if request.price_per_hour is None else request.price_per_hour,
        is_example_price=request.price_per_hour is None,
    )
