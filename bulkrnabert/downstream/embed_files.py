"""Embeddings of files, written with where they come from."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
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
from bulkrnabert.data.omics import join_samples
from bulkrnabert.data.sources.files import parse_format, read_expression
from bulkrnabert.data.tables import (
    cohort_files,
    genes_path,
    iter_cohort_batches,
    modalities_of,
    read_header,
    read_samples,
)
from bulkrnabert.downstream.embed import embed_tokens
from bulkrnabert.downstream.embeddings import MATRIX_PREFIX
from bulkrnabert.downstream.encode import (
    EncodedSamples,
    align_to_model,
    encode_aligned,
    encode_omics,
    join_blocks,
    refuse_unknown_omic,
)
from bulkrnabert.downstream.h5ad_files import OBS_PREFIX, Additions, add_to_h5ad
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import ConfigError
from bulkrnabert.models.encoder import Pooling
from bulkrnabert.provenance import atomic_path, describe_run

logger = logging.getLogger(__name__)

OUT_SUFFIXES = (".h5ad", ".parquet")
OBS_COLUMNS = [keys.PATIENT_ID, keys.COHORT, keys.SAMPLE_TYPE]


@dataclass(frozen=True)
class EmbedRequest:
    """What `embed` is asked for.

    Attributes:
        checkpoint: Checkpoint folder, or a model's id on the hub.
        layer: Layer from 1; the last when None.
        pooling: Over the genes.
        batch_size: Samples at a time; chosen when None.
        out: `.h5ad` or `.parquet` file.
        keeps_table: Write a copy of the table's `.h5ad` file with the embedding added, not the embedding alone.
        revision: Of a model on the hub.
    """

    checkpoint: Path | str
    layer: int | None
    pooling: Pooling
    batch_size: int | None
    out: Path
    keeps_table: bool = False
    revision: str | None = None


@dataclass(frozen=True)
class TableFile:
    """A file with the values of one omic.

    Attributes:
        path: The file.
        unit: What its values are.
        file_format: Its format; None to go by the name.
    """

    path: Path
    unit: str
    file_format: str | None = None


def embed_cohorts(request: EmbedRequest, folder: Path) -> tuple[int, int]:
    """Embed every sample of a cohorts folder, with all that it has of what the model reads.

    Returns:
        The shape (samples, D).
    Raises:
        DataError: the folder has nothing that the model reads.
    """
    model = _load_for(request)
    omics = [omic for omic in model.omics if omic in modalities_of(folder)] or [model.omics[0]]
    joined = join_samples({omic: read_samples(folder, omic) for omic in omics})
    if len(omics) > 1:
        logger.info("%s", joined.describe())
    blocks: dict[str, tuple[NDArray[np.int64], EncodedSamples]] = {}
    inputs: dict[str, Path] = {}
    units: dict[str, str] = {}
    index = pd.Index(joined.samples[keys.SAMPLE_ID])
    for omic in omics:
        files = cohort_files(folder, omic)
        genes = GeneVocabulary.from_tsv(genes_path(folder, omic))
        units[omic] = read_header(next(iter(files.values()))).unit
        order: list[str] = []
        alignment, n_samples = align_to_model(model, genes.gene_ids), int((joined.rows[omic] >= 0).sum())
        block = encode_aligned(model, alignment, _pieces(files, order), n_samples, units[omic], omic)
        blocks[omic] = index.get_indexer(pd.Index(order)).astype(np.int64), block
        inputs |= {f"{omic} {name}": path for name, path in files.items()}
    encoded = join_blocks(model, blocks, len(index))
    obs = joined.samples[OBS_COLUMNS].set_index(pd.Index(joined.samples[keys.SAMPLE_ID], name=keys.SAMPLE_ID))
    return _embed_and_write(request, model, encoded, units, obs, inputs)


def _pieces(files: Mapping[str, Path], order: list[str]) -> Iterator[NDArray[np.float32]]:
    """Values of cohort tables; the ids of their samples are added to `order`."""
    for path in files.values():
        for batch in iter_cohort_batches(path):
            order.extend(batch.samples[keys.SAMPLE_ID])
            yield batch.values


def embed_tables(request: EmbedRequest, files: Mapping[str, TableFile]) -> tuple[int, int]:
    """Embed every sample of a table, or of one a modality, paired by sample id.

    Args:
        request: What is asked for.
        files: By omic.
    Returns:
        The shape (samples, D).
    Raises:
        ConfigError: an omic that the model never saw.
        DataError: a sample is twice in a table, or no sample is in all of them.
    """
    kept = _kept_table(request, files)
    model = _load_for(request)
    for omic in files:
        refuse_unknown_omic(model, omic)
    tables = {omic: read_expression(file.path, file.file_format or "", missing="keep") for omic, file in files.items()}
    named = encode_omics(model, {omic: (tables[omic], file.unit) for omic, file in files.items()})
    obs = pd.DataFrame(index=pd.Index(named.sample_ids, name=keys.SAMPLE_ID))
    for table in tables.values():
        if table.obs is not None:
            beside = table.obs.set_index(pd.Index(table.sample_ids))
            for name in OBS_COLUMNS:
                if name in beside.columns:
                    known = beside[name].reindex(obs.index)
                    obs[name] = known if name not in obs else obs[name].fillna(known)
    units = {omic: file.unit for omic, file in files.items()}
    return _embed_and_write(
        request,
        model,
        named.encoded,
        units,
        obs.fillna(""),
        {f"{omic} table": file.path for omic, file in files.items()},
        kept,
    )


def _kept_table(request: EmbedRequest, files: Mapping[str, TableFile]) -> Path | None:
    if not request.keeps_table:
        return None
    first = next(iter(files.values()))
    is_h5ad = parse_format(first.file_format or "", first.path).name == "h5ad"
    if len(files) > 1 or not is_h5ad or request.out.suffix != ".h5ad":
        raise ConfigError(
            "--keep-table adds the embedding to a copy of the table: give one table in .h5ad, and an --out that ends in"
            " .h5ad"
        )
    return first.path


def _load_for(request: EmbedRequest) -> PretrainedModel:
    if request.out.suffix not in OUT_SUFFIXES:
        raise ConfigError(f"--out {request.out}: expected a name that ends in {' or '.join(OUT_SUFFIXES)}")
    model = load(request.checkpoint, revision=request.revision)
    return model.to("cuda") if torch.cuda.is_available() else model


def _embed_and_write(
    request: EmbedRequest,
    model: PretrainedModel,
    encoded: EncodedSamples,
    units: Mapping[str, str],
    obs: pd.DataFrame,
    inputs: dict[str, Path],
    kept: Path | None = None,
) -> tuple[int, int]:
    embeddings = embed_tokens(model, encoded.token_ids, request.layer, request.pooling, request.batch_size)
    obs = obs.assign(**{keys.MISSING_SHARE: encoded.missing_share})
    record = _provenance(request, model, units, inputs)
    if kept is not None:
        name = f"{MATRIX_PREFIX}{model.name}"
        added = obs[[keys.MISSING_SHARE]].add_prefix(OBS_PREFIX)
        names = tuple(str(sample) for sample in obs.index)
        add_to_h5ad(kept, request.out, Additions(names, name, record, added, {name: embeddings}))
    elif request.out.suffix == ".h5ad":
        _write_h5ad(request.out, model.name, embeddings, obs, record)
    else:
        _write_parquet(request.out, embeddings, obs, record)
    return embeddings.shape[0], embeddings.shape[1]


def _provenance(
    request: EmbedRequest, model: PretrainedModel, units: Mapping[str, str], inputs: dict[str, Path]
) -> dict[str, Any]:
    layer = request.layer if request.layer is not None else model.network.config.n_layers
    parameters = {"unit": dict(units), "layer": layer, "pooling": request.pooling}
    assert model.folder is not None, "loaded from a folder"
    trained_on = {name: model.provenance.get(name) for name in ("split_id", "split_sha256", "patient_hashes")}
    return {
        **describe_run("embed", parameters, {"weights": model.folder / keys.WEIGHTS, **inputs}),
        **trained_on,
        "model": model.name,
        "source": Path(model.source).name if model.source == str(model.folder) else model.source,
        "checkpoint_sha256": model.weights_sha256,
        "layer": layer,
        "pooling": request.pooling,
    }


def _write_h5ad(
    path: Path, model_name: str, embeddings: NDArray[np.float32], obs: pd.DataFrame, record: dict[str, Any]
) -> None:
    import anndata

    adata = anndata.AnnData(
        obs=obs, obsm={f"{MATRIX_PREFIX}{model_name}": embeddings}, uns={"provenance": json.dumps(record, indent=2)}
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
