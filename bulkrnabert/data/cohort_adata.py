"""Cohort tables as AnnData objects, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import Cohorts, genes_path, iter_cohort_batches, read_cohorts, read_header
from bulkrnabert.errors import VocabularyError

if TYPE_CHECKING:
    from anndata import AnnData


def read_cohort(path: str | Path, modality: str = keys.RNASEQ) -> AnnData:
    """Read one cohort table, or all cohorts of a folder, that `bulkrnabert preprocess` wrote.

    Args:
        path: A file `<cohort>.<modality>.parquet`, with its gene list beside it; or the folder of all.
        modality: `rnaseq` or `methylation`, of a folder; a file states its own.
    Returns:
        As `to_anndata`; `adata.uns["unit"]` is the unit to embed with.
    Raises:
        DataError: no such table.
        VocabularyError: the table was written for another gene list than the one beside it.
    """
    path = Path(path)
    if path.is_dir():
        return to_anndata(read_cohorts(path, modality))
    header = read_header(path)
    genes = GeneVocabulary.from_tsv(genes_path(path.parent, header.modality))
    if header.genes_sha256 != genes.sha256:
        raise VocabularyError(
            f"{path}: written for another gene list (sha256 {header.genes_sha256[:12]}…) than the one beside it "
            f"({genes.sha256[:12]}…): copy the table together with its gene list"
        )
    batches = list(iter_cohort_batches(path))
    samples = pd.concat([batch.samples for batch in batches], ignore_index=True)
    values = np.concatenate([batch.values for batch in batches])
    return to_anndata(Cohorts(genes, samples, values, header.unit, header.data_access, header.modality))


def to_anndata(cohorts: Cohorts) -> AnnData:
    """Cohorts as an AnnData object; values are not copied.

    Args:
        cohorts: From `read_cohorts`.
    Returns:
        `X` float32, samples x genes, NaN where a gene was not measured; `obs` the sample columns, by sample id; `var`
        symbol and type, by gene id; `uns`: `unit`, `modality`, `data_access`, `gene_list_sha256`.
    """
    from anndata import AnnData

    ids = pd.Index(cohorts.samples[keys.SAMPLE_ID].astype(str), name=keys.SAMPLE_ID)
    obs = cohorts.samples.drop(columns=keys.SAMPLE_ID).set_axis(ids, axis=0)
    genes = cohorts.genes
    var = pd.DataFrame(
        {keys.SYMBOL: list(genes.symbols), keys.GENE_TYPE: list(genes.gene_types)},
        index=pd.Index(genes.gene_ids, name=keys.GENE_ID),
    )
    uns = {
        "unit": cohorts.unit,
        "modality": cohorts.modality,
        "data_access": cohorts.data_access,
        "gene_list_sha256": genes.sha256,
    }
    return AnnData(cohorts.values, obs=obs, var=var, uns=uns)
