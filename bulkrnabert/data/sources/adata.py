"""Expression of an AnnData object: which matrix it is read from, and what its genes are called."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert.data.genes import ENSEMBL_ID
from bulkrnabert.data.sources.delimited import SYMBOL_COLUMNS
from bulkrnabert.errors import DataError

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)

MAIN: Final = "X"
RAW: Final = "raw"
LAYERS: Final = "layers/"
ENSEMBL_COLUMNS: Final = ("gene_id", "gene_ids", "ensembl_id", "ensembl", "ensembl_gene_id")
PIECE_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class AdataMatrix:
    """One matrix of an AnnData object, not read yet.

    Attributes:
        values: Shape (samples, genes): dense, sparse, or backed by a file.
        gene_ids: One a column; Ensembl ids of a column of `var` where its names are symbols.
        symbols: One a column, where they stand beside the ids; else empty.
    """

    values: Any
    gene_ids: tuple[str, ...]
    symbols: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and genes."""
        return int(self.values.shape[0]), int(self.values.shape[1])

    def dense(self) -> npt.NDArray[Any]:
        """All values, in their own type; a copy only where they are sparse or in a file."""
        values = self.values.to_memory() if hasattr(self.values, "to_memory") else self.values
        return values.toarray() if hasattr(values, "toarray") else np.asarray(values)

    def dense_float32(self) -> npt.NDArray[np.float32]:
        """All values, some rows at a time, so that no second copy of a large matrix is ever held."""
        n_samples, n_genes = self.shape
        found = np.empty((n_samples, n_genes), dtype=np.float32)
        # A matrix stored gene by gene would be searched as a whole for each piece of rows.
        is_by_gene = getattr(self.values, "format", "") == "csc" and hasattr(self.values, "to_memory")
        values = self.values.to_memory() if is_by_gene else self.values
        n_rows = max(1, PIECE_BYTES // (8 * n_genes))
        for start in range(0, n_samples, n_rows):
            piece = values[start : start + n_rows]
            found[start : start + n_rows] = piece.toarray() if hasattr(piece, "toarray") else np.asarray(piece)
        return found


def is_matrix_name(name: str) -> bool:
    """Whether `choose_matrix` takes it: `X`, `raw` or `layers/<name>`."""
    return name in (MAIN, RAW) or (name.startswith(LAYERS) and len(name) > len(LAYERS))


def choose_matrix(adata: AnnData, name: str, source: str) -> AdataMatrix:
    """The matrix that is asked for; never another one in its place.

    Args:
        adata: Samples x genes, in memory or backed. Not modified.
        name: `X`, `raw` (the object's `raw`, with its own genes) or `layers/<name>`.
        source: What it is called in messages.
    Raises:
        DataError: there is no such matrix (says which there are), it is empty, or it does not fit samples and genes.
    """
    if not is_matrix_name(name):
        raise DataError(f"{source}: no matrix {name!r} in AnnData: name X, raw or layers/NAME")
    if name == RAW:
        values, var = (None, None) if adata.raw is None else (adata.raw.X, adata.raw.var)
    elif name == MAIN:
        values, var = _main(adata), adata.var
    else:
        values, var = adata.layers.get(name.removeprefix(LAYERS)), adata.var
    if values is None or var is None:
        raise DataError(f"{source}: no expression in `{name}`; {_found(adata)}")
    n_samples, n_genes = adata.n_obs, len(var)
    if 0 in (n_samples, n_genes):
        raise DataError(f"{source}: no expression in `{name}` ({n_samples} samples x {n_genes} genes)")
    if tuple(values.shape) != (n_samples, n_genes):
        raise DataError(
            f"{source}: `{name}` has {values.shape[0]} x {values.shape[1]} cells for {n_samples} samples x {n_genes}"
            " genes: a damaged file; write it again"
        )
    gene_ids, symbols = _genes_of_var(source, var)
    return AdataMatrix(values, gene_ids, symbols)


def _main(adata: AnnData) -> Any:
    try:
        return adata.X
    except KeyError:  # backed by a file without X
        return None


def _found(adata: AnnData) -> str:
    names = [MAIN] if _main(adata) is not None else []
    names += [RAW] if adata.raw is not None else []
    names += [f"{LAYERS}{name}" for name in adata.layers]
    if names:
        return f"found {', '.join(names)}: state which one is meant (a file: --format h5ad:{names[0]})"
    embeddings = ", ".join(repr(name) for name in adata.obsm)
    return f"found none{f', only embeddings in obsm: {embeddings}' if embeddings else ''}; put the values into X"


def _genes_of_var(source: str, var: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gene ids, and symbols beside them where there are some.

    Tables that come from scanpy often have symbols for names and Ensembl ids in a column.
    """
    names = tuple(str(name) for name in var.index)
    lower = {str(title).lower(): title for title in var.columns}
    beside = next((lower[title] for title in ENSEMBL_COLUMNS if title in lower), None)
    if beside is not None and not any(ENSEMBL_ID.match(name) for name in names):
        ids = tuple(str(gene_id) for gene_id in var[beside])
        if all(ENSEMBL_ID.match(gene_id) for gene_id in ids):
            logger.info("%s: Ensembl ids from the column %r of var; its names are the symbols", source, beside)
            return ids, names
    named = next((lower[title] for title in SYMBOL_COLUMNS if title in lower), None)
    symbols = () if named is None else tuple("" if pd.isna(name) else str(name) for name in var[named])
    return names, symbols
