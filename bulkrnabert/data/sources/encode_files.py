"""Gene quantifications of ENCODE: which files are used, and why every other one is not. No network here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from bulkrnabert.config import FrozenConfig
from bulkrnabert.data.sources.delimited import read_cells
from bulkrnabert.data.sources.raw_plan import RawFile
from bulkrnabert.errors import DataError, PortalAnswerError

Json = dict[str, Any]

ASSEMBLY = "GRCh38"
OUTPUT_TYPE = "gene quantifications"
PIPELINE_LAB = "ENCODE Processing Pipeline"
ASSAYS = ("polyA plus RNA-seq", "total RNA-seq")
ANNOTATION = "V29"
RELEASED = "released"
TISSUE = "tissue"

_ACCESSION = re.compile(r"^[A-Z0-9]{6,20}$")
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_HREF = re.compile(r"^/files/[A-Z0-9]+/@@download/[A-Za-z0-9._-]+$")
# The portal's name of a field, and the column of `metadata.tsv` of its batch downloads.
_COLUMNS = {
    "accession": "File accession",
    "file_format": "File format",
    "output_type": "Output type",
    "assembly": "File assembly",
    "dataset": "Experiment accession",
    "assay_title": "Assay",
    "file_size": "Size",
    "md5sum": "md5sum",
    "genome_annotation": "Genome annotation",
    "status": "File Status",
}
_BIOLOGICAL_REPLICATES = "Biological replicate(s)"


class EncodeFile(RawFile):
    """One file of gene quantifications; its accession is `file_id`.

    Attributes:
        dataset: Accession of its experiment, as `ENCSR000AEM`.
        biological_replicate: Number of the replicate in its experiment.
        assay: As `total RNA-seq`.
        genome_annotation: GENCODE release, as `V29`.
        biosample_type: `tissue`, `cell line`, `primary cell`, …; empty where the portal did not say.
        biosample_term: As `liver` or `K562`.
        biosample_summary: The portal's sentence on the sample.
        date_created: When the file was made, as published.
    """

    dataset: str
    biological_replicate: str
    assay: str
    genome_annotation: str
    biosample_type: str
    biosample_term: str
    biosample_summary: str
    date_created: str


class RejectedEncodeFile(EncodeFile):
    """A file that was found and that the plan leaves out."""

    rule: str
    reason: str


class EncodePlan(FrozenConfig):
    """Content of `plan.json` of an ENCODE folder.

    Attributes:
        api: Where the files were searched; the name of the folder for a batch download.
        annotation: Gene annotation, as `GENCODE V29`.
        assays: Assays that were asked for.
        files: Files to use, sorted by accession.
        rejected: All others, each with rule and reason.
    """

    source: Literal["encode"] = "encode"
    api: str
    annotation: str
    assays: tuple[str, ...]
    files: tuple[EncodeFile, ...]
    rejected: tuple[RejectedEncodeFile, ...]


class _Candidate:
    """A File object, read once."""

    def __init__(self, record: Json, address: str) -> None:
        self.record = record
        biosample = record.get("biosample_ontology")
        biosample = biosample if isinstance(biosample, dict) else {}
        replicates = record.get("biological_replicates")
        self.replicates = [str(one) for one in replicates] if isinstance(replicates, list) else []
        lab = record.get("lab")
        self.lab = str(lab.get("title", "")) if isinstance(lab, dict) else str(lab or "")
        accession = _checked(record, "accession", _ACCESSION)
        href = record.get("href", f"/files/{accession}/@@download/{accession}.tsv")
        if not isinstance(href, str) or not _HREF.match(href):
            raise PortalAnswerError(f"file {accession}: href {href!r}; the portal's answer cannot be trusted")
        self.file = EncodeFile(
            file_id=accession,
            file_name=href.rpartition("/")[2],
            md5=_checked(record, "md5sum", _MD5),
            size=_checked_size(record),
            url=f"{address}{href}",
            dataset=_last_part(record.get("dataset")),
            biological_replicate=",".join(self.replicates),
            assay=str(record.get("assay_title") or ""),
            genome_annotation=str(record.get("genome_annotation") or ""),
            biosample_type=str(biosample.get("classification") or ""),
            biosample_term=str(biosample.get("term_name") or ""),
            biosample_summary=str(record.get("simple_biosample_summary") or ""),
            date_created=str(record.get("date_created") or ""),
        )

    def fault(self, assays: Sequence[str], annotation: str) -> tuple[str, str] | None:
        """The first rule that the file breaks, and how; None when it may be used."""
        file, record = self.file, self.record
        rules = (
            ("released", record.get("status"), (RELEASED,)),
            ("output_type", record.get("output_type"), (OUTPUT_TYPE,)),
            ("file_format", record.get("file_format"), ("tsv",)),
            ("assembly", record.get("assembly"), (ASSEMBLY,)),
            ("genome_annotation", record.get("genome_annotation"), (annotation,)),
            ("assay", record.get("assay_title"), tuple(assays)),
        )
        for rule, found, wanted in rules:
            if found not in wanted:
                return rule, f"{rule} is {found or 'not given'!s}; wanted {' or '.join(wanted)}"
        if self.lab.lower().replace("-", " ").strip("/").removeprefix("labs/") != PIPELINE_LAB.lower():
            return "uniform_pipeline", f"lab is {self.lab or 'not given'}; wanted {PIPELINE_LAB}"
        if record.get("preferred_default", False) is not True:
            return "preferred_default", "not the preferred analysis of its experiment"
        if not file.dataset:
            return "experiment", "no experiment is given"
        if len(self.replicates) != 1:
            found = f"replicates {file.biological_replicate}" if self.replicates else "no replicate"
            return "one_replicate", f"{found}; wanted the file of one biological replicate"
        return None


def _checked(record: Json, key: str, pattern: re.Pattern[str]) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not pattern.match(value):
        raise PortalAnswerError(
            f"file {record.get('accession')!r}: {key} is {value!r}; the portal's answer cannot be trusted"
        )
    return value


def _checked_size(record: Json) -> int:
    value = record.get("file_size")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PortalAnswerError(f"file {record.get('accession')!r}: file_size is {value!r}; expected a number of bytes")
    return value


def _last_part(value: object) -> str:
    """`ENCSR000AEM` from `/experiments/ENCSR000AEM/`, or from itself."""
    return str(value or "").strip("/").rpartition("/")[2]


def select_encode_files(
    records: Iterable[Json], address: str, assays: Sequence[str], annotation: str
) -> tuple[list[EncodeFile], list[RejectedEncodeFile]]:
    """Choose one file for each biological replicate of each experiment, and say why every other one is left out.

    The choice does not depend on the order of the records: of several files of a replicate the one made last is used,
    of equal dates the lowest accession.

    Args:
        records: File objects of the portal. Not modified.
        address: What stands before `href` in an address.
        assays: Assay titles wanted.
        annotation: The one GENCODE release wanted, as `V29`.
    Returns:
        Chosen and rejected files, each sorted by accession.
    Raises:
        PortalAnswerError: a record has no usable accession, md5, size or address.
    """
    rejected: list[RejectedEncodeFile] = []
    usable: list[EncodeFile] = []
    for candidate in (_Candidate(record, address) for record in records):
        fault = candidate.fault(assays, annotation)
        if fault is None:
            usable.append(candidate.file)
        else:
            rejected.append(RejectedEncodeFile(**candidate.file.model_dump(), rule=fault[0], reason=fault[1]))
    chosen: dict[tuple[str, str], EncodeFile] = {}
    by_accession = sorted(usable, key=lambda file: file.file_id)
    for file in sorted(by_accession, key=lambda file: file.date_created, reverse=True):
        winner = chosen.setdefault((file.dataset, file.biological_replicate), file)
        if winner is not file:
            reason = f"{winner.file_id} is used for replicate {file.biological_replicate} of {file.dataset}"
            rejected.append(RejectedEncodeFile(**file.model_dump(), rule="one_file_a_replicate", reason=reason))
    return (
        sorted(chosen.values(), key=lambda file: file.file_id),
        sorted(rejected, key=lambda file: file.file_id),
    )


def read_batch_metadata(path: Path) -> list[Json]:
    """Read the `metadata.tsv` of a batch download as if its rows came from a search.

    Raises:
        DataError: no such table, or a size that is no number.
    """
    header, *rows = read_cells(path)
    missing = [name for name in (*_COLUMNS.values(), _BIOLOGICAL_REPLICATES) if name not in header.cells]
    if missing:
        raise DataError(
            f"{path}: no metadata.tsv of an ENCODE batch download: missing the columns {', '.join(missing)}"
        )
    records: list[Json] = []
    for row in rows:
        cells = dict(zip(header.cells, row.cells, strict=False))
        record: Json = {field: cells.get(column, "") for field, column in _COLUMNS.items()}
        if not str(record["file_size"]).isdigit():
            raise DataError(f"{path}: row {row.number}: size {record['file_size']!r}, expected a number of bytes")
        replicates = re.split(r"[,\s]+", cells.get(_BIOLOGICAL_REPLICATES, ""))
        records.append(
            record
            | {
                "file_size": int(record["file_size"]),
                "biological_replicates": [one for one in replicates if one],
                "lab": {"title": cells.get("Lab", "")},
                "preferred_default": True,  # no such column; the analysis was chosen when the batch was put together
                "biosample_ontology": {
                    "classification": cells.get("Biosample type", ""),
                    "term_name": cells.get("Biosample term name", ""),
                },
            }
        )
    return records
