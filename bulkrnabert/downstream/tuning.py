"""Choice of fine-tuning settings inside the training part of a fold."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from bulkrnabert.config import FrozenConfig
from bulkrnabert.downstream.finetune import FinetuneSettings, Search, StartEmbeddings, search_fold
from bulkrnabert.downstream.fold_encoders import FoldEncoder
from bulkrnabert.downstream.job import Fold
from bulkrnabert.downstream.joint import JointJob
from bulkrnabert.errors import ConfigError
from bulkrnabert.train.finetune import FinetuneConfig

logger = logging.getLogger(__name__)

ADAPTERS = ("none", "ia3", "lora", "full")
LEARNING_RATES = (3e-4, 3e-2)
FULL_RATE_RATIO = 0.1
HEAD_LEARNING_RATES = (1e-4, 1e-2)


class Trial(FrozenConfig):
    """One setting that was tried.

    Attributes:
        choice: What was drawn, by name.
        inner_loss: Best loss on the patients set aside from the training part; lower is better.
        best_epoch: Epochs that it took.
    """

    choice: dict[str, float | str]
    inner_loss: float
    best_epoch: int


@dataclass(frozen=True)
class Tuning:
    """What a search found for one fold.

    Attributes:
        split_id: The fold.
        best: The best trial's search.
        trials: All trials in order; the first is the configuration as it was given.
    """

    split_id: str
    best: Search
    trials: list[Trial]

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        config = self.best.settings.config.model_dump(mode="json")
        return {"split_id": self.split_id, "best": config, "trials": [trial.model_dump() for trial in self.trials]}


def tune_fold(
    job: JointJob, fold: Fold, encoder: FoldEncoder, settings: FinetuneSettings, starts: StartEmbeddings, n_trials: int
) -> Tuning:
    """Search learning rates, adapter, pooling and epochs by the loss on patients set aside from the training part.

    The test part of the fold is not looked at. The first trial is the given configuration.

    Args:
        job: The job.
        fold: The fold.
        encoder: The encoder that may judge it.
        settings: Where the search starts, and its seed.
        starts: Shared by folds and trials.
        n_trials: How many settings to try.
    Raises:
        ConfigError: `optuna` is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("--tune needs optuna, which is not installed: install `bulkrnabert[finetune]`") from error

    settings = replace(settings.with_panel(encoder, fold), is_tuned=True)
    sizes = encoder.model.network.config
    poolings = ["mean", "attention"]
    poolings += ["marker"] * sizes.has_bin_statistics + ["eigengene"] * (sizes.n_eigengenes > 0)
    trials: list[Trial] = []
    best: list[Search] = []

    def judge(choice: dict[str, float | str], config: FinetuneConfig) -> float:
        search = search_fold(job, fold, encoder, replace(settings, config=config), starts)
        loss = min(search.curve.losses)
        if not best or loss < min(best[0].curve.losses):
            best[:] = [search]
        trials.append(Trial(choice=choice, inner_loss=loss, best_epoch=search.curve.best_epoch))
        logger.info(
            "fold %s, trial %d: inner loss %.4f with %s", fold.split_id, len(trials), loss, choice or "defaults"
        )
        return loss

    def objective(trial: optuna.Trial) -> float:
        choice: dict[str, float | str] = {
            "adapter": trial.suggest_categorical("adapter", ADAPTERS),
            "pooling": trial.suggest_categorical("pooling", poolings),
            "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
            "head_learning_rate": trial.suggest_float("head_learning_rate", *HEAD_LEARNING_RATES, log=True),
        }
        return judge(choice, _with_choice(settings.config, choice))

    judge({}, settings.config)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.TPESampler(seed=settings.seed))
    study.optimize(objective, n_trials=n_trials - 1)
    return Tuning(fold.split_id, best[0], trials)


def _with_choice(config: FinetuneConfig, choice: dict[str, float | str]) -> FinetuneConfig:
    """The configuration with a choice; weights that are all trained take a tenth of an adapter's learning rate."""
    ratio = FULL_RATE_RATIO if choice["adapter"] == "full" else 1.0
    changed = {
        "adapter": {**config.adapter.model_dump(), "kind": choice["adapter"]},
        "pooling": choice["pooling"],
        "learning_rate": float(choice["learning_rate"]) * ratio,
        "head_learning_rate": choice["head_learning_rate"],
    }
    return FinetuneConfig.model_validate({**config.model_dump(), **changed})
