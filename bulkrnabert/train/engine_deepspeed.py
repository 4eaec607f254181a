"""The DeepSpeed engine: ZeRO stages 0 to 3, one process a GPU, or several on a CPU, started by `torchrun`.

States are read and written whole through DeepSpeed's per-parameter access, not through its own checkpoint files: so a
state holds no pickle, and one written by either engine on any number of processes continues on the other.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from bulkrnabert.errors import ConfigError
from bulkrnabert.train.batches import Batch
from bulkrnabert.train.config import TrainConfig
from bulkrnabert.train.engine import (
    MOMENTS,
    build_optimizer,
    load_parameter_moments,
    parameter_moments,
    run_objective,
)
from bulkrnabert.train.losses import Objective, Prediction

ZeroStage = Literal[0, 1, 2, 3]

# Stage 3: every tensor is shared out, however small, so that what is saved and what runs is the same at any size.
_SHARED_PARAMETERS = {"stage3_param_persistence_threshold": 0}


def require_deepspeed() -> None:
    """Check that DeepSpeed is installed, without the seconds that importing it takes.

    Raises:
        ConfigError: it is not installed.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("DeepSpeed is not installed: install `bulkrnabert[train]`, or use --engine torch")


def _import_deepspeed() -> Any:
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # The shared-memory operator is compiled at first use (half a minute) and gives the same sums as gloo. The name is
    # private, hence the guard and the ceiling on the version.
    operators = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(operators, dict):
        operators["deepspeed_shm_comm"] = False
    return deepspeed


class DeepSpeedEngine:
    """DeepSpeed on the processes that `torchrun` started.

    Args:
        objective: The model with its objective, equal on all processes; moved to `device`.
        config: Settings of the run.
        device: This process's device.
        zero_stage: 0: plain data parallel; 1: Adam's moments are shared out; 2: gradients as well; 3: parameters
            as well.
    """

    name = "deepspeed"

    def __init__(self, objective: Objective, config: TrainConfig, device: torch.device, zero_stage: ZeroStage) -> None:
        deepspeed = _import_deepspeed()
        deepspeed.init_distributed(verbose=False)
        self.device = device
        self.objective = objective.to(device)
        self.rank = int(os.environ["RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self._zero_stage = zero_stage
        self._optimizer = build_optimizer(self.objective, config)
        n_accumulated = config.accumulation(self.world_size)
        self._n_accumulated = n_accumulated
        self._n_pending = 0
        n_parameters = sum(parameter.numel() for parameter in self.objective.parameters())
        self._engine, *_ = deepspeed.initialize(
            model=self.objective,
            optimizer=self._optimizer,
            config={
                "train_batch_size": config.global_batch_size,
                "train_micro_batch_size_per_gpu": config.micro_batch_size,
                "gradient_accumulation_steps": n_accumulated,
                "gradient_clipping": config.clip_norm,
                # The default buckets hold 5e8 numbers each, whatever the size of the model; odd ones are refused.
                "zero_optimization": {
                    "stage": zero_stage,
                    "reduce_bucket_size": n_parameters + n_parameters % 2,
                    "allgather_bucket_size": n_parameters + n_parameters % 2,
                    **(_SHARED_PARAMETERS if zero_stage == 3 else {}),
                },
                "zero_allow_untested_optimizer": True,
                "steps_per_print": 1_000_000_000,
            },
        )
        if zero_stage > 0:
            self._prepare_moments()

    def accumulate(self, batch: Batch) -> Prediction:
        """As `Engine.accumulate`."""
        if self._n_pending:
            self._engine.step()  # between the micro-batches of a step it only counts
        prediction = run_objective(self._engine, batch, self.device)
        self._engine.backward(prediction.loss)
        self._n_pending += 1
        return prediction

    def update(self, learning_rate: float) -> float | None:
        """As `Engine.update`."""
        assert self._n_pending == self._n_accumulated
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        self._n_pending = 0
        norm = self._engine.get_global_grad_norm()
        return None if norm is None else float(norm)

    def sum_over_processes(self, values: list[float]) -> list[float]:
        """As `Engine.sum_over_processes`."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def weights(self) -> dict[str, Tensor]:
        """As `Engine.weights`."""
        network = self.objective.network
        if self._zero_stage < 3:
            return {name: value.detach() for name, value in network.state_dict().items()}
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(network.parameters())):
            return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}

    def moments(self) -> dict[str, Tensor]:
        """As `Engine.moments`."""
        if self._zero_stage == 0:
            return parameter_moments(self._optimizer, self.objective)
        from deepspeed.utils import safe_get_full_optimizer_state

        return {
            f"{moment}/{name}": safe_get_full_optimizer_state(parameter, moment).detach().cpu()
            for name, parameter in self.objective.named_parameters()
            for moment in MOMENTS
        }

    def load_moments(self, moments: Mapping[str, Tensor], n_steps: int) -> None:
        """As `Engine.load_moments`."""
        if self._zero_stage == 0:
            load_parameter_moments(self._optimizer, self.objective, moments, n_steps)
            return
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        for state in self._optimizer.state.values():
            state["step"].fill_(float(n_steps))
        for name, parameter in self.objective.named_parameters():
            for moment in MOMENTS:
                whole = moments[f"{moment}/{name}"].to(self.device)
                if self._zero_stage == 3:
                    safe_set_local_optimizer_state(parameter, self._own_share(whole), moment)
                else:
                    safe_set_full_optimizer_state(parameter, whole, moment)

    def close(self) -> None:
        """As `Engine.close`; without it gloo's threads now and then abort a process that is done."""
        torch.distributed.destroy_process_group()

    def _own_share(self, whole: Tensor) -> Tensor:
        """This process's part of a tensor as stage 3 cuts it: equal parts, the last filled up with zeros.

        DeepSpeed's own cut of a whole tensor fails where the parts do not divide it.
        """
        size = -(-whole.numel() // self.world_size)
        filled = whole.new_zeros(size * self.world_size)
        filled[: whole.numel()] = whole.flatten()
        return filled[self.rank * size : (self.rank + 1) * size]

    def _prepare_moments(self) -> None:
        """Make Adam's moments now, not in the first step, and link them to the parameters.

        DeepSpeed links after the first step of the first parameter group, when the moments of the second do not exist
        yet, so that it would not find them again. Stage 3 has no links, and swaps its flat shares in only for a step.
        """
        if self._zero_stage == 3:
            for partition in self._engine.optimizer.fp32_partitioned_groups_flat:
                self._optimizer.state[partition] = _no_moments(partition)
            return
        for group in self._optimizer.param_groups:
            for partition in group["params"]:  # this process's flat share of the parameters
                self._optimizer.state[partition] = _no_moments(partition)
        self._engine.optimizer._lazy_init_hp_params_optimizer_state()


def _no_moments(partition: Tensor) -> dict[str, Tensor]:
    """Adam's state before the first step."""
    return {
        "step": torch.zeros((), device=partition.device),
        **{moment: torch.zeros_like(partition) for moment in MOMENTS},
    }
