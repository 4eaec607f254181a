"""DNA methylation of genes: the mean beta over the probes near each gene, sample by sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from bulkrnabert import keys
from bulkrnabert.data.annotation import GeneAnnotation
from bulkrnabert.data.genes import PROBE_ID, GeneVocabulary
from bulkrnabert.data.probes import CpgIds, ProbeMap, average_replicates, find_cpgs, with_ensembl_ids
from bulkrnabert.data.sources.files import ExpressionTable
from bulkrnabert.data.sources.sesame import Arrays, ArraySet
from bulkrnabert.data.units import Unit, stored_unit, to_stored
from bulkrnabert.errors import DataError

logger = logging.getLogger(__name__)

SAMPLES_PER_PIECE = 32
PROBE_TABLE_SHARE = 0.5
BETA = Unit("beta")
METHYLATION_BASES = ("beta", "zscore", "log2_ratio")

NO_PROBE_ON_ARRAY = "no_probe_on_array"
TOO_MANY_MISSING = "too_many_probes_missing"

Betas = npt.NDArray[np.float64]
Result = TypeVar("Result")


@dataclass(frozen=True)
class MissingRules:
    """How many probes may lack a value.

    Attributes:
        min_probes: A gene with fewer measured probes in a sample has no value there.
        max_missing_gene: A gene with a larger share of its probes missing has no value there, in [0, 1].
        max_missing_sample: A sample with a larger share of its probes missing is rejected, in [0, 1].
    """

    min_probes: int = 1
    max_missing_gene: float = 1.0
    max_missing_sample: float = 0.3

    def __post_init__(self) -> None:
        if self.min_probes < 1:
            raise DataError(f"fewest measured probes of a gene: {self.min_probes}; at least 1 is needed for a mean")
        for what, share in (("gene", self.max_missing_gene), ("sample", self.max_missing_sample)):
            if not 0.0 <= share <= 1.0:
                raise DataError(f"largest share of missing probes of a {what}: {share:g}; give a number from 0 to 1")


@dataclass(frozen=True)
class SampleMeans:
    """One sample.

    Attributes:
        values: Mean beta of each gene, shape (n_genes,), float32; NaN where too few probes were measured.
        is_missing: Sites without a value, shape (n_sites,).
    """

    values: npt.NDArray[np.float32]
    is_missing: npt.NDArray[np.bool_]

    @property
    def share_missing(self) -> float:
        """Share of the sites without a value."""
        return float(np.mean(self.is_missing))


class GeneMeans:
    """Means over the probes of each gene that were measured.

    Sums are in float64: a gene has up to 1,500 probes, and the product with a sparse matrix is a few per cent of the
    time that reading a file takes.

    Args:
        probe_map: Which probes count for which gene.
        site_of_probe: Where each probe of the map is among the betas, shape (n_probes,), -1 where it is not.
        n_sites: Number of betas of a sample.
        vocabulary: Genes of the result, in its order; those without a probe are NaN.
        rules: When a gene has too few measured probes.
    """

    def __init__(
        self,
        probe_map: ProbeMap,
        site_of_probe: npt.NDArray[np.int64],
        n_sites: int,
        vocabulary: GeneVocabulary,
        rules: MissingRules,
    ) -> None:
        site_of = site_of_probe[probe_map.probe_idx]
        gene_of = pd.Index(vocabulary.gene_ids).get_indexer(pd.Index(probe_map.genes.gene_ids))[probe_map.gene_idx]
        used = (site_of >= 0) & (gene_of >= 0)
        shape = (len(vocabulary), n_sites)
        self._is_of_gene = sparse.csr_matrix((np.ones(int(used.sum())), (gene_of[used], site_of[used])), shape=shape)
        self._rules = rules
        self.n_sites: npt.NDArray[np.float64] = np.diff(self._is_of_gene.indptr).astype(np.float64)

    def __call__(self, betas: Betas) -> SampleMeans:
        """Means of one sample.

        Args:
            betas: Shape (n_sites,), NaN where not measured. Not modified.
        """
        is_missing = np.isnan(betas)
        totals = self._is_of_gene @ np.where(is_missing, 0.0, betas)
        n_missing = self._is_of_gene @ is_missing.astype(np.float64)
        n_measured = self.n_sites - n_missing
        enough = n_measured >= self._rules.min_probes
        enough &= n_missing <= self._rules.max_missing_gene * self.n_sites
        means = np.divide(totals, n_measured, out=np.full(len(totals), np.nan), where=enough)
        return SampleMeans(means.astype(np.float32), is_missing)

    def n_links_of_missing(self, n_missing_samples: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Sum over the sites of each gene of how many samples lack them, shape (n_genes,)."""
        summed: npt.NDArray[np.float64] = self._is_of_gene @ n_missing_samples.astype(np.float64)
        return summed


class Sites(Protocol):
    """Betas of CpG sites, or of features that stand for themselves."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The sites, in the order of the betas."""

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """What was left out while reading, as (rule, name)."""

    def results(self, rows: Sequence[int], digest: Callable[[Betas], Result]) -> Iterator[Result]:
        """What `digest` makes of the betas of each row, in the order of the rows."""

    def restricted(self, ids: Sequence[str]) -> Sites:
        """The same samples with these sites only."""


@dataclass(frozen=True)
class FileSites:
    """Betas that stay in their SeSAMe files until they are asked for."""

    files: tuple[Path, ...]
    arrays: ArraySet

    @property
    def ids(self) -> tuple[str, ...]:
        """Sites that all arrays have."""
        return self.arrays.ids

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """`rs`, `ch` and control rows."""
        return self.arrays.dropped

    def results(self, rows: Sequence[int], digest: Callable[[Betas], Result]) -> Iterator[Result]:
        """Read the files of these rows."""
        return self.arrays.read_all([self.files[row] for row in rows], digest)

    def restricted(self, ids: Sequence[str]) -> FileSites:
        """The same files with these sites only."""
        return replace(self, arrays=replace(self.arrays, ids=tuple(ids)))


@dataclass(frozen=True)
class TableSites:
    """Betas of a table in memory.

    Attributes:
        table: Samples x probes or features; NaN where not measured.
        unit: What its numbers are.
        cpgs: Its CpG sites, or each column for itself.
    """

    table: ExpressionTable
    unit: Unit
    cpgs: CpgIds

    @property
    def ids(self) -> tuple[str, ...]:
        """Sites of the table."""
        return self.cpgs.ids

    @property
    def dropped(self) -> tuple[tuple[str, str], ...]:
        """What the reader of the table left out, and columns that are no CpG."""
        return (*self.table.dropped, *self.cpgs.dropped)

    def results(self, rows: Sequence[int], digest: Callable[[Betas], Result]) -> Iterator[Result]:
        """Convert row by row."""
        n_sites = len(self.cpgs.ids)
        for row in rows:
            stored = to_stored(self.table.values[row : row + 1, self.cpgs.rows], self.unit).values[0]
            betas = stored.astype(np.float64)
            yield digest(average_replicates(betas, self.cpgs.sites, n_sites) if self.cpgs.n_replicates else betas)

    def restricted(self, ids: Sequence[str]) -> TableSites:
        """The same table with these sites only."""
        new_site = pd.Index(ids).get_indexer(pd.Index(self.cpgs.ids))[self.cpgs.sites]
        order = np.argsort(new_site, kind="stable")[np.count_nonzero(new_site < 0) :]
        cpgs = CpgIds(tuple(ids), self.cpgs.rows[order], new_site[order].astype(np.int64), self.cpgs.dropped)
        return replace(self, cpgs=cpgs)


@dataclass
class _Tally:
    """What is only known once the values have been read."""

    n_samples: int
    n_missing: npt.NDArray[np.int64]
    refused: dict[int, tuple[str, str]]


@dataclass(frozen=True)
class MethylationValues:
    """Mean beta of each gene, made from the betas of its probes when it is asked for.

    Attributes:
        sites: The way to the betas.
        probe_map: Which sites count for which gene.
        genes: Genes of the map that have a site here.
        dropped: What was left out, as (rule, name).
        stored_unit: `beta`; for features that stand for themselves also what else the table holds.
        rules: How many probes may be missing.
        is_aggregated: Whether values are means over probes, so that two sources must use the same probes.
        annotation: The probe-to-gene table.
    """

    sites: Sites
    probe_map: ProbeMap
    genes: GeneVocabulary
    dropped: tuple[tuple[str, str], ...]
    stored_unit: Unit
    rules: MissingRules
    is_aggregated: bool
    annotation: str
    _tally: _Tally = field(repr=False, compare=False)

    @cached_property
    def _site_of_probe(self) -> npt.NDArray[np.int64]:
        return find_sites(self.sites, self.probe_map)

    def _means(self, vocabulary: GeneVocabulary) -> GeneMeans:
        return GeneMeans(self.probe_map, self._site_of_probe, len(self.sites.ids), vocabulary, self.rules)

    @property
    def refused(self) -> dict[int, tuple[str, str]]:
        """Rows with too many missing probes among those that `pieces` has given, as (rule, reason)."""
        return dict(self._tally.refused)

    def pieces(self, rows: Sequence[int], vocabulary: GeneVocabulary) -> Iterator[npt.NDArray[np.float32]]:
        """Means of these rows in their order, NaN where a gene has too few measured probes.

        A row with too many missing probes is NaN throughout, and its reason is in `refused`.
        """
        means = self._means(vocabulary)
        results = self.sites.results(rows, means)
        for start in range(0, len(rows), SAMPLES_PER_PIECE):
            part = rows[start : start + SAMPLES_PER_PIECE]
            piece = np.empty((len(part), len(vocabulary)), dtype=np.float32)
            for target, row in zip(piece, part, strict=True):
                target[:] = self._judged(row, next(results))
            yield piece

    def _judged(self, row: int, sample: SampleMeans) -> npt.NDArray[np.float32]:
        share = sample.share_missing
        if share > self.rules.max_missing_sample:
            reason = f"{share:.1%} of {len(self.sites.ids)} probes have no value, more than"
            self._tally.refused[row] = (TOO_MANY_MISSING, f"{reason} {self.rules.max_missing_sample:.0%}")
            return np.full_like(sample.values, np.nan)
        self._tally.n_samples += 1
        self._tally.n_missing += sample.is_missing
        return sample.values

    @property
    def n_samples(self) -> int:
        """Samples that `pieces` has given and kept."""
        return self._tally.n_samples

    @property
    def never_measured(self) -> tuple[str, ...]:
        """Sites without a value in every sample that `pieces` has given and kept."""
        if not self._tally.n_samples:
            return ()
        return tuple(self.sites.ids[site] for site in np.flatnonzero(self._tally.n_missing == self._tally.n_samples))

    def coverage(self, vocabulary: GeneVocabulary) -> pd.DataFrame:
        """How well the probes of each gene are measured, over the samples that `pieces` has given and kept.

        Args:
            vocabulary: Genes of the rows.
        Returns:
            Columns `gene_id, symbol, n_probes` (in the map), `n_on_array` (and used), `share_missing` (of the cells
            of those probes; empty without probes), `never_measured` (probes without any value, separated by `;`).
        """
        means = self._means(vocabulary)
        n_cells = means.n_sites * self._tally.n_samples
        n_missing = means.n_links_of_missing(self._tally.n_missing)
        in_map = pd.Series(self.probe_map.n_probes, index=list(self.probe_map.genes.gene_ids))
        never = self._never_measured_by_gene()
        share_missing = np.divide(n_missing, n_cells, out=np.full(len(vocabulary), np.nan), where=n_cells > 0)
        return pd.DataFrame(
            {
                keys.GENE_ID: vocabulary.gene_ids,
                keys.SYMBOL: vocabulary.symbols,
                keys.N_PROBES: in_map.reindex(list(vocabulary.gene_ids), fill_value=0).to_numpy(),
                keys.N_ON_ARRAY: means.n_sites.astype(np.int64),
                keys.SHARE_MISSING: share_missing,
                keys.NEVER_MEASURED: [";".join(never.get(gene_id, ())) for gene_id in vocabulary.gene_ids],
            }
        )

    def _never_measured_by_gene(self) -> dict[str, list[str]]:
        missing = pd.Index(self.never_measured)
        positions = pd.Index(self.probe_map.probe_ids).get_indexer(missing)
        by_gene: dict[str, list[str]] = {}
        for link in np.flatnonzero(np.isin(self.probe_map.probe_idx, positions[positions >= 0])):
            gene_id = self.probe_map.genes.gene_ids[self.probe_map.gene_idx[link]]
            by_gene.setdefault(gene_id, []).append(self.probe_map.probe_ids[self.probe_map.probe_idx[link]])
        return by_gene


def find_sites(sites: Sites, probe_map: ProbeMap) -> npt.NDArray[np.int64]:
    """Where each probe of a map is among the sites, shape (n_probes,), -1 where it is not."""
    found: npt.NDArray[np.int64] = pd.Index(sites.ids).get_indexer(pd.Index(probe_map.probe_ids)).astype(np.int64)
    return found


def methylation_values(sites: Sites, probe_map: ProbeMap, rules: MissingRules, where: str) -> MethylationValues:
    """Mean beta of the genes of a map over these sites.

    Args:
        sites: The way to the betas.
        probe_map: Which sites count for which gene.
        rules: How many probes may be missing.
        where: Name of the source, for messages.
    Raises:
        DataError: the map has no probe that the source has.
    """
    known = find_sites(sites, probe_map) >= 0
    if not known.any():
        raise DataError(
            f"{where}: none of its {len(sites.ids)} CpG probes, as {sites.ids[0]}, is in {probe_map.name}; give the"
            " probe-to-gene table of this array"
        )
    n_sites = np.bincount(probe_map.gene_idx[known[probe_map.probe_idx]], minlength=len(probe_map.genes))
    has_site = n_sites > 0
    genes = probe_map.genes.subset(np.flatnonzero(has_site))
    absent = tuple((NO_PROBE_ON_ARRAY, probe_map.genes.gene_ids[gene]) for gene in np.flatnonzero(~has_site))
    logger.info(
        "%s: %d of %d CpG probes have a gene in %s; %d genes have a probe, %d of the table have none here",
        where,
        int(known.sum()),
        len(sites.ids),
        probe_map.name,
        len(genes),
        len(absent),
    )
    return MethylationValues(
        sites, probe_map, genes, (*sites.dropped, *absent), BETA, rules, True, probe_map.name, _new_tally(sites)
    )


def methylation_table(
    table: ExpressionTable,
    unit: Unit,
    probe_map: ProbeMap | None,
    rules: MissingRules | None = None,
    where: str = "table",
    annotation: GeneAnnotation | None = None,
) -> MethylationValues:
    """Methylation of a user's own table.

    A table of genes passes as it is. A table of probes (most ids are `cg…`, `ch…` or `rs…`) becomes means over the
    probes of each gene; without a map its probes are the features.

    Args:
        table: Samples x genes or probes, NaN where not measured.
        unit: What the numbers are: `beta`, `sqrt(beta)`; for features that stand for themselves also a centred scale.
        probe_map: Which probes count for which gene, or None.
        rules: How many probes or genes may be missing; by default up to 30 % of a sample.
        where: Name of the table, for messages.
        annotation: Turns the symbols of a table of genes into Ensembl ids; probes keep their names.
    Raises:
        DataError: a unit that is none of methylation, or a map that does not fit the table.
    """
    rules = rules or MissingRules()
    if unit.base not in METHYLATION_BASES:
        raise DataError(f"{where}: methylation in `{unit}`; known are beta, sqrt(beta), zscore, log2_ratio")
    n_probes = sum(PROBE_ID.match(name) is not None for name in table.gene_ids)
    is_probe_table = n_probes > PROBE_TABLE_SHARE * len(table.gene_ids)
    if is_probe_table and probe_map is not None:
        if unit.base != "beta":
            raise DataError(
                f"{where}: probes in `{unit}` have no mean beta; give the table in beta, or leave --probe-annotation"
                " out to use the probes as features"
            )
        cpgs = find_cpgs(table.gene_ids)
        if not cpgs.ids:
            raise DataError(f"{where}: none of its {len(table.gene_ids)} probes is a CpG (`cg` and digits)")
        return methylation_values(TableSites(table, unit, cpgs), probe_map, rules, where)
    if is_probe_table:
        logger.info("%s: %d probes are used as features, no probe-to-gene table was given", where, n_probes)
    n_features = np.arange(len(table.gene_ids))
    sites = TableSites(table, unit, CpgIds(table.gene_ids, n_features, n_features, ()))
    itself = _map_to_itself(where, table.genes)
    if annotation is not None and not is_probe_table:
        itself = with_ensembl_ids(itself, annotation)
    dropped = (*table.dropped, *itself.dropped)
    return MethylationValues(
        sites, itself, itself.genes, dropped, stored_unit(unit), rules, False, "", _new_tally(sites)
    )


def _map_to_itself(where: str, genes: GeneVocabulary) -> ProbeMap:
    positions = np.arange(len(genes))
    return ProbeMap(where, genes.gene_ids, genes, positions, positions, ())


def _new_tally(sites: Sites) -> _Tally:
    return _Tally(0, np.zeros(len(sites.ids), dtype=np.int64), {})


def share_probes(values: Sequence[MethylationValues], names: Sequence[str], arrays: Arrays) -> list[MethylationValues]:
    """Make several sources use the same probes, since a mean over other probes is another quantity.

    Args:
        values: Sources of one run. Not modified.
        names: Their names, for messages.
        arrays: `refuse` sources with other probes, or `intersect` them.
    Raises:
        DataError: the probes differ and are not to be intersected, or have nothing in common.
    """
    means = [at for at, one in enumerate(values) if one.is_aggregated]
    sets = {at: frozenset(values[at].sites.ids) for at in means}
    if len(set(sets.values())) <= 1:
        return list(values)
    listed = ", ".join(f"{names[at]}: {len(sets[at])} CpG probes" for at in means)
    if arrays == "refuse":
        raise DataError(
            f"methylation arrays are mixed: {listed}, not the same ones; a mean over other probes is another quantity."
            " Preprocess one array at a time, or use only the probes that all have with --arrays intersect"
        )
    common = sorted(frozenset.intersection(*sets.values()))
    if not common:
        raise DataError(f"no CpG probe in common: {listed}; preprocess them in separate runs")
    logger.info("arrays intersected: %s; %d CpG probes remain", listed, len(common))
    return [
        methylation_values(one.sites.restricted(common), one.probe_map, one.rules, names[at]) if at in sets else one
        for at, one in enumerate(values)
    ]
