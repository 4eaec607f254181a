"""Embeddings in two dimensions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from bulkrnabert.downstream.embeddings import Embeddings

MIN_SAMPLES_UMAP = 50


def project(embeddings: Embeddings, seed: int) -> dict[str, Any]:
    """One encoder's embeddings of all samples in the plane, as `metrics.json` holds them.

    UMAP (scanpy, 15 neighbours) from 50 samples on, else the first two principal components.

    Args:
        embeddings: Of one encoder.
        seed: Of UMAP.
    """
    use_umap = len(embeddings.sample_ids) >= MIN_SAMPLES_UMAP
    plane = _umap(embeddings.values, seed) if use_umap else _principal_plane(embeddings.values)
    points = [
        {"x": round(float(x), 4), "y": round(float(y), 4), "cohort": cohort}
        for (x, y), cohort in zip(plane, embeddings.cohorts, strict=True)
    ]
    return {"method": "UMAP" if use_umap else "PCA", "split_id": embeddings.split_id, "points": points}


def _umap(values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    import scanpy
    from anndata import AnnData

    adata = AnnData(values.astype(np.float32))
    with warnings.catch_warnings():
        # umap-learn says that a seed means one thread: wanted, for the same picture every time.
        warnings.filterwarnings("ignore", message="n_jobs value", category=UserWarning)
        scanpy.pp.neighbors(adata, n_neighbors=15, use_rep="X", random_state=seed)
        scanpy.tl.umap(adata, random_state=seed)
    return np.asarray(adata.obsm["X_umap"], dtype=np.float64)


def _principal_plane(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores on the first two components, padded with 0 where there are fewer."""
    left, scales, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    scores = (left * scales)[:, :2]
    return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))
