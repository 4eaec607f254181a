"""Standardised values (z) that GexBERT restores and is judged on, from its tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from bulkrnabert import keys
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.gexbert import GexBERT


def gexbert_network(model: PretrainedModel, path: Path) -> GexBERT:
    """The network of a checkpoint of GexBERT.

    Raises:
        ConfigError: another kind of model.
    """
    if not isinstance(model.network, GexBERT):
        raise ConfigError(f"{path}: a checkpoint of {model.name}; this command needs one of gexbert")
    return model.network


def standardised_values(tokens: Tokens, folder: Path) -> npt.NDArray[np.float32]:
    """z of every sample of a tokens folder, shape (samples, genes), NaN where missing.

    Raises:
        ConfigError: tokens without values.
    """
    if tokens.values is None:
        raise ConfigError(f"{folder}: tokens without values; tokenize with --model gexbert")
    return tokens.values


def check_own_tokens(model: PretrainedModel, checkpoint: Path, tokens: Tokens, folder: Path) -> None:
    """Refuse tokens that a checkpoint did not learn on.

    Raises:
        DataError: other genes, other bins or another split.
    """
    if tokens.gene_ids != model.gene_ids or tokens.tokenizer != model.tokenizer:
        raise DataError(f"{folder}: other genes or bins than the checkpoint {checkpoint}: give the tokens it learnt on")
    own_split = str(model.provenance.get("split_id") or keys.ALL_SPLIT)
    if tokens.split_id != own_split:
        raise DataError(
            f"{folder}: tokens of split {tokens.split_id}, but {checkpoint} was pretrained under split {own_split}, so "
            "it may have seen what is held out: give the tokens that it learnt on"
        )


def levels_of(tokenizer: BinnedTokenizer, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """z as it was before it was standardised: log10(1 + x), or the value of a centred unit.

    Args:
        tokenizer: What standardised them.
        values: z, shape (samples, genes); NaN stays. Not modified.
    """
    assert tokenizer.gene_means is not None and tokenizer.gene_deviations is not None
    return np.asarray(values.astype(np.float64) * tokenizer.gene_deviations + tokenizer.gene_means)
