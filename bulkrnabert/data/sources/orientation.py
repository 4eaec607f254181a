"""Whether a table has its genes in rows or in columns, told from the ids; never guessed."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from bulkrnabert.data.genes import ENSEMBL_ID, PROBE_ID, SYMBOL_ENTREZ_ID
from bulkrnabert.data.sources.delimited import ANNOTATION_COLUMNS, Grid, shorten
from bulkrnabert.errors import DataError

Orientation = Literal["genes-in-rows", "genes-in-columns"]

SAMPLE_BARCODE = re.compile(
    r"^(TCGA-\w{2}-\w{4}(-.*)?|GTEX-\w+(-.*)?|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$"
)
GENE_TITLES = frozenset(
    {"gene", "genes", "gene_id", "gene_name", "ensembl_id", "ensembl", "symbol", "hugo_symbol", "hgnc_symbol", "name"}
)
SAMPLE_TITLES = frozenset(
    {"sample", "samples", "sample_id", "sampleid", "barcode", "patient", "patient_id", "case_id", "file_id"}
)
MOST = 0.5


def genes_are_rows(grid: Grid, known_sample_ids: Collection[str], where: str, fmt: str) -> bool:
    """Tell the orientation of a table.

    Evidence in this order: ids that can only be genes (Ensembl, `SYMBOL|ENTREZ`) or probes (`cg00000029`), ids that can
    only be samples (TCGA and GTEx barcodes, UUIDs, ids of the clinical table), the title of the id column, annotation
    columns beside it.

    Raises:
        DataError: none of these tells; says how to state it.
    """
    known = set(known_sample_ids)
    votes = (
        _versus(_share_of_genes(grid.rows), _share_of_genes(grid.columns)),
        _versus(_share_of_samples(grid.columns, known), _share_of_samples(grid.rows, known)),
        _title_vote(grid),
        True if {name.lower() for name in grid.dropped_columns} & ANNOTATION_COLUMNS else None,
    )
    for vote in votes:
        if vote is not None:
            return vote
    raise DataError(
        f"{where}: cannot tell genes from samples: rows are {_shown(grid.rows)}, columns are {_shown(grid.columns)}."
        f" State it as --format {fmt}:genes-in-rows or --format {fmt}:genes-in-columns (the column `format` of a"
        " samplesheet), or give a clinical table that lists the samples"
    )


def _versus(for_rows: float, for_columns: float) -> bool | None:
    if (for_rows > MOST) == (for_columns > MOST):
        return None
    return for_rows > MOST


def _share_of_genes(ids: Sequence[str]) -> float:
    kinds = (ENSEMBL_ID, SYMBOL_ENTREZ_ID, PROBE_ID)
    return sum(any(kind.match(name) for kind in kinds) for name in ids) / max(1, len(ids))


def _share_of_samples(ids: Sequence[str], known: set[str]) -> float:
    return sum(name in known or bool(SAMPLE_BARCODE.match(name)) for name in ids) / max(1, len(ids))


def _title_vote(grid: Grid) -> bool | None:
    title, across = grid.row_title.strip().lower(), grid.column_title.strip().lower()
    if title in GENE_TITLES or across in SAMPLE_TITLES:
        return True
    if title in SAMPLE_TITLES or across in GENE_TITLES:
        return False
    return None


def _shown(ids: Sequence[str]) -> str:
    return ", ".join(repr(shorten(name)) for name in ids[:3]) + (", …" if len(ids) > 3 else "")
