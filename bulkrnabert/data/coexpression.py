"""What the training samples say about each gene: its usual bin, and which genes go together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_SAMPLES = 4000
N_MARGINAL_COLUMNS = 2
MIN_AXIS_SHARE = 1e-4


@dataclass(frozen=True)
class BinStatistics:
    """Mean and standard deviation of each gene's bins over samples, shape (genes,), float32."""

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]


def bin_statistics(token_ids: npt.NDArray[np.uint8], n_bins: int) -> BinStatistics:
    """Mean and deviation of bins, missing values left out; 0 and 0 for a gene that is missing everywhere.

    Args:
        token_ids: Token ids, shape (samples, genes). Not modified.
        n_bins: Ids from here on are no bins.
    """
    is_bin = token_ids < n_bins
    bins = np.where(is_bin, token_ids, 0).astype(np.float64)
    n_known = np.maximum(is_bin.sum(axis=0), 1)
    mean = bins.sum(axis=0) / n_known
    variance = (np.where(is_bin, bins - mean, 0.0) ** 2).sum(axis=0) / n_known
    return BinStatistics(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))


def coexpression_table(
    token_ids: npt.NDArray[np.uint8],
    statistics: BinStatistics,
    n_bins: int,
    n_columns: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """A start for the gene embedding: genes that vary together get vectors that point the same way.

    The columns are the genes' loadings on the main directions of the standardised bins, scaled by how much each
    direction explains, then the gene's mean bin and deviation; small noise fills what the samples do not span.
    The whole table has mean square 1, as the random start has.

    Args:
        token_ids: Training samples, shape (samples, genes). Not modified.
        statistics: Of the same samples.
        n_bins: Ids from here on are no bins.
        n_columns: Width of the gene embedding.
        rng: Chooses at most 4,000 samples, and draws the filling noise.
    Returns:
        Shape (genes, n_columns), float32.
    Source:
        Takes the place of Gene2Vec in Gélard et al. 2025, section 3.2. Differs: computed from the run's own training
        samples (docs/decisions/0010-gene-embedding-start.md).
    """
    if len(token_ids) > MAX_SAMPLES:
        token_ids = token_ids[np.sort(rng.choice(len(token_ids), MAX_SAMPLES, replace=False))]
    standardised, deviation = _standardised(token_ids, statistics, n_bins), statistics.deviation
    table = rng.normal(scale=0.01, size=(token_ids.shape[1], n_columns))
    n_directions = min(max(n_columns - N_MARGINAL_COLUMNS, 1), len(token_ids))
    table[:, :n_directions] += standardised.T @ _main_directions(standardised, n_directions)
    if n_columns > N_MARGINAL_COLUMNS:
        for column, marginal in ((-2, statistics.mean), (-1, deviation)):
            table[:, column] += _standardise(marginal)
    start: npt.NDArray[np.float32] = (table / np.sqrt(np.mean(table**2))).astype(np.float32)
    return start


def eigengenes(
    token_ids: npt.NDArray[np.uint8],
    statistics: BinStatistics,
    n_bins: int,
    n_directions: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Loadings of genes on the main directions of co-expression: principal axes of the standardised bins.

    Args:
        token_ids: Training samples, shape (samples, genes). Not modified.
        statistics: Of the same samples.
        n_bins: Ids from here on are no bins.
        n_directions: How many; columns beyond what the samples span are 0.
        rng: Chooses at most 4,000 samples.
    Returns:
        Shape (genes, n_directions), float32; columns of length 1, with a definite sign.
    Source:
        After the eigengenes of Langfelder and Horvath (2007), here of all genes together.
    """
    if len(token_ids) > MAX_SAMPLES:
        token_ids = token_ids[np.sort(rng.choice(len(token_ids), MAX_SAMPLES, replace=False))]
    standardised = _standardised(token_ids, statistics, n_bins)
    axes = standardised.T @ _main_directions(standardised, min(n_directions, len(token_ids)))
    lengths = np.linalg.norm(axes, axis=0)
    is_spanned = lengths > MIN_AXIS_SHARE * lengths.max(initial=0.0)
    loadings = np.zeros((token_ids.shape[1], n_directions), dtype=np.float32)
    loadings[:, : axes.shape[1]] = np.where(is_spanned, axes / np.where(is_spanned, lengths, 1.0), 0.0)
    return loadings


def _standardised(token_ids: npt.NDArray[np.uint8], statistics: BinStatistics, n_bins: int) -> npt.NDArray[np.float32]:
    scale = np.where(statistics.deviation > 0, statistics.deviation, 1.0)
    standardised: npt.NDArray[np.float32] = ((token_ids - statistics.mean) / scale).astype(np.float32)
    standardised[(token_ids >= n_bins) | (statistics.deviation == 0)] = 0.0  # missing, or constant: no direction
    return standardised


def _main_directions(standardised: npt.NDArray[np.float32], n_directions: int) -> npt.NDArray[np.float32]:
    """Main directions over samples, shape (samples, n_directions), with a definite sign, of length 1/sqrt(samples)."""
    gram = (standardised @ standardised.T).astype(np.float64)
    _values, vectors = np.linalg.eigh(gram)
    largest_first = vectors[:, ::-1][:, :n_directions]
    heaviest = largest_first[np.abs(largest_first).argmax(axis=0), np.arange(n_directions)]
    signs = np.where(heaviest < 0, -1.0, 1.0)
    directions: npt.NDArray[np.float32] = (largest_first * signs / np.sqrt(len(standardised))).astype(np.float32)
    return directions


def _standardise(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    centred: npt.NDArray[np.float64] = values.astype(np.float64) - float(values.mean())
    deviation = float(centred.std())
    return centred / deviation if deviation > 0 else centred
