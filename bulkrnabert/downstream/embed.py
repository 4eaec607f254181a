"""From a table of expression to one vector a sample."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from bulkrnabert.data.genes import GeneAlignment, GeneVocabulary, normalise_gene_ids
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.units import check_scale, parse_unit, stored_unit, to_stored
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.errors import ConfigError, DataError, VocabularyError
from bulkrnabert.logs import shows_progress
from bulkrnabert.models.bulkrnabert import Pooling

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

MIN_COVERAGE = 0.5
ROWS_AT_A_TIME = 64
CPU_BATCH_BYTES = 2**28
GPU_BATCH_BYTES = 2**32
FLOATS_PER_POSITION = 8
BYTES_PER_FLOAT = 4


@dataclass(frozen=True)
class _Expression:
    values: NDArray[np.floating]
    gene_ids: list[str]


def embed(
    model: PretrainedModel,
    data: AnnData | pd.DataFrame | ExpressionTable,
    unit: str,
    layer: int | None = None,
    pooling: Pooling = "mean",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """One vector a sample: a layer's output pooled over genes. Runs where the model is, in bf16 on a GPU.

    Genes are put into the model's order; those that the table lacks are fed as the tokenizer's `missing` says.

    Args:
        model: From `load`.
        data: AnnData (samples x genes, ids in `var_names`), a data frame (samples x genes) or an ExpressionTable.
            Not modified.
        unit: Unit of the values, as `tpm` or `log2(tpm+1)`.
        layer: Layer from 1; the last when left out, as in the paper.
        pooling: `mean` over genes, as in the paper; `max`; or `marker`, of twice the width.
        batch_size: Samples at a time; chosen from the number of genes when left out.
    Returns:
        Embeddings, shape (samples, D), float32.
    Raises:
        VocabularyError: less than half of the model's genes are in the table.
        DataError: the unit is not the model's and cannot be converted, or the values are not in it.
        ConfigError: no such layer, or a batch size below 1.
    """
    _check_request(model, layer, batch_size)
    return embed_tokens(model, tokens_of(model, data, unit), layer, pooling, batch_size)


def tokens_of(model: PretrainedModel, data: AnnData | pd.DataFrame | ExpressionTable, unit: str) -> NDArray[np.uint8]:
    """Token ids of a table, shape (samples, genes), in the model's gene order; arguments and errors as of `embed`."""
    return encode_expression(model, data, unit).token_ids


@dataclass(frozen=True)
class EncodedSamples:
    """Samples as a model takes them.

    Attributes:
        token_ids: Shape (samples, genes), uint8, in the model's gene order.
        missing_share: Share of the model's genes that each sample has no value of, shape (samples,), float32.
    """

    token_ids: NDArray[np.uint8]
    missing_share: NDArray[np.float32]


def encode_expression(
    model: PretrainedModel, data: AnnData | pd.DataFrame | ExpressionTable, unit: str
) -> EncodedSamples:
    """Token ids of a table, and how much of each sample is missing; arguments and errors as of `embed`."""
    expression = _expression_of(data)
    given = parse_unit(unit)
    check_scale(expression.values, given, "the table to embed")
    values = expression.values
    if stored_unit(given).base != given.base:
        # FPKM becomes TPM by the sum over all genes of the table, so before any is left out.
        if np.isnan(values).any():
            raise DataError(f"values in {unit} with missing cells cannot become TPM: fill them, or give TPM")
        stored = to_stored(values, given)
        values, unit = stored.values, str(stored.unit)
    alignment = align_to_model(model, expression.gene_ids)
    return encode_aligned(model, alignment, [values], len(values), unit)


def encode_aligned(
    model: PretrainedModel,
    alignment: GeneAlignment,
    pieces: Iterable[NDArray[np.floating]],
    n_samples: int,
    unit: str,
) -> EncodedSamples:
    """Token ids of values that come in pieces, of which only a few hundred rows are put into order at a time.

    Args:
        model: From `load`.
        alignment: Where the model's genes are among the columns, from `align_to_model`.
        pieces: Shape (some, columns) each. Not modified.
        n_samples: Rows of all pieces.
        unit: Unit of the values, one that the model's tokenizer reads.
    """
    token_ids = np.empty((n_samples, len(model.gene_ids)), dtype=np.uint8)
    missing_share = np.empty(n_samples, dtype=np.float32)
    n_done = 0
    for piece in pieces:
        for first in range(0, len(piece), ROWS_AT_A_TIME):
            rows = piece[first : first + ROWS_AT_A_TIME]
            # float64 stays so, since bin edges are exact.
            aligned = rows[:, alignment.source_idx].astype(np.result_type(rows, np.float32), copy=False)
            aligned[:, alignment.source_idx < 0] = np.nan
            place = slice(n_done, n_done + len(rows))
            token_ids[place] = model.tokenizer.encode_rows(aligned, unit, n_done)
            missing_share[place] = np.isnan(aligned).mean(axis=1)
            n_done += len(rows)
    assert n_done == n_samples, "as many rows as samples"
    if n_samples:
        logger.info(
            "of the model's genes a sample lacks %.1f%% on average and %.1f%% at most",
            100 * float(missing_share.mean()),
            100 * float(missing_share.max()),
        )
    return EncodedSamples(token_ids, missing_share)


def embed_tokens(
    model: PretrainedModel,
    token_ids: NDArray[np.uint8],
    layer: int | None = None,
    pooling: Pooling = "mean",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """As `embed`, from token ids of shape (samples, genes) in the model's gene order."""
    _check_request(model, layer, batch_size)
    device = next(model.parameters()).device
    size = batch_size if batch_size is not None else choose_batch_size(model, device)
    parts = [np.empty((0, model.network.embedding_width(pooling)), dtype=np.float32)]
    starts = tqdm(range(0, len(token_ids), size), desc="embed", unit="batch", disable=not shows_progress())
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
    """Samples whose activations fit a fixed budget: 256 MiB on a CPU, 4 GiB on a GPU; at least 1."""
    config = model.network.config
    width = max(config.embed_dim * FLOATS_PER_POSITION, config.ffn_embed_dim)
    budget = GPU_BATCH_BYTES if device.type == "cuda" else CPU_BATCH_BYTES
    return max(1, budget // (config.n_genes * width * BYTES_PER_FLOAT))


def _check_request(model: PretrainedModel, layer: int | None, batch_size: int | None) -> None:
    n_layers = model.network.config.n_layers
    if layer is not None and not 1 <= layer <= n_layers:
        raise ConfigError(f"there is no layer {layer}: this model's layers are numbered 1 to {n_layers}")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: expected at least 1 sample")


def _expression_of(data: AnnData | pd.DataFrame | ExpressionTable) -> _Expression:
    if isinstance(data, ExpressionTable):
        return _Expression(data.values, list(data.genes.gene_ids))
    if isinstance(data, pd.DataFrame):
        try:
            return _Expression(data.to_numpy(dtype=np.float64), [str(name) for name in data.columns])
        except (TypeError, ValueError) as error:
            raise DataError(f"the data frame holds something else than numbers: {error}") from error
    matrix = data.X
    if matrix is None:
        raise DataError("the AnnData object has no X: put the expression values there, samples x genes")
    dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
    return _Expression(dense, [str(name) for name in data.var_names])


def align_to_model(model: PretrainedModel, gene_ids: Sequence[str]) -> GeneAlignment:
    """Where the model's genes are among the columns of a table.

    Raises:
        VocabularyError: less than half of them are there.
    """
    vocabulary = GeneVocabulary.from_ids(model.gene_ids)
    genes = normalise_gene_ids(gene_ids, "the table to embed")
    alignment = vocabulary.align(genes.ids)
    n_found = len(vocabulary) - len(alignment.missing)
    found = f"{n_found} of the model's {len(vocabulary)} genes are in the table ({alignment.coverage:.1%})"
    if alignment.coverage < MIN_COVERAGE:
        kinds = (
            f"the table has {genes.kind} ids, as {genes.ids[0]!r}; the model {vocabulary.kind} ids, as "
            f"{model.gene_ids[0]!r}"
        )
        raise VocabularyError(f"{found}; at least {MIN_COVERAGE:.0%} are needed. {kinds}")
    logger.info("%s; %d genes of the table are not in the model", found, alignment.n_unknown + len(genes.dropped))
    columns = np.where(alignment.source_idx < 0, -1, genes.keep_idx[alignment.source_idx])
    return replace(alignment, source_idx=columns)
