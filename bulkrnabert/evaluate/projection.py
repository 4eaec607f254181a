"""Embeddings in two dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bulkrnabert.downstream.embeddings import Embeddings

FloatArray = npt.NDArray[np.float64]
# By the method that made them, best first; each of shape (samples, 2).
Planes = Mapping[str, FloatArray]

MIN_SAMPLES_UMAP = 50
UMAP = "UMAP"
PCA = "PCA"


def planes_of(embeddings: Embeddings, seed: int) -> Planes:
    """One encoder's embeddings of all samples in the plane: UMAP from 50 samples on (scanpy, 15 neighbours), and PCA.

    Args:
        embeddings: Of one encoder.
        seed: Of UMAP.
    """
    principal = {PCA: _principal_plane(embeddings.values)}
    if len(embeddings.sample_ids) < MIN_SAMPLES_UMAP:
        return principal
    return {UMAP: _umap(embeddings.values, seed)} | principal


def project(embeddings: Embeddings, planes: Planes) -> dict[str, Any]:
    """The first of the planes, as `metrics.json` holds it."""
    method, plane = next(iter(planes.items()))
    points = [
        {"x": round(float(x), 4), "y": round(float(y), 4), "cohort": cohort}
        for (x, y), cohort in zip(plane, embeddings.cohorts, strict=True)
    ]
    return {"method": method, "split_id": embeddings.split_id, "points": points}


def _umap(values: FloatArray, seed: int) -> FloatArray:
    import scanpy
    from anndata import AnnData

    adata = AnnData(values.astype(np.float32))
    with warnings.catch_warnings():
        # umap-learn says that a seed means one thread: wanted, for the same picture every time.
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)
        scanpy.pp.neighbors(adata, n_neighbors=15, use_rep="X", random_state=seed)
        scanpy.tl.umap(adata, random_state=seed)
    return np.asarray(adata.obsm["X_umap"], dtype=np.float64)


def _principal_plane(values: FloatArray) -> FloatArray:
    """Scores on the first two components, padded with 0 where there are fewer."""
    left, scales, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    scores = (left * scales)[:, :2]
    return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))
