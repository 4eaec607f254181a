"""A raw folder of ENCODE as a source of `preprocess`: cell lines, primary cells and tissues, one file a replicate."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.access import OPEN
from bulkrnabert.data.clinical import CONFLICTING_LABEL, PATIENT_COLUMNS, Clinical
from bulkrnabert.data.cohort_source import ROW, InputOptions, Rejected, Source
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.encode_files import TISSUE, EncodeFile, EncodePlan
from bulkrnabert.data.sources.raw_plan import ENCODE, raw_file_path, read_raw_plan, require_files
from bulkrnabert.data.sources.rsem import RsemGenes, RsemReader, read_rsem_genes
from bulkrnabert.data.survival_endpoints import NO_SURVIVAL
from bulkrnabert.data.units import Unit
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

COHORT = "ENCODE"
LABELS = ("biosample_type", "biosample_term", "biosample_summary", "assay")


@dataclass(frozen=True)
class RsemValues:
    """Values that stay in their RSEM files until they are asked for."""

    files: tuple[Path, ...]
    first: RsemGenes
    annotation: str

    @property
    def genes(self) -> GeneVocabulary:
        """Genes of the first file."""
        return self.first.genes

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """tRNAs, spike-ins and `_PAR_Y` copies."""
        return self.first.dropped

    @property
    def stored_unit(self) -> Unit:
        """TPM, as the files have it."""
        return Unit("tpm")

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Read the files of these rows."""
        yield from RsemReader(self.first, vocabulary).batches([self.files[row] for row in rows])


def read_encode_raw(folder: Path, options: InputOptions) -> Source:  # noqa: ARG001 - as the readers of other portals
    """Read the plan of a raw folder of ENCODE, and find its files.

    A sample is a file; the replicates of an experiment share its accession as their patient, so that no split parts
    them. All samples of the plan are kept. There is no survival, whatever the endpoint. Tissue is of type `normal`,
    everything else (cell lines, primary cells, cells differentiated in vitro, organoids, and files without a biosample
    type) of type `cell_line`.

    Raises:
        DataError: no complete raw folder of ENCODE, or its first file is damaged.
        VocabularyError: gene ids are wrong.
    """
    plan = read_raw_plan(folder, EncodePlan)
    if not plan.files:
        raise DataError(f"{folder / keys.PLAN_JSON}: the plan lists no file; make the folder again with `download`")
    require_files(folder, plan.files)
    paths = tuple(raw_file_path(folder, file) for file in plan.files)
    untold = [file.file_id for file in plan.files if not file.biosample_type]
    if untold:
        logger.info("%s: %d files without a biosample type count as cell lines, as %s", folder, len(untold), untold[0])
    samples = pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: file.file_id,
                keys.PATIENT_ID: file.dataset,
                keys.COHORT: COHORT,
                keys.PROJECT_ID: COHORT,
                keys.SAMPLE_TYPE: keys.NORMAL if file.biosample_type == TISSUE else keys.CELL_LINE,
                keys.SOURCE: ENCODE,
                ROW: row,
            }
            for row, file in enumerate(plan.files)
        ]
    )
    rejected = tuple(
        Rejected(file.file_id, file.dataset, COHORT, file.file_name, file.rule, file.reason) for file in plan.rejected
    )
    logger.info("%s: ENCODE %s, %d samples kept, %d rejected", folder, plan.annotation, len(samples), len(rejected))
    return Source(
        ENCODE,
        folder,
        RsemValues(paths, read_rsem_genes(paths[0]), plan.annotation),
        samples,
        rejected,
        _clinical(plan.files),
        Unit("tpm"),
        OPEN,
    )


def _clinical(files: Sequence[EncodeFile]) -> Clinical:
    """One row an experiment, with what is known of its biosample; a label that its replicates dispute is empty."""
    of_dataset: defaultdict[str, list[EncodeFile]] = defaultdict(list)
    for file in files:
        of_dataset[file.dataset].append(file)
    records = []
    for dataset in sorted(of_dataset):
        record: dict[str, object] = {keys.PATIENT_ID: dataset, keys.COHORT: COHORT}
        record |= {keys.TIME_DAYS: np.nan, keys.EVENT: np.nan, keys.ENDPOINT: "", keys.ENDPOINT_SOURCE: ""}
        flags = [NO_SURVIVAL]
        for label in LABELS:
            said = sorted({str(getattr(file, label)) for file in of_dataset[dataset]} - {""})
            record[label] = said[0] if len(said) == 1 else ""
            if len(said) > 1:
                flags.append(f"{CONFLICTING_LABEL}:{label}")
        records.append(record | {keys.FLAGS: ";".join(flags)})
    patients = pd.DataFrame(records, columns=[*PATIENT_COLUMNS, *LABELS])
    return Clinical(patients, {}, frozenset(), has_cohorts=True, source=keys.PLAN_JSON)
