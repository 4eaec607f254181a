"""What an encoder keeps of its training samples, beside what it learns: usual bins and eigengenes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from bulkrnabert.data.coexpression import BinStatistics, bin_statistics, eigengenes
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.models.encoder import Encoder, EncoderConfig

N_EIGENGENES = 128

ConfigType = TypeVar("ConfigType", bound=EncoderConfig)


def with_statistics(model: ConfigType, tokens: Tokens) -> ConfigType:
    """Sizes with room for them: 128 eigengenes, or half as many as training samples, or as many as columns."""
    n_possible = min(int(tokens.is_training.sum()) // 2, model.n_columns)
    return model.model_copy(update={"has_bin_statistics": True, "n_eigengenes": min(N_EIGENGENES, n_possible)})


def start_statistics(network: Encoder, token_ids: npt.NDArray[np.uint8], seed: int) -> BinStatistics:
    """Put the statistics of the training samples into a network, those that its configuration keeps.

    Args:
        network: Its buffers are filled.
        token_ids: Training samples, shape (samples, columns). Not modified.
        seed: Chooses the samples that eigengenes are computed from, where there are many.
    Returns:
        The bin statistics.
    """
    n_bins = network.config.n_bins
    statistics = bin_statistics(token_ids, n_bins)
    if network.config.has_bin_statistics:
        network.set_bin_statistics(torch.from_numpy(statistics.mean), torch.from_numpy(statistics.deviation))
    if network.config.n_eigengenes:
        rng = np.random.default_rng(seed)
        loadings = eigengenes(token_ids, statistics, n_bins, network.config.n_eigengenes, rng)
        network.set_eigengenes(torch.from_numpy(loadings))
    return statistics
