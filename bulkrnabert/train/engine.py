"""What the training loop asks of an engine, and the plain torch engine: one process, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from bulkrnabert.train.batches import Batch
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.losses import Objective, Prediction

MOMENTS: Final = ("exp_avg", "exp_avg_sq")


class Engine(Protocol):
    """Runs the passes and updates of one process of a run. Collective calls are made by all processes together.

    Attributes:
        name: `torch` or `deepspeed`.
        rank: This process, from 0.
        world_size: Number of processes.
        device: Where batches go.
        objective: The model. It can be run on every process; its parameters may be shared out (ZeRO 3), so read them
            through `weights`.
    """

    name: str
    rank: int
    world_size: int
    device: torch.device
    objective: Objective

    def accumulate(self, batch: Batch) -> Prediction:
        """Forward and backward of one micro-batch of the step; gradients add up to their mean."""
        ...

    def update(self, learning_rate: float) -> float | None:
        """Clip, take one optimizer step, clear the gradients (collective); the norm before clipping, if known."""
        ...

    def sum_over_processes(self, values: list[float]) -> list[float]:
        """Element-wise sum over all processes (collective)."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """The network's whole parameters and buffers by name, as its `state_dict` (collective)."""
        ...

    def moments(self) -> dict[str, Tensor]:
        """Adam's whole running moments as `<moment>/<parameter>`, on the CPU (collective)."""
        ...

    def load_moments(self, moments: Mapping[str, Tensor], n_steps: int) -> None:
        """Put the moments of a run that has taken `n_steps` steps in place, before the first step."""
        ...

    def close(self) -> None:
        """Leave the process group, if there is one."""
        ...


def build_optimizer(objective: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Fused AdamW; matrices decay, biases, norms and embedding tables do not (our choice, the paper states none)."""
    embeddings = {id(module.weight) for module in objective.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter in objective.parameters():
        (decayed if parameter.ndim >= 2 and id(parameter) not in embeddings else others).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def parameter_moments(optimizer: torch.optim.Optimizer, objective: nn.Module) -> dict[str, Tensor]:
    """Moments of an optimizer that holds the parameters themselves, zero before the first step."""
    return {
        f"{moment}/{name}": optimizer.state[parameter].get(moment, torch.zeros_like(parameter)).detach().cpu()
        for name, parameter in objective.named_parameters()
        for moment in MOMENTS
    }


def load_parameter_moments(
    optimizer: torch.optim.Optimizer, objective: nn.Module, moments: Mapping[str, Tensor], n_steps: int
) -> None:
    """The inverse of `parameter_moments`."""
    for name, parameter in objective.named_parameters():
        optimizer.state[parameter] = {"step": torch.tensor(float(n_steps), device=parameter.device)}
        for moment in MOMENTS:
            optimizer.state[parameter][moment] = moments[f"{moment}/{name}"].to(parameter.device, copy=True)


def run_objective(objective: nn.Module, batch: Batch, device: torch.device) -> Prediction:
    """One forward pass on a device."""
    prediction = objective(*batch.arguments(device))
    assert isinstance(prediction, Prediction)
    return prediction


class TorchEngine:
    """Plain torch on one process.

    Args:
        objective: The model with its objective; moved to `device`.
        config: Settings of the run.
        device: CPU or one GPU.
    """

    name = "torch"
    rank = 0
    world_size = 1

    def __init__(self, objective: Objective, config: TrainConfig, device: torch.device) -> None:
        self.device = device
        self.objective = objective.to(device)
        self._n_accumulated = config.accumulation(n_processes=1)
        self._clip_norm = config.clip_norm
        self._optimizer = build_optimizer(self.objective, config)

    def accumulate(self, batch: Batch) -> Prediction:
        """As `Engine.accumulate`."""
        prediction = run_objective(self.objective, batch, self.device)
        (prediction.loss / self._n_accumulated).backward()  # type: ignore[no-untyped-call]
        return prediction

    def update(self, learning_rate: float) -> float | None:
        """As `Engine.update`."""
        norm = torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self._clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def sum_over_processes(self, values: list[float]) -> list[float]:
        """As `Engine.sum_over_processes`."""
        return values

    def weights(self) -> dict[str, Tensor]:
        """As `Engine.weights`."""
        return {name: value.detach() for name, value in self.objective.network.state_dict().items()}

    def moments(self) -> dict[str, Tensor]:
        """As `Engine.moments`."""
        return parameter_moments(self._optimizer, self.objective)

    def load_moments(self, moments: Mapping[str, Tensor], n_steps: int) -> None:
        """As `Engine.load_moments`."""
        load_parameter_moments(self._optimizer, self.objective, moments, n_steps)

    def close(self) -> None:
        """As `Engine.close`: there is no group."""
