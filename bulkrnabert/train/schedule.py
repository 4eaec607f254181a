"""The learning rate of a step, as a function of the step alone."""

from __future__ import annotations

import math

from bulkrnabert.train.config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up from 0 to the peak, then half a cosine down to `min_lr_ratio` of it at the last step.

    Args:
        step: Steps already taken, in [0, config.steps).
        config: Settings of the run.
    """
    n_warmup = round(config.steps * config.warmup_fraction)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / n_warmup
    n_decay = max(1, config.steps - 1 - n_warmup)
    progress = min(1.0, (step - n_warmup) / n_decay)
    share = config.min_lr_ratio + (1 - config.min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * share
