"""What `preprocess` works on: a source of samples, with a way to their values and a reason for all that is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.annotation import GeneAnnotation
from bulkrnabert.data.clinical import Clinical
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.sources.sesame import Arrays
from bulkrnabert.data.sources.star import StarGenes, StarReader
from bulkrnabert.data.survival_endpoints import DEFAULT_POLICY, SurvivalPolicy
from bulkrnabert.data.units import Unit, stored_unit, to_stored
from bulkrnabert.errors import VocabularyError

logger = logging.getLogger(__name__)

ROW = "row"
ROWS_PER_PIECE = 64
# A clinical table that lists fewer of a table's samples is one of other samples.
MIN_LISTED_SHARE = 0.1

NORMAL_TISSUE = "normal_tissue"


@dataclass(frozen=True)
class Rejected:
    """A sample that is left out of a modality, and why; the columns of `rejected.tsv`."""

    sample_id: str
    patient_id: str
    cohort: str
    file: str
    rule: str
    reason: str
    modality: str = keys.RNASEQ


class ExpressionValues(Protocol):
    """Values of the samples of one source, in the stored unit and the order of a vocabulary."""

    @property
    def genes(self) -> GeneVocabulary:
        """Genes of the source."""

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """Genes left out while reading, as (rule, name)."""

    @property
    def annotation(self) -> str:
        """Where the gene ids come from, if the files say so."""

    @property
    def stored_unit(self) -> Unit:
        """Unit of what `pieces` gives."""

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Values of these rows in their order, shape (some, n_vocabulary) a piece; the source has all these genes."""


@dataclass(frozen=True)
class StarValues:
    """Values that stay in their STAR-Counts files until they are asked for."""

    files: tuple[Path, ...]
    first: StarGenes

    @property
    def genes(self) -> GeneVocabulary:
        """Genes of the first file."""
        return self.first.genes

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """Summary rows and `_PAR_Y` copies."""
        return self.first.normalised.dropped

    @property
    def annotation(self) -> str:
        """As the comment line says, `GENCODE v36`."""
        return self.first.annotation

    @property
    def stored_unit(self) -> Unit:
        """TPM, as the files have it."""
        return Unit("tpm")

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Read the files of these rows."""
        yield from StarReader(self.first, vocabulary).batches([self.files[row] for row in rows])


@dataclass(frozen=True)
class TableValues:
    """Values of a table in memory, converted piece by piece.

    Attributes:
        table: Samples x genes, NaN where a value is missing.
        unit: What its numbers are.
        gene_lengths: Bases of each gene of the table, for counts.
        dropped: What was left out, as (rule, name).
        annotation: Where the gene ids come from, if somebody said so.
        renamed: Ensembl ids for the symbols of the table, where they have been looked up.
    """

    table: ExpressionTable
    unit: Unit
    gene_lengths: npt.NDArray[np.float64] | None
    dropped: tuple[tuple[str, str], ...]
    annotation: str = ""
    renamed: RenamedGenes | None = None

    @property
    def genes(self) -> GeneVocabulary:
        """Genes of the table."""
        return self.renamed.genes if self.renamed else self.table.genes

    @property
    def stored_unit(self) -> Unit:
        """What the unit becomes."""
        return stored_unit(self.unit, self.gene_lengths is not None)

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Convert over all genes of the table, then align: TPM is a share of the whole."""
        alignment = vocabulary.align(self.genes.gene_ids)
        n_clipped = 0
        for start in range(0, len(rows), ROWS_PER_PIECE):
            part = self.table.values[list(rows[start : start + ROWS_PER_PIECE])]
            stored = to_stored(part, self.unit, self.gene_lengths)
            n_clipped += stored.n_clipped
            yield alignment.apply(stored.values[:, self.renamed.keep_idx] if self.renamed else stored.values)
        if n_clipped:
            logger.info("%d values just below zero (as %s) were set to zero", n_clipped, self.unit.linear)


@dataclass(frozen=True)
class RenamedGenes:
    """Genes of a table under other ids.

    Attributes:
        genes: Those that have one.
        keep_idx: Column of the table of each, shape (n_genes,).
    """

    genes: GeneVocabulary
    keep_idx: npt.NDArray[np.int64]


def with_ensembl_ids(values: TableValues, annotation: GeneAnnotation, where: str) -> TableValues:
    """The table with Ensembl ids for its symbols; conversion to TPM still runs over all of its genes.

    A symbol that does not name exactly one gene is left out and listed, never guessed.

    Args:
        values: A table of symbols. Not modified.
        annotation: Where the ids come from.
        where: Name of the table, for messages.
    Raises:
        VocabularyError: none of the symbols is known.
    """
    symbols = values.table.gene_ids
    resolved = annotation.resolve(symbols)
    name = annotation.release or annotation.source
    if not resolved.gene_ids:
        raise VocabularyError(
            f"{where}: none of its {len(symbols)} gene names, as {symbols[0]!r}, is a symbol of {name}; check that the"
            " names are human gene symbols"
        )
    logger.info(
        "%s: %d of %d symbols have an Ensembl id in %s, %d are left out",
        where,
        len(resolved.gene_ids),
        len(symbols),
        name,
        len(resolved.dropped),
    )
    kept = tuple(symbols[position] for position in resolved.keep_idx)
    genes = annotation.fill(GeneVocabulary(resolved.gene_ids, kept, ("",) * len(kept)))
    return replace(
        values,
        dropped=(*values.dropped, *resolved.dropped),
        annotation=f"symbols through {name}",
        renamed=RenamedGenes(genes, resolved.keep_idx),
    )


@dataclass(frozen=True)
class Source:
    """One raw folder or one table.

    Attributes:
        label: `gdc`, or the name of the file.
        where: Its path, for messages.
        values: The way to the values; `row` of `samples` counts its rows.
        samples: The six sample columns and `row`, one row a sample that is kept.
        rejected: Samples that are not.
        clinical: Clinical data of the patients.
        unit: What the numbers were said to be.
        data_access: `open`, `controlled` or `local`.
        modality: `rnaseq` or `methylation`.
    """

    label: str
    where: Path
    values: ExpressionValues
    samples: pd.DataFrame
    rejected: tuple[Rejected, ...]
    clinical: Clinical
    unit: Unit
    data_access: str
    modality: str = keys.RNASEQ


@dataclass(frozen=True)
class InputOptions:
    """How inputs are read.

    Attributes:
        endpoint: Survival endpoint: `OS`, `PFI`, `DSS` or `DFI`.
        cohort_column: Column of clinical tables that holds the cohort; empty to ignore it.
        use_normals: Whether normal tissue of the GDC and of own tables is kept; GTEx and ENCODE always keep theirs.
        gene_lengths: File of gene lengths, which turn counts into TPM.
        annotation: Genes with their symbols, types and lengths; lengths turn counts into TPM as well.
        probe_annotation: Probe-to-gene table of methylation arrays.
        arrays: Several methylation arrays in a run: refused, or only the probes that all have are used.
        max_missing_probes: A methylation sample with a larger share of its probes missing is rejected.
        survival: What becomes of odd times.
        cdr: File of the TCGA clinical data resource, which then gives the endpoint of TCGA patients.
        merge: Cohorts to merge, as `GBMLGG` or `NAME=A+B`.
        scratch_folder: Folder for temporary files; the system's when None.
    """

    endpoint: str = "OS"
    cohort_column: str = keys.COHORT
    use_normals: bool = False
    gene_lengths: Path | None = None
    annotation: GeneAnnotation | None = None
    probe_annotation: Path | None = None
    arrays: Arrays = "refuse"
    max_missing_probes: float = 0.3
    survival: SurvivalPolicy = DEFAULT_POLICY
    cdr: Path | None = None
    merge: tuple[str, ...] = ()
    scratch_folder: Path | None = None


def drop_normals(
    samples: pd.DataFrame, rejected: list[Rejected], options: InputOptions, file_of: Callable[[int], str]
) -> pd.DataFrame:
    """Leave normal tissue out unless it was asked for; what is left out is added to `rejected`.

    Args:
        samples: The sample columns and `row`. Not modified.
        rejected: List to extend.
        options: Whether normal tissue is kept.
        file_of: Name of the file of a row.
    """
    if options.use_normals:
        return samples
    normal = samples[keys.SAMPLE_TYPE] == keys.NORMAL
    for sample in samples[normal].to_dict("records"):
        rejected.append(
            Rejected(
                sample[keys.SAMPLE_ID],
                sample[keys.PATIENT_ID],
                sample[keys.COHORT],
                file_of(sample[ROW]),
                NORMAL_TISSUE,
                "normal tissue, kept with --normals",
            )
        )
    return samples[~normal].reset_index(drop=True)
