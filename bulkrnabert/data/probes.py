"""Probes of methylation arrays: which are CpG sites, where they lie, and which genes each counts for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bulkrnabert.data.annotation import GeneAnnotation
from bulkrnabert.data.genes import GeneVocabulary, normalise_gene_ids, strip_version
from bulkrnabert.data.sources.delimited import open_text, read_header_line, shorten
from bulkrnabert.errors import DataError, VocabularyError

logger = logging.getLogger(__name__)

# EPIC v2 measures some sites several times: cg00000029_TC21, cg00000029_BC11.
REPLICATE_SUFFIX = r"_[TB][CO]\d+$"
CPG_ID = r"^cg\d+$"
SNP_PROBE, NON_CPG_PROBE, OTHER_PROBE = "snp_probe", "non_cpg_probe", "other_probe"

PROBE_TITLES = ("probe_id", "probe", "probeid", "id", "ilmnid", "cg", "cpg", "composite element ref", "name")
ENSEMBL_TITLES = ("gene_id", "ensembl_gene_id", "ensembl_id", "ensembl", "geneid")
SYMBOL_TITLES = ("symbol", "gene", "gene_symbol", "genesymbol", "hgnc_symbol", "gene_name", "ucsc_refgene_name")
NO_GENE = ("", ".", "-", "*", "NA", "NaN", "nan", "None")
GENE_SEPARATOR = r"[;,]"

WITHOUT_GENE = "probe_without_gene"


@dataclass(frozen=True)
class CpgIds:
    """Array rows as CpG sites.

    Attributes:
        ids: Distinct bare ids, as `cg00000029`, in the order of their first row.
        rows: Array row of each measurement of a site, shape (n_measurements,), int64.
        sites: Position in `ids` of each measurement, shape (n_measurements,), int64; an id on several rows (EPIC v2)
            has several.
        dropped: Rows that measure no CpG, as (rule, id in the file).
    """

    ids: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    sites: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]

    @property
    def n_replicates(self) -> int:
        """Measurements beyond the first of their site."""
        return len(self.rows) - len(self.ids)


def find_cpgs(raw_ids: Sequence[str] | pa.Array) -> CpgIds:
    """Which rows measure a CpG site: `cg` ids, the suffix of replicates stripped; `rs`, `ch` and controls are left out.

    Args:
        raw_ids: Ids as they stand in the file, one a row.
    """
    raw = raw_ids if isinstance(raw_ids, pa.Array) else pa.array(raw_ids, pa.string())
    bare = pc.replace_substring_regex(raw, REPLICATE_SUFFIX, "")
    is_cpg = pc.match_substring_regex(bare, CPG_ID)
    sites = bare.filter(is_cpg).dictionary_encode()
    dropped = tuple((rule_of_probe(name), name) for name in raw.filter(pc.invert(is_cpg)).to_pylist())
    return CpgIds(
        tuple(sites.dictionary.to_pylist()),
        np.flatnonzero(is_cpg.to_numpy(zero_copy_only=False)),
        sites.indices.to_numpy().astype(np.int64),
        dropped,
    )


def average_replicates(
    measured: npt.NDArray[np.float64], sites: npt.NDArray[np.int64], n_sites: int
) -> npt.NDArray[np.float64]:
    """Mean of each site over those of its measurements that are not NaN; NaN where none is.

    Args:
        measured: One number a measurement, shape (n_measurements,). Not modified.
        sites: Site of each measurement, shape (n_measurements,).
        n_sites: Length of the result.
    """
    present = ~np.isnan(measured)
    totals = np.bincount(sites, weights=np.where(present, measured, 0.0), minlength=n_sites)
    counts = np.bincount(sites, weights=present, minlength=n_sites)
    means: npt.NDArray[np.float64] = np.divide(totals, counts, out=np.full(n_sites, np.nan), where=counts > 0)
    return means


def bare_probe_ids(raw: pd.Series) -> pd.Series:
    """Ids without the suffix of EPIC v2's replicates."""
    return raw.str.strip().str.replace(REPLICATE_SUFFIX, "", regex=True)


def rule_of_probe(probe_id: str) -> str:
    """Why a probe that is no CpG is left out."""
    if probe_id.startswith("rs"):
        return SNP_PROBE
    return NON_CPG_PROBE if probe_id.startswith("ch") else OTHER_PROBE


@dataclass(frozen=True)
class ProbeMap:
    """Which probes count for which gene.

    Attributes:
        name: File that it was read from.
        probe_ids: Distinct CpG ids that have a gene, sorted.
        genes: Distinct genes, sorted by id: Ensembl where the map has them, else symbols.
        probe_idx: Probe of each link, shape (n_links,), int64.
        gene_idx: Gene of each link, shape (n_links,), int64; no link stands there twice.
        dropped: Names left out, as (rule, name).
    """

    name: str
    probe_ids: tuple[str, ...]
    genes: GeneVocabulary
    probe_idx: npt.NDArray[np.int64]
    gene_idx: npt.NDArray[np.int64]
    dropped: tuple[tuple[str, str], ...]

    @cached_property
    def n_probes(self) -> npt.NDArray[np.int64]:
        """Probes of each gene, shape (n_genes,)."""
        return np.bincount(self.gene_idx, minlength=len(self.genes))


@dataclass(frozen=True)
class ProbeTable:
    """Columns of a table as text, by lower-case title without a leading `#`."""

    path: Path
    frame: pd.DataFrame

    def first_of(self, titles: Sequence[str]) -> pd.Series | None:
        """The column with the first of these titles that is there."""
        name = next((title for title in titles if title in self.frame), None)
        return None if name is None else self.frame[name]

    def required(self, titles: Sequence[str], what: str) -> pd.Series:
        """The same, or an error that says what was looked for.

        Raises:
            DataError: there is none.
        """
        column = self.first_of(titles)
        if column is None:
            found = ", ".join(repr(shorten(str(title))) for title in self.frame.columns[:12])
            raise DataError(f"{self.path}: no column of {what}: expected one of {', '.join(titles)}; found {found}")
        return column


def read_probe_table(path: Path) -> ProbeTable:
    """Read a large table of text, commas or tabs as its first line tells.

    Raises:
        DataError: no table, or one without rows.
    """
    with open_text(path) as handle:
        line, n_lines = read_header_line(path, handle)
        separator = "\t" if "\t" in line else ","
        handle.seek(0)
        try:
            frame = pd.read_csv(
                handle, sep=separator, dtype=str, keep_default_na=False, na_filter=False, skiprows=n_lines - 1
            )
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise DataError(f"{path}: no regular table: {error}") from error
    if frame.empty:
        raise DataError(f"{path}: a header without rows, expected a row a probe")
    frame.columns = pd.Index([str(title).strip().lstrip("#").lower() for title in frame.columns])
    frame = frame.loc[:, ~frame.columns.duplicated()]
    return ProbeTable(path, frame.reset_index(drop=True))


def read_probe_map(path: Path) -> ProbeMap:
    """Read a probe-to-gene table, as `bulkrnabert annotate-probes` writes it or from elsewhere.

    A row a probe, or a row a probe and gene; a cell may name several genes, separated by `;` or `,`. Titles are known
    by their usual names (`probe_id`, `id`, `IlmnID`, …; `gene_id`, `gene`, `symbol`, `GENESYMBOL`, …). Ensembl ids are
    taken where the table has them, else symbols.

    Raises:
        DataError: no such table, or no probe in it has a gene.
        VocabularyError: Ensembl ids and symbols in one column.
    """
    table = read_probe_table(path)
    probes = bare_probe_ids(table.required(PROBE_TITLES, "probe ids"))
    first = table.first_of(ENSEMBL_TITLES)
    ids = first if first is not None else table.required(SYMBOL_TITLES, "genes")
    symbols = table.first_of(SYMBOL_TITLES) if first is not None else None
    links = _split_genes(probes, ids, symbols)
    is_cpg = links["probe"].str.match(CPG_ID).to_numpy(dtype=bool)
    dropped = [(rule_of_probe(name), name) for name in dict.fromkeys(links["probe"][~is_cpg])]
    links = links[is_cpg]
    has_gene = ~links["gene"].isin(NO_GENE)
    with_gene = set(links["probe"][has_gene])
    dropped += [(WITHOUT_GENE, name) for name in dict.fromkeys(links["probe"][~has_gene]) if name not in with_gene]
    links = links[has_gene]
    if links.empty:
        raise DataError(
            f"{path}: no CpG probe with a gene in {len(table.frame)} rows; expected probe ids as cg00000029 and gene"
            " ids or symbols"
        )
    result = _make_map(path, links, dropped)
    counts = Counter(rule for rule, _ in result.dropped)
    logger.info(
        "%s: %d probes of %d genes (%d links); left out: %s",
        path,
        len(result.probe_ids),
        len(result.genes),
        len(result.probe_idx),
        ", ".join(f"{n} {rule}" for rule, n in sorted(counts.items())) or "none",
    )
    return result


def with_ensembl_ids(probe_map: ProbeMap, annotation: GeneAnnotation) -> ProbeMap:
    """The map with Ensembl ids for its symbols, and with the symbols and types that the annotation knows.

    A symbol that does not name exactly one gene is left out with its links, and listed in `dropped`.

    Raises:
        VocabularyError: none of the symbols is in the annotation, or the annotation has none.
    """
    if probe_map.genes.kind == "ensembl":
        return replace(probe_map, genes=annotation.fill(probe_map.genes))
    resolved = annotation.resolve(probe_map.genes.gene_ids)
    if not resolved.gene_ids:
        raise VocabularyError(
            f"{probe_map.name}: none of its {len(probe_map.genes)} genes, as {probe_map.genes.gene_ids[0]!r}, is a"
            f" symbol of {annotation.source}"
        )
    order = np.argsort(np.array(resolved.gene_ids))
    new_gene = np.full(len(probe_map.genes), -1, dtype=np.int64)
    new_gene[resolved.keep_idx[order]] = np.arange(len(order))
    gene_idx = new_gene[probe_map.gene_idx]
    known = gene_idx >= 0
    used, probe_idx = np.unique(probe_map.probe_idx[known], return_inverse=True)
    symbols = tuple(probe_map.genes.gene_ids[resolved.keep_idx[at]] for at in order)
    ids = tuple(resolved.gene_ids[at] for at in order)
    counts = Counter(rule for rule, _ in resolved.dropped)
    logger.info(
        "%s: %d of %d gene symbols have an Ensembl id in %s; left out: %s",
        probe_map.name,
        len(ids),
        len(probe_map.genes),
        annotation.release or annotation.source,
        ", ".join(f"{n} {rule}" for rule, n in sorted(counts.items())) or "none",
    )
    return ProbeMap(
        probe_map.name,
        tuple(probe_map.probe_ids[at] for at in used),
        annotation.fill(GeneVocabulary(ids, symbols, ("",) * len(ids))),
        probe_idx.astype(np.int64),
        gene_idx[known],
        (*probe_map.dropped, *resolved.dropped),
    )


def _split_genes(probes: pd.Series, ids: pd.Series, symbols: pd.Series | None) -> pd.DataFrame:
    """One row a probe and gene; symbols go with the ids where a cell has as many of them."""
    frame = pd.DataFrame({"probe": probes, "gene": ids.str.split(GENE_SEPARATOR, regex=True)})
    frame["symbol"] = ids.map(lambda _: "") if symbols is None else symbols.str.split(GENE_SEPARATOR, regex=True)
    if symbols is not None:
        unequal = frame["gene"].str.len() != frame["symbol"].str.len()
        frame.loc[unequal, "symbol"] = frame.loc[unequal, "gene"].map(lambda genes: [""] * len(genes))
        frame = frame.explode(["gene", "symbol"], ignore_index=True)
    else:
        frame = frame.explode("gene", ignore_index=True)
    frame["gene"] = frame["gene"].str.strip()
    frame["symbol"] = frame["symbol"].str.strip()
    return frame


def _make_map(path: Path, links: pd.DataFrame, dropped: list[tuple[str, str]]) -> ProbeMap:
    """The links between distinct probes and distinct, cleaned genes; copies on chromosome Y are left out."""
    names = [str(name) for name in pd.unique(links["gene"])]
    bare = {name: strip_version(name) or name for name in names}
    normalised = normalise_gene_ids(dict.fromkeys(bare.values()), str(path))
    unique = list(dict.fromkeys(bare.values()))
    id_of = {unique[at]: gene_id for at, gene_id in zip(normalised.keep_idx, normalised.ids, strict=True)}
    links = links.assign(gene=links["gene"].map(bare).map(id_of)).dropna(subset=["gene"])
    links = links.drop_duplicates(["probe", "gene"])
    probe_idx, probe_ids = pd.factorize(links["probe"], sort=True)
    gene_idx, gene_ids = pd.factorize(links["gene"], sort=True)
    symbols = dict(zip(links["gene"], links["symbol"], strict=True))
    is_symbol = normalised.kind == "symbol"
    genes = GeneVocabulary(
        tuple(gene_ids),
        tuple(gene_id if is_symbol else symbols[gene_id] for gene_id in gene_ids),
        ("",) * len(gene_ids),
    )
    return ProbeMap(
        path.name,
        tuple(probe_ids),
        genes,
        probe_idx.astype(np.int64),
        gene_idx.astype(np.int64),
        (*dropped, *normalised.dropped),
    )
