"""A raw folder of GTEx as a source of `preprocess`: normal tissue of donors, read from one very wide table."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bulkrnabert import keys
from bulkrnabert.data.access import OPEN
from bulkrnabert.data.clinical import CONFLICTING_LABEL, PATIENT_COLUMNS, Clinical
from bulkrnabert.data.cohort_source import ROW, ROWS_PER_PIECE, InputOptions, Rejected, Source
from bulkrnabert.data.genes import GeneVocabulary, NormalisedGenes, normalise_gene_ids
from bulkrnabert.data.sources.gct import GctIndex, SampleBlocks, extract_gct, index_gct
from bulkrnabert.data.sources.gtex_samples import (
    SUBJECT,
    SUBJECTS_FILE,
    TPM_FILE,
    GtexPlan,
    GtexSample,
    read_subjects,
)
from bulkrnabert.data.sources.raw_plan import GTEX, raw_file_path, read_raw_plan, require_files
from bulkrnabert.data.survival_endpoints import NO_SURVIVAL
from bulkrnabert.data.units import Unit
from bulkrnabert.errors import DataError, VocabularyError

logger = logging.getLogger(__name__)

COHORT = "GTEX"
TISSUE = "tissue"
SEX = {"1": "male", "2": "female"}
CELLS = "Cells - "
CHECKED_GENE = "ENSG00000141510"
CHECKED_VERSIONS = {"v8": "16", "v10": "18"}


class GtexValues:
    """Values of a GCT file, which go into a temporary file on disk when they are first asked for.

    Args:
        index: The file, from `index_gct`.
        annotation: Gene annotation, as `GENCODE v26`.
        samples: Sample column of the GCT for each row.
        scratch: Folder of the temporary file; the system's when None.
    """

    def __init__(self, index: GctIndex, annotation: str, samples: Sequence[int], scratch: Path | None) -> None:
        self._index = index
        self._annotation = annotation
        self._samples = tuple(samples)
        self._scratch = scratch
        self._normalised = normalise_gene_ids(index.gene_ids, str(index.header.path))
        self._genes = _genes_of(index, self._normalised)
        self._blocks: tuple[str, SampleBlocks] | None = None

    @property
    def genes(self) -> GeneVocabulary:
        """Genes of the table, with their symbols; their types are not in it."""
        return self._genes

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """`_PAR_Y` copies."""
        return self._normalised.dropped

    @property
    def annotation(self) -> str:
        """As the release says, `GENCODE v26`."""
        return self._annotation

    @property
    def stored_unit(self) -> Unit:
        """TPM, as the file has it."""
        return Unit("tpm")

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Values of these rows; the file is read once for all cohorts."""
        blocks = self._extracted(vocabulary)
        for start in range(0, len(rows), ROWS_PER_PIECE):
            yield blocks.read(rows[start : start + ROWS_PER_PIECE])

    def _extracted(self, vocabulary: GeneVocabulary) -> SampleBlocks:
        if self._blocks is None or self._blocks[0] != vocabulary.sha256:
            alignment = vocabulary.align(self._genes.gene_ids)
            if alignment.missing:
                raise VocabularyError(
                    f"{len(alignment.missing)} genes of the vocabulary are not in {self._index.header.path}, the first"
                    f" is {alignment.missing[0]}"
                )
            genes = self._normalised.keep_idx[alignment.source_idx]
            logger.info("%s: reading %d genes of %d samples", self._index.header.path, len(genes), len(self._samples))
            self._blocks = None
            blocks = extract_gct(self._index, self._samples, [int(row) for row in genes], self._scratch)
            self._blocks = (vocabulary.sha256, blocks)
        return self._blocks[1]


def _genes_of(index: GctIndex, normalised: NormalisedGenes) -> GeneVocabulary:
    return GeneVocabulary(
        normalised.ids, tuple(index.symbols[row] for row in normalised.keep_idx), ("",) * len(normalised.ids)
    )


def read_gtex_raw(folder: Path, options: InputOptions) -> Source:
    """Read the plan and the phenotypes of a raw folder of GTEx, and the genes of its table.

    All samples of the plan are kept: who downloads GTEx wants normal tissue. Patients are donors; there is no survival,
    whatever the endpoint. Samples of a tissue that is a cell culture are of type `cell_line`, the others `normal`.

    Raises:
        DataError: no complete raw folder of GTEx, or its table is damaged.
        VocabularyError: gene ids are wrong.
    """
    plan = read_raw_plan(folder, GtexPlan)
    require_files(folder, plan.files)
    files = {file.file_id: raw_file_path(folder, file) for file in plan.files}
    missing = [name for name in (TPM_FILE, SUBJECTS_FILE) if name not in files]
    if missing or not plan.samples:
        what = f"no file {missing[0]}" if missing else "no sample"
        raise DataError(f"{folder / keys.PLAN_JSON}: the plan lists {what}; make the folder again with `download`")
    index = index_gct(files[TPM_FILE])
    _warn_of_another_release(index, plan)
    column_of = {sample_id: column for column, sample_id in enumerate(index.header.sample_ids)}
    absent = [sample.sample_id for sample in plan.samples if sample.sample_id not in column_of]
    if absent:
        raise DataError(
            f"{files[TPM_FILE]}: lacks {len(absent)} of the {len(plan.samples)} planned samples, as {absent[0]}; run"
            " the download again"
        )
    # Samples of a cohort lie together in the temporary file, so that each cohort is read in one go.
    ordered = sorted(plan.samples, key=lambda sample: (cohort_of(sample.tissue, plan.cohorts), sample.sample_id))
    samples = pd.DataFrame(
        [
            {
                keys.SAMPLE_ID: sample.sample_id,
                keys.PATIENT_ID: sample.patient_id,
                keys.COHORT: cohort_of(sample.tissue, plan.cohorts),
                keys.PROJECT_ID: cohort_of(sample.tissue, TISSUE),
                keys.SAMPLE_TYPE: keys.CELL_LINE if sample.tissue.startswith(CELLS) else keys.NORMAL,
                keys.SOURCE: GTEX,
                ROW: row,
            }
            for row, sample in enumerate(ordered)
        ]
    )
    rejected = tuple(
        Rejected(
            sample.sample_id,
            sample.patient_id,
            cohort_of(sample.tissue, plan.cohorts),
            files[TPM_FILE].name,
            sample.rule,
            sample.reason,
        )
        for sample in plan.rejected
    )
    logger.info("%s: GTEx %s, %d samples kept, %d rejected", folder, plan.release, len(samples), len(rejected))
    return Source(
        GTEX,
        folder,
        GtexValues(index, plan.annotation, [column_of[sample.sample_id] for sample in ordered], options.scratch_folder),
        samples,
        rejected,
        _read_clinical(files[SUBJECTS_FILE], plan),
        Unit("tpm"),
        OPEN,
    )


def cohort_of(tissue: str, cohorts: str) -> str:
    """Cohort of a tissue: `GTEX`, or with `tissue` as `GTEX-Brain_Amygdala`, which may be a file's name."""
    safe = re.sub(r"[^A-Za-z0-9]+", "_", tissue).strip("_")
    return f"{COHORT}-{safe}" if cohorts == TISSUE and safe else COHORT


def _warn_of_another_release(index: GctIndex, plan: GtexPlan) -> None:
    """The version of TP53 tells the annotations of the releases apart; an own file may be of another one."""
    expected = CHECKED_VERSIONS.get(plan.release)
    found = next((name for name in index.gene_ids if name.startswith(f"{CHECKED_GENE}.")), None)
    if expected is not None and found is not None and found != f"{CHECKED_GENE}.{expected}":
        logger.warning(
            "%s: has %s, but %s (%s) has version %s of this gene; is it of another release?",
            index.header.path,
            found,
            plan.release,
            plan.annotation,
            expected,
        )


def _read_clinical(path: Path, plan: GtexPlan) -> Clinical:
    """One row a donor: sex, age in tens of years, Hardy scale, and the tissue where all samples are of one."""
    by_donor: defaultdict[str, list[GtexSample]] = defaultdict(list)
    for sample in plan.samples:
        by_donor[sample.patient_id].append(sample)
    subjects = {row[SUBJECT]: row for row in read_subjects(path).to_dict("records")}
    unknown = [donor for donor in by_donor if donor not in subjects]
    if len(unknown) == len(by_donor):
        raise DataError(
            f"{path}: lists none of the {len(by_donor)} donors, as {unknown[0]}; give the subject phenotypes of the"
            " same release"
        )
    if unknown:
        logger.info("%s: does not list %d of %d donors, as %s", path, len(unknown), len(by_donor), unknown[0])
    records = []
    for donor, samples in sorted(by_donor.items()):
        row = subjects.get(donor, {})
        tissues = sorted({sample.tissue for sample in samples})
        flags = [NO_SURVIVAL] + ([f"{CONFLICTING_LABEL}:{TISSUE}"] if len(tissues) > 1 else [])
        records.append(
            {
                keys.PATIENT_ID: donor,
                keys.COHORT: cohort_of(samples[0].tissue, plan.cohorts),
                keys.TIME_DAYS: np.nan,
                keys.EVENT: np.nan,
                keys.ENDPOINT: "",
                keys.ENDPOINT_SOURCE: "",
                keys.FLAGS: ";".join(flags),
                "sex": SEX.get(row.get("SEX", ""), ""),
                "age": row.get("AGE", ""),
                "hardy_scale": row.get("DTHHRDY", ""),
                TISSUE: tissues[0] if len(tissues) == 1 else "",
            }
        )
    patients = pd.DataFrame(records, columns=[*PATIENT_COLUMNS, "sex", "age", "hardy_scale", TISSUE])
    return Clinical(patients, {}, frozenset(), has_cohorts=True, source=path.name)
