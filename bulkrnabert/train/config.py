"""Settings of a pretraining run, beside the size of the model; the presets in `conf/train` are their YAML form."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]


class TrainConfig(FrozenConfig):
    """Settings of pretraining that every model has.

    Attributes:
        steps: Optimizer steps of the whole run.
        global_batch_size: Samples a step, over all processes and accumulation.
        micro_batch_size: Samples that go through the model at once on one process; bounds the memory, and changes the
            result by float noise only.
        cohort_weights: Mixture of sources: weight of each group of cohorts by a name or pattern, as
            `{"TCGA-*": 2, "GTEX*": 1}`; null lets every sample count the same.
        learning_rate: Peak of the schedule, reached at the end of the warm-up.
        min_lr_ratio: Learning rate at the last step, as a share of the peak.
        warmup_fraction: Share of the steps in which the learning rate rises from 0.
        weight_decay: Decoupled weight decay of matrices; biases, norms and embeddings have none.
        betas: Adam's two decay rates.
        clip_norm: Largest gradient norm of a step.
        precision: `bf16` is autocast with fp32 weights; `auto` is bf16 on a GPU and fp32 on a CPU.
        validation_fraction: Share of the training part's patients set aside for the validation curve.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints, a multiple of `validate_every`.
        keep_best: Keep the checkpoint with the lowest validation loss as well as the last one.
    """

    steps: int = Field(gt=0)
    global_batch_size: int = Field(gt=0)
    micro_batch_size: int = Field(gt=0)
    cohort_weights: dict[str, float] | None = Field(default=None, min_length=1)
    learning_rate: float = Field(gt=0)
    min_lr_ratio: float = Field(default=0.1, ge=0, le=1)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = Field(default=1.0, gt=0)
    precision: Precision = "auto"
    validation_fraction: float = Field(default=0.05, gt=0, le=0.5)
    validate_every: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    keep_best: bool = True

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size}"
            )
        if self.checkpoint_every % self.validate_every:
            raise ValueError(
                f"checkpoint_every {self.checkpoint_every} is not a multiple of validate_every {self.validate_every}, "
                "so that a checkpoint would have no validation loss of its own"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} are not in [0, 1)")
        return self

    def accumulation(self, n_processes: int) -> int:
        """Micro-batches that each process runs for one step.

        Raises:
            ConfigError: the global batch does not divide evenly.
        """
        samples_at_once = self.micro_batch_size * n_processes
        if self.global_batch_size % samples_at_once:
            raise ConfigError(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size "
                f"{self.micro_batch_size} x {n_processes} processes: change one of the three"
            )
        return self.global_batch_size // samples_at_once


class MaskedTrainConfig(TrainConfig):
    """Settings of masked language modelling.

    Attributes:
        genes_per_step: Genes of the random subset that every sample of a step shares; null takes all genes.
        full_length_steps: Steps at the end of the run that see all genes, after a run on subsets: attention over few
            genes is cheap, but the model is used on all of them.
        mask_fraction: Share of the genes of a sample that is to be predicted.
        gene_embedding_start: `random`, or `coexpression`: main directions of co-expression in the training samples,
            where the paper starts from Gene2Vec (docs/decisions/0010-gene-embedding-start.md).
    """

    genes_per_step: int | None = Field(default=None, gt=0)
    full_length_steps: int = Field(default=0, ge=0)
    mask_fraction: float = Field(default=0.15, gt=0, le=1)
    gene_embedding_start: Literal["random", "coexpression"] = "coexpression"

    @model_validator(mode="after")
    def _check_full_length(self) -> Self:
        if self.full_length_steps > self.steps:
            raise ValueError(f"full_length_steps {self.full_length_steps} is more than steps {self.steps}")
        return self
