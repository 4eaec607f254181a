"""Embeddings of an encoder, read back from the file that `embed` wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.errors import DataError, join_problems
from bulkrnabert.provenance import PACKAGE

MATRIX_PREFIX = "X_"


@dataclass(frozen=True)
class Embeddings:
    """What one encoder makes of every sample.

    Attributes:
        split_id: Which outer split the encoder was trained under; `all` if it is not of this study's splits.
        split_sha256: Of the `splits.tsv` that it was trained under; empty if of none.
        sample_ids: A sample each row.
        cohorts: Cohort of each row.
        values: Shape (samples, embedding size), float64.
        model: Kind of the encoder, as `bulkrnabert`.
    """

    split_id: str
    split_sha256: str
    sample_ids: list[str]
    cohorts: list[str]
    values: npt.NDArray[np.float64]
    model: str = keys.BULKRNABERT

    def rows_of(self, sample_ids: Sequence[str], source: str) -> npt.NDArray[np.float64]:
        """Values in the order of `sample_ids`.

        Raises:
            DataError: a sample has no embedding.
        """
        positions = pd.Index(self.sample_ids).get_indexer(pd.Index(sample_ids))
        if (positions < 0).any():
            absent = [name for name, position in zip(sample_ids, positions, strict=True) if position < 0]
            raise DataError(f"{source}: no embedding of {len(absent)} samples, first {absent[0]!r}; embed every cohort")
        return self.values[positions]


def read_embeddings(path: Path) -> Embeddings:
    """Read an `.h5ad` of embeddings.

    Raises:
        DataError: no h5ad, not exactly one `obsm["X_…"]`, no provenance, or a value that is not finite.
    """
    from anndata import read_h5ad

    try:
        adata = read_h5ad(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as h5ad: {error}") from error
    records = adata.uns.get(PACKAGE) or {}
    if "provenance" in adata.uns:
        records = {name: adata.uns["provenance"] for name in adata.obsm if name.startswith(MATRIX_PREFIX)}
    matrices = [name for name in records if name.startswith(MATRIX_PREFIX) and name in adata.obsm]
    problems = []
    if len(matrices) != 1:
        problems.append(
            f"{len(matrices)} matrices in `obsm` named {MATRIX_PREFIX}… with provenance in `uns`; expected one"
        )
    if keys.COHORT not in adata.obs.columns:
        problems.append(f"no `{keys.COHORT}` in `obs`")
    if problems:
        raise DataError(join_problems(f"{path} (expected a file that `embed` wrote)", problems))
    values = np.asarray(adata.obsm[matrices[0]], dtype=np.float64)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DataError(f"{path}: the embedding of sample {adata.obs_names[~finite][0]!r} is not finite")
    provenance = json.loads(str(records[matrices[0]]))
    return Embeddings(
        split_id=provenance.get("split_id") or keys.ALL_SPLIT,
        split_sha256=provenance.get("split_sha256") or "",
        sample_ids=[str(name) for name in adata.obs_names],
        cohorts=[str(name) for name in adata.obs[keys.COHORT]],
        values=values,
        model=provenance.get("model") or keys.BULKRNABERT,
    )


def encoder_of(embeddings: Sequence[Embeddings], paths: Sequence[Path]) -> str:
    """Kind of the encoders, the same for all.

    Raises:
        DataError: they are of several kinds.
    """
    for embedding, path in zip(embeddings, paths, strict=True):
        if embedding.model != embeddings[0].model:
            raise DataError(
                f"{path}: embeddings of {embedding.model}, {paths[0]} of {embeddings[0].model}: probe one at a time"
            )
    return embeddings[0].model
