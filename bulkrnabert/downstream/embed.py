"""From tables to one vector a sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from bulkrnabert.data.sources.adata import MAIN
from bulkrnabert.downstream.encode import OmicTable, encode_expression, encode_omics
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.errors import ConfigError
from bulkrnabert.logs import progress
from bulkrnabert.models.encoder import Pooling

logger = logging.getLogger(__name__)

CPU_BATCH_BYTES = 2**25
GPU_BATCH_BYTES = 2**32
FLOATS_PER_POSITION = 8
BYTES_PER_FLOAT = 4


def embed(
    model: PretrainedModel,
    data: OmicTable | Mapping[str, tuple[OmicTable, str]],
    unit: str | None = None,
    layer: int | None = None,
    pooling: Pooling = "mean",
    batch_size: int | None = None,
    matrix: str = MAIN,
) -> NDArray[np.float32]:
    """One vector a sample: a layer's output pooled over genes. Runs where the model is, in bf16 on a GPU.

    Genes are put into the model's order; those that the table lacks are fed as the tokenizer's `missing` says.

    Args:
        model: From `load`.
        data: AnnData (samples x genes; ids in `var_names`, or Ensembl ids in a column `gene_id` or `ensembl_id` of
            `var`; dense, sparse or backed), a data frame (samples x genes) or an ExpressionTable, of the model's first
            omic (RNA-seq). Or a table and its unit for each omic that there is, as `{"rnaseq":
            (adata, "tpm"), "methylation": (adata2, "beta")}`: samples meet by name (`obs_names`, index). Not modified.
        unit: Unit of the values, as `tpm` or `log2(tpm+1)`; stands with the tables where they are given by omic.
        layer: Layer from 1; the last when left out, as in the paper.
        pooling: `mean` over genes, as in the paper; `max`; `marker`, of twice the width; or `eigengene`.
        batch_size: Samples at a time; chosen from the number of genes when left out.
        matrix: Where the values of an AnnData object are: `X`, `raw` or `layers/<name>`.
    Returns:
        Embeddings, shape (samples, D), float32: rows as in the table; of several tables those of the first, then those
        that only the next has (`encode_omics` names them).
    Raises:
        VocabularyError: less than half of the model's genes are in a table.
        DataError: a unit is not the model's and cannot be converted, or the values are not in it; or no sample is in
            all tables.
        ConfigError: no such layer, a batch size below 1, or an omic that the model never saw.
    """
    _check_request(model, layer, batch_size)
    if isinstance(data, Mapping):
        if unit is not None:
            raise ConfigError("unit stands with each table where tables are given by omic: leave `unit` out")
        if matrix != MAIN:
            raise ConfigError("tables that are given by omic have their values in X: leave `matrix` out")
        token_ids = encode_omics(model, data).token_ids
    elif unit is None:
        raise ConfigError('say what the values are: unit="tpm", for example')
    else:
        token_ids = encode_expression(model, data, unit, matrix).token_ids
    return embed_tokens(model, token_ids, layer, pooling, batch_size)


def tokens_of(model: PretrainedModel, data: OmicTable, unit: str) -> NDArray[np.uint8]:
    """Token ids of a table, shape (samples, columns of the model); arguments and errors as of `embed`."""
    return encode_expression(model, data, unit).token_ids


def embed_tokens(
    model: PretrainedModel,
    token_ids: NDArray[np.uint8],
    layer: int | None = None,
    pooling: Pooling = "mean",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """As `embed`, from token ids of shape (samples, columns of the model)."""
    _check_request(model, layer, batch_size)
    device = next(model.parameters()).device
    size = batch_size if batch_size is not None else choose_batch_size(model, device)
    parts = [np.empty((0, model.network.embedding_width(pooling)), dtype=np.float32)]
    starts = progress(range(0, len(token_ids), size), what="embed", unit="batch")
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in starts:
            batch = torch.from_numpy(np.ascontiguousarray(token_ids[start : start + size])).to(device)
            on_gpu = device.type == "cuda"
            with torch.autocast("cuda", dtype=torch.bfloat16) if on_gpu else nullcontext():
                pooled = model.sample_embedding(batch, layer, pooling)
            parts.append(pooled.cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def choose_batch_size(model: PretrainedModel, device: torch.device) -> int:
    """Samples whose activations fit a fixed budget: 32 MiB on a CPU, 4 GiB on a GPU; at least 1."""
    config = model.network.config
    width = config.embed_dim * FLOATS_PER_POSITION
    budget = GPU_BATCH_BYTES if device.type == "cuda" else CPU_BATCH_BYTES
    return max(1, budget // (config.n_columns * width * BYTES_PER_FLOAT))


def _check_request(model: PretrainedModel, layer: int | None, batch_size: int | None) -> None:
    n_layers = model.network.config.n_layers
    if layer is not None and not 1 <= layer <= n_layers:
        raise ConfigError(f"there is no layer {layer}: this model's layers are numbered 1 to {n_layers}")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: expected at least 1 sample")
