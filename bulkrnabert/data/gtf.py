"""A GENCODE or Ensembl GTF as a table of genes: each gene's place, and the length of the union of its exons."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bulkrnabert.data.annotation import GeneAnnotation
from bulkrnabert.data.genes import ENSEMBL_ID, strip_version
from bulkrnabert.data.sources.delimited import open_text, shorten
from bulkrnabert.errors import DataError
from bulkrnabert.logs import progress

logger = logging.getLogger(__name__)

GENE_ID = re.compile(r'gene_id "([^"]*)"')
GENE_NAME = re.compile(r'gene_name "([^"]*)"')
GENE_TYPE = re.compile(r'gene_(?:type|biotype) "([^"]*)"')
GENCODE_RELEASE = re.compile(r"^##description:.*\bversion\s+(\w+)")
ENSEMBL_BUILD = re.compile(r"^#!genome-version\s+(\S+)")
N_COLUMNS = 9


@dataclass
class _Gene:
    """A gene while its lines are read."""

    gene_id: str
    symbol: str = ""
    gene_type: str = ""
    chrom: str = ""
    strand: str = ""
    start: int = 0
    end: int = 0
    exons: set[tuple[int, int]] = field(default_factory=set)


def union_length(exons: Iterable[tuple[int, int]]) -> int:
    """Bases that are in at least one of the exons; first and last base of each are included."""
    n_bases, covered_to = 0, 0
    for start, end in sorted(exons):
        n_bases += max(0, end - max(start - 1, covered_to))
        covered_to = max(covered_to, end)
    return n_bases


def annotation_from_gtf(path: Path) -> GeneAnnotation:
    """Read a GTF, packed or not, gene after gene: memory holds the exons of one gene at a time.

    Genes without a human Ensembl id, and the copies of pseudoautosomal genes on chromosome Y, are left out and counted.

    Raises:
        DataError: no GTF, lines that are cut off or have no coordinates, a gene whose lines are apart, or none at all.
    """
    genes: list[_Gene] = []
    lengths: list[int] = []
    seen: set[str] = set()
    n_other, n_copies = 0, 0
    with open_text(path) as handle:
        release, lines = _read_release(handle)
        for gene in progress(_genes(path, lines), what="read", unit="gene"):
            bare = strip_version(gene.gene_id)
            if not ENSEMBL_ID.match(gene.gene_id):
                n_other += 1
            elif bare is None:
                n_copies += 1
            elif bare in seen:
                raise DataError(
                    f"{path}: lines of gene {bare} stand in two places, expected all lines of a gene together; sort the"
                    " file by gene"
                )
            else:
                seen.add(bare)
                gene.gene_id = bare
                genes.append(gene)
                lengths.append(union_length(gene.exons))
                gene.exons.clear()
    if not genes:
        raise DataError(
            f"{path}: no human Ensembl gene in this file ({n_other} other genes), expected a GTF of GENCODE or Ensembl"
        )
    logger.info(
        "%s: %s, %d genes; left out %d copies on chromosome Y and %d genes without a human Ensembl id",
        path,
        release or "no release named",
        len(genes),
        n_copies,
        n_other,
    )
    return GeneAnnotation(
        tuple(gene.gene_id for gene in genes),
        tuple(gene.symbol for gene in genes),
        tuple(gene.gene_type for gene in genes),
        np.array([length or np.nan for length in lengths], dtype=np.float64),
        tuple(gene.chrom for gene in genes),
        np.array([gene.start for gene in genes], dtype=np.float64),
        np.array([gene.end for gene in genes], dtype=np.float64),
        tuple(gene.strand for gene in genes),
        release=release,
        source=path.name,
    )


def _read_release(handle: Iterable[str]) -> tuple[str, Iterator[tuple[int, str]]]:
    """What the comments at the top say, and the lines below them with their numbers."""
    lines = enumerate(handle, start=1)
    release = ""
    for number, line in lines:
        if line.strip() and not line.startswith("#"):
            return release, _chain(number, line, lines)
        gencode, ensembl = GENCODE_RELEASE.match(line), ENSEMBL_BUILD.match(line)
        if gencode:
            release = f"GENCODE v{gencode.group(1).removeprefix('v')}"
        elif ensembl and not release:
            release = f"Ensembl {ensembl.group(1)}"
    return release, iter(())


def _chain(number: int, line: str, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield number, line
    yield from lines


def _genes(path: Path, lines: Iterator[tuple[int, str]]) -> Iterator[_Gene]:
    gene: _Gene | None = None
    for number, line in lines:
        if line.startswith("#") or not line.strip():
            continue
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != N_COLUMNS:
            raise DataError(
                f"{path}: line {number} has {len(cells)} columns, a GTF has {N_COLUMNS} separated by tabs; found"
                f" {shorten(line.strip())!r}"
            )
        named = GENE_ID.search(cells[8])
        if named is None:
            raise DataError(f'{path}: line {number} names no gene (gene_id "…"); found {shorten(cells[8])!r}')
        if gene is None or gene.gene_id != named.group(1):
            if gene is not None:
                yield gene
            gene = _Gene(named.group(1))
        if cells[2] in ("gene", "exon"):
            _add(path, number, gene, cells)
    if gene is not None:
        yield gene


def _add(path: Path, number: int, gene: _Gene, cells: list[str]) -> None:
    try:
        start, end = int(cells[3]), int(cells[4])
    except ValueError:
        start, end = 0, 0
    if not 1 <= start <= end:
        raise DataError(
            f"{path}: line {number}: start {shorten(cells[3])!r} and end {shorten(cells[4])!r} of gene {gene.gene_id},"
            " expected whole numbers from 1, start first"
        )
    if cells[2] == "exon":
        gene.exons.add((start, end))
    # A GTF without gene lines, as some tools write it, has the place of a gene in its exons.
    gene.start = min(gene.start or start, start)
    gene.end = max(gene.end, end)
    gene.chrom, gene.strand = cells[0], cells[6]
    if not gene.gene_type or not gene.symbol:
        symbol, gene_type = GENE_NAME.search(cells[8]), GENE_TYPE.search(cells[8])
        gene.symbol = gene.symbol or (symbol.group(1) if symbol else "")
        gene.gene_type = gene.gene_type or (gene_type.group(1) if gene_type else "")
