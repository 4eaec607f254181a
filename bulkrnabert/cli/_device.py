"""The device and the threads that a command asks for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from bulkrnabert.errors import ConfigError

if TYPE_CHECKING:
    import torch

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: the GPU if there is one.",
)


def torch_device(name: str) -> torch.device:
    """The device of `--device auto|cpu|cuda`; under `torchrun` each process has a GPU of its own.

    Raises:
        ConfigError: `cuda` without a GPU.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no GPU on this machine: use --device cpu, or check the driver")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def default_threads(n_processes: int) -> int:
    """CPU threads of a process: OMP_NUM_THREADS, or the cores shared out."""
    configured = os.environ.get("OMP_NUM_THREADS", "")
    if configured.isdigit() and int(configured) > 0:
        return int(configured)
    return max(1, len(os.sched_getaffinity(0)) // n_processes)
