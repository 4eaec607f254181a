"""How far embeddings move when genes are missing: the price of a panel, or of another annotation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.data.doctor_findings import DriftPoint
from bulkrnabert.downstream.embed import embed_tokens
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.errors import DataError
from bulkrnabert.keys import MASK_ID
from bulkrnabert.models.encoder import Pooling

FRACTIONS = tuple(tenths / 10 for tenths in range(10))


def embedding_drift(
    model: PretrainedModel,
    token_ids: NDArray[np.uint8],
    generator: np.random.Generator,
    fractions: Sequence[float] = FRACTIONS,
    layer: int | None = None,
    pooling: Pooling = "mean",
    batch_size: int | None = None,
) -> tuple[DriftPoint, ...]:
    """Cosine between each sample's embedding and its embedding with some genes as `<mask>`.

    The genes are drawn at random, for each sample anew; those masked at a smaller fraction stay masked at a greater
    one, so that the curve shows the fraction and not the draw.

    Args:
        model: From `load`.
        token_ids: Shape (samples, genes), in the model's gene order. Not modified.
        generator: Draws the genes.
        fractions: Shares of the genes to mask, in [0, 1).
        layer: As in `embed`.
        pooling: As in `embed`.
        batch_size: As in `embed`.
    Returns:
        One point a fraction, in the order given.
    Raises:
        DataError: there is no sample.
    """
    n_samples, n_genes = token_ids.shape
    if not n_samples:
        raise DataError("no sample to measure the drift of embeddings on")
    rank = generator.random((n_samples, n_genes)).argsort(axis=1).argsort(axis=1)
    whole = embed_tokens(model, token_ids, layer, pooling, batch_size)
    points = []
    for fraction in fractions:
        masked = np.where(rank < round(fraction * n_genes), np.uint8(MASK_ID), token_ids)
        cosine = _cosine(whole, embed_tokens(model, masked, layer, pooling, batch_size))
        low, high = np.percentile(cosine, [5, 95])
        points.append(DriftPoint(fraction, float(cosine.mean()), float(low), float(high), n_samples))
    return tuple(points)


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine: NDArray[np.float64] = (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return cosine
