"""How well the probes of each gene are measured, over all methylation sources of a run: `probe_coverage.tsv`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.methylation import MethylationValues


def combined_coverage(sources: Sequence[MethylationValues], genes: GeneVocabulary) -> pd.DataFrame | None:
    """Coverage of the genes of a run, a row a gene, after all values have been read.

    Args:
        sources: Of means over probes; they use the same probes. None of them: no coverage.
        genes: Genes of the rows.
    Returns:
        Columns as of `MethylationValues.coverage`. Shares are means over all samples; a probe was never measured if
        no source has a value of it.
    """
    tables = [(source.n_samples, source.coverage(genes)) for source in sources if source.n_samples]
    if not tables:
        return None
    result = tables[0][1].copy()
    if len(tables) == 1:
        return result
    weights = [n_samples for n_samples, _ in tables]
    shares = np.stack([table[keys.SHARE_MISSING].to_numpy(dtype=np.float64) for _, table in tables])
    result[keys.SHARE_MISSING] = np.average(shares, axis=0, weights=weights)
    never = [[set(text.split(";")) - {""} for text in table[keys.NEVER_MEASURED]] for _, table in tables]
    result[keys.NEVER_MEASURED] = [";".join(sorted(set.intersection(*of_gene))) for of_gene in zip(*never, strict=True)]
    return result
