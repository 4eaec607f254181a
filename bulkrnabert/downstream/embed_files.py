"""Embeddings of files, written with where they come from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.data.tables import cohort_files, genes_path, iter_cohort_batches, read_header, read_samples
from bulkrnabert.downstream.embed import (
    EncodedSamples,
    align_to_model,
    embed_tokens,
    encode_aligned,
    encode_expression,
)
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.models.bulkrnabert import Pooling
from bulkrnabert.provenance import atomic_path, describe_run

logger = logging.getLogger(__name__)

OUT_SUFFIXES = (".h5ad", ".parquet")
OBS_COLUMNS = [keys.PATIENT_ID, keys.COHORT, keys.SAMPLE_TYPE]


@dataclass(frozen=True)
class EmbedRequest:
    """What `embed` is asked for.

    Attributes:
        checkpoint: Checkpoint folder.
        layer: Layer from 1; the last when None.
        pooling: Over the genes.
        batch_size: Samples at a time; chosen when None.
        out: `.h5ad` or `.parquet` file.
    """

    checkpoint: Path
    layer: int | None
    pooling: Pooling
    batch_size: int | None
    out: Path


def embed_cohorts(request: EmbedRequest, folder: Path) -> tuple[int, int]:
    """Embed every sample of a cohorts folder; returns the shape (samples, D)."""
    model = _load_for(request)
    files = cohort_files(folder)
    samples = read_samples(folder, keys.RNASEQ)
    genes = GeneVocabulary.from_tsv(genes_path(folder))
    unit = read_header(next(iter(files.values()))).unit
    order: list[str] = []

    def pieces() -> Iterator[NDArray[np.float32]]:
        for path in files.values():
            for batch in iter_cohort_batches(path):
                order.extend(batch.samples[keys.SAMPLE_ID])
                yield batch.values

    encoded = encode_aligned(model, align_to_model(model, genes.gene_ids), pieces(), len(samples), unit)
    rows = pd.Index(order).get_indexer(pd.Index(samples[keys.SAMPLE_ID]))
    encoded = EncodedSamples(encoded.token_ids[rows], encoded.missing_share[rows])
    obs = samples[OBS_COLUMNS].set_index(pd.Index(samples[keys.SAMPLE_ID], name=keys.SAMPLE_ID))
    inputs = {f"cohort {name}": path for name, path in files.items()}
    return _embed_and_write(request, model, encoded, unit, obs, inputs)


def embed_table(request: EmbedRequest, path: Path, unit: str, file_format: str | None) -> tuple[int, int]:
    """Embed every sample of a table; returns the shape (samples, D)."""
    model = _load_for(request)
    table = read_expression(path, file_format or "", missing="keep")
    index = pd.Index(table.sample_ids, name=keys.SAMPLE_ID)
    if not index.is_unique:
        raise DataError(f"{path}: sample {index[index.duplicated()][0]!r} is there more than once; keep one")
    known = [] if table.obs is None else [name for name in OBS_COLUMNS if name in table.obs.columns]
    obs = pd.DataFrame(index=index) if table.obs is None else table.obs[known].set_index(index)
    return _embed_and_write(request, model, encode_expression(model, table, unit), unit, obs, {"table": path})


def _load_for(request: EmbedRequest) -> PretrainedModel:
    if request.out.suffix not in OUT_SUFFIXES:
        raise ConfigError(f"--out {request.out}: expected a name that ends in {' or '.join(OUT_SUFFIXES)}")
    model = load(request.checkpoint)
    return model.to("cuda") if torch.cuda.is_available() else model


def _embed_and_write(
    request: EmbedRequest,
    model: PretrainedModel,
    encoded: EncodedSamples,
    unit: str,
    obs: pd.DataFrame,
    inputs: dict[str, Path],
) -> tuple[int, int]:
    embeddings = embed_tokens(model, encoded.token_ids, request.layer, request.pooling, request.batch_size)
    obs = obs.assign(**{keys.MISSING_SHARE: encoded.missing_share})
    record = _provenance(request, model, unit, inputs)
    if request.out.suffix == ".h5ad":
        _write_h5ad(request.out, model.name, embeddings, obs, record)
    else:
        _write_parquet(request.out, embeddings, obs, record)
    return embeddings.shape[0], embeddings.shape[1]


def _provenance(request: EmbedRequest, model: PretrainedModel, unit: str, inputs: dict[str, Path]) -> dict[str, Any]:
    layer = request.layer if request.layer is not None else model.network.config.n_layers
    parameters = {"unit": unit, "layer": layer, "pooling": request.pooling}
    trained_on = {name: model.provenance.get(name) for name in ("split_id", "split_sha256", "patient_hashes")}
    return {
        **describe_run("embed", parameters, {"weights": request.checkpoint / keys.WEIGHTS, **inputs}),
        **trained_on,
        "model": model.name,
        "checkpoint_sha256": model.weights_sha256,
        "layer": layer,
        "pooling": request.pooling,
    }


def _write_h5ad(
    path: Path, model_name: str, embeddings: NDArray[np.float32], obs: pd.DataFrame, record: dict[str, Any]
) -> None:
    import anndata

    adata = anndata.AnnData(
        obs=obs, obsm={f"X_{model_name}": embeddings}, uns={"provenance": json.dumps(record, indent=2)}
    )
    with atomic_path(path) as partial:
        adata.write_h5ad(partial)


def _write_parquet(path: Path, embeddings: NDArray[np.float32], obs: pd.DataFrame, record: dict[str, Any]) -> None:
    values = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
    table = pa.table(
        {
            keys.SAMPLE_ID: pa.array(obs.index.astype(str), pa.string()),
            keys.MISSING_SHARE: pa.array(obs[keys.MISSING_SHARE], pa.float32()),
            keys.VALUES: values,
        }
    )
    with atomic_path(path) as partial:
        pq.write_table(table.replace_schema_metadata({keys.META_PROVENANCE: json.dumps(record)}), partial)
