"""The invented genes and array probes of a synthetic study, and the programmes that regulate them.

Expression of a sample is, on the log2 scale, a baseline of the gene plus the activity of a few programmes (co-regulated
genes) times the gene's loading, plus noise. Programmes come in three kinds: one for each cohort, high in its tumours;
one for normal tissue; and shared ones that vary between patients of every cohort. Two of those drive survival.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

ADVERSE = "adverse"
PROTECTIVE = "protective"
NORMAL_TISSUE = "normal_tissue"
SHARED_PROGRAMMES = ("proliferation", "immune", "stroma", "hypoxia", ADVERSE, PROTECTIVE)

N_PROGNOSTIC_PER_PROGRAMME = 6
COEFFICIENT = 0.12  # log hazard for each standard deviation of one prognostic gene
N_PAR_PAIRS = 4
FIRST_GENE_NUMBER = 900_000  # far above every number that Ensembl has given out: these genes exist nowhere
FIRST_PROBE_NUMBER = 90_000_000
ACTIVITY_SD = 0.8
OWN_COHORT_MEAN = 2.7
OTHER_COHORT_SD = 0.3
BIOLOGICAL_SD = 0.3

_GENE_TYPES = ("protein_coding", "lncRNA", "processed_pseudogene", "miRNA", "misc_RNA")
_GENE_TYPE_SHARES = (0.82, 0.10, 0.05, 0.02, 0.01)


def generator_for(seed: int, *parts: str) -> np.random.Generator:
    """A generator that depends only on the seed and on a name, so that draws can come in any order."""
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, int.from_bytes(digest[:16], "big")]))


def stable_uuid(seed: int, *parts: str) -> str:
    """A UUID that depends only on the seed and on a name."""
    digest = hashlib.sha256("/".join((str(seed), *parts)).encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


@dataclass(frozen=True)
class GeneModel:
    """Genes, one row each in the order of the files, and what decides their expression.

    Attributes:
        row_ids: Versioned Ensembl-like ids, some with `_PAR_Y`; sorted; length n_rows.
        symbols: Gene symbols; not unique, as in the real annotation.
        gene_types: `protein_coding`, `lncRNA`, …
        lengths_bp: Union-exon length, shape (n_rows,).
        is_par_y: Rows of the Y copy of a pseudo-autosomal gene; always zero.
        is_autosomal: Rows that count in the upper quartile of FPKM-UQ.
        baseline_log2: Mean log2 TPM before scaling, shape (n_rows,).
        loadings: Effect of one unit of programme activity in log2, shape (n_rows, n_programmes).
        programmes: Names, in the order of the columns of `loadings`.
        tumor_means: Mean activity in tumours, shape (n_cohorts, n_programmes).
        normal_means: Mean activity in normal tissue, shape (n_cohorts, n_programmes).
        log_hazard_coefficients: Effect of one standard deviation of a gene on the log hazard, shape (n_rows,); zero but
            for the prognostic genes.
        within_cohort_sd: Standard deviation of log2 expression between patients of one cohort, shape (n_rows,).
    """

    row_ids: tuple[str, ...]
    symbols: tuple[str, ...]
    gene_types: tuple[str, ...]
    lengths_bp: FloatArray
    is_par_y: NDArray[np.bool_]
    is_autosomal: NDArray[np.bool_]
    baseline_log2: FloatArray
    loadings: FloatArray
    programmes: tuple[str, ...]
    tumor_means: FloatArray
    normal_means: FloatArray
    log_hazard_coefficients: FloatArray
    within_cohort_sd: FloatArray

    @property
    def is_protein_coding(self) -> NDArray[np.bool_]:
        """Rows that count in the denominator of FPKM, shape (n_rows,)."""
        return np.array([gene_type == "protein_coding" for gene_type in self.gene_types])

    def programme_genes(self, programme: str) -> list[str]:
        """Ids without version of the genes that a programme regulates."""
        column = self.loadings[:, self.programmes.index(programme)]
        return [self.row_ids[row].split(".")[0] for row in np.flatnonzero(column)]


@dataclass(frozen=True)
class ProbeModel:
    """Methylation probes, one row each in the order of the files.

    Attributes:
        probe_ids: Sorted ids (`cg…`, a few `rs…`).
        gene_rows: Row of the coupled gene in the gene model, shape (n_probes,); -1 where there is none.
        slopes: Change of logit beta for one unit of log2 expression, shape (n_probes,); negative at promoters.
        logit_means: Mean logit beta, shape (n_probes,).
        is_on_27k: Probes that the smaller array has too.
        is_never_measured: Probes that are `NA` in every file.
        is_promoter: Probes near the start of their gene, shape (n_probes,).
    """

    probe_ids: tuple[str, ...]
    gene_rows: NDArray[np.int64]
    slopes: FloatArray
    logit_means: FloatArray
    is_on_27k: NDArray[np.bool_]
    is_never_measured: NDArray[np.bool_]
    is_promoter: NDArray[np.bool_]


def _gene_symbols(gene_types: list[str]) -> list[str]:
    return [
        "SYN_RNA" if gene_type == "misc_RNA" else f"SYN{number:05d}" for number, gene_type in enumerate(gene_types, 1)
    ]


def _assign_programmes(
    rng: np.random.Generator, is_candidate: NDArray[np.bool_], n_programmes: int
) -> tuple[FloatArray, list[NDArray[np.int64]]]:
    """Loadings, shape (n_rows, n_programmes), of disjoint programmes that take 60 % of the candidate genes."""
    candidates = rng.permutation(np.flatnonzero(is_candidate))
    members = np.array_split(candidates[: int(0.6 * len(candidates))], n_programmes)
    loadings = np.zeros((len(is_candidate), n_programmes))
    for column, rows in enumerate(members):
        signs = np.where(rng.random(len(rows)) < 0.2, -1.0, 1.0)
        loadings[rows, column] = signs * rng.uniform(0.7, 1.3, len(rows))
    return loadings, members


def build_gene_model(seed: int, n_rows: int, n_cohorts: int, n_par_pairs: int = N_PAR_PAIRS) -> GeneModel:
    """Draw the genes and programmes of a study.

    Args:
        seed: Seed of the study.
        n_rows: Gene rows in a file, `_PAR_Y` rows included.
        n_cohorts: Cohorts, each with a programme of its own.
        n_par_pairs: Pseudo-autosomal genes, which have a second row.
    """
    rng = generator_for(seed, "genes", str(n_rows), str(n_cohorts))
    n_genes = n_rows - n_par_pairs
    numbers = FIRST_GENE_NUMBER + np.sort(rng.choice(60_000 + 2 * n_genes, n_genes, replace=False))
    gene_types = [str(value) for value in rng.choice(_GENE_TYPES, n_genes, p=_GENE_TYPE_SHARES)]
    par_genes = rng.choice(n_genes, n_par_pairs, replace=False)
    for gene in par_genes:
        gene_types[gene] = "protein_coding"
    is_sex_linked = rng.random(n_genes) < 0.05
    is_sex_linked[par_genes] = True
    versions = rng.integers(1, 20, n_genes)
    symbols = _gene_symbols(gene_types)

    is_coding = np.array([gene_type == "protein_coding" for gene_type in gene_types])
    # A fifth of the coding genes and most others are hardly expressed, which gives the zeros of real files; a few
    # (as the mitochondrial genes do) take a large share of all reads.
    is_silent = rng.random(n_genes) < np.where(is_coding, 0.2, 0.6)
    is_abundant = (rng.random(n_genes) < 0.015) & is_coding & ~is_silent
    baseline = np.where(is_silent, rng.normal(-4.0, 2.0, n_genes), rng.normal(5.5, 1.9, n_genes))
    baseline = np.where(is_abundant, rng.normal(14.5, 0.5, n_genes), baseline)
    lengths = np.maximum(np.exp(rng.normal(7.8, 0.7, n_genes)).round(), 60.0)

    programmes = (*(f"cohort_{index + 1}" for index in range(n_cohorts)), NORMAL_TISSUE, *SHARED_PROGRAMMES)
    is_regulated = is_coding & ~is_silent & ~is_abundant
    is_regulated[par_genes] = False
    loadings, members = _assign_programmes(rng, is_regulated, len(programmes))
    tumor_means = rng.normal(0.0, OTHER_COHORT_SD, (n_cohorts, len(programmes)))
    tumor_means[np.arange(n_cohorts), np.arange(n_cohorts)] = OWN_COHORT_MEAN
    for driver in (ADVERSE, PROTECTIVE):  # the same in every cohort, so that risk is not the cancer type in disguise
        tumor_means[:, programmes.index(driver)] = 0.0
    tumor_means[:, n_cohorts] = -1.0
    normal_means = 0.5 * tumor_means
    normal_means[:, n_cohorts] = 2.0

    coefficients = np.zeros(n_genes)
    for driver, direction in ((ADVERSE, 1.0), (PROTECTIVE, -1.0)):
        column = programmes.index(driver)
        rows = members[column][:N_PROGNOSTIC_PER_PROGRAMME]
        coefficients[rows] = direction * np.sign(loadings[rows, column]) * COEFFICIENT

    # The Y copy comes right after its gene, as the sorted ids have it.
    order = np.sort(np.concatenate([np.arange(n_genes), par_genes]))
    is_par_y = np.concatenate([[False], order[1:] == order[:-1]])
    row_ids = tuple(
        f"ENSG{numbers[gene]:011d}.{versions[gene]}" + ("_PAR_Y" if is_copy else "")
        for gene, is_copy in zip(order, is_par_y, strict=True)
    )
    within_sd = np.sqrt((loadings**2).sum(axis=1) * ACTIVITY_SD**2 + BIOLOGICAL_SD**2)
    return GeneModel(
        row_ids=row_ids,
        symbols=tuple(symbols[gene] for gene in order),
        gene_types=tuple(gene_types[gene] for gene in order),
        lengths_bp=lengths[order],
        is_par_y=is_par_y,
        is_autosomal=~is_sex_linked[order],
        baseline_log2=baseline[order],
        loadings=loadings[order],
        programmes=programmes,
        tumor_means=tumor_means,
        normal_means=normal_means,
        log_hazard_coefficients=np.where(is_par_y, 0.0, coefficients[order]),
        within_cohort_sd=within_sd[order],
    )


def build_probe_model(seed: int, n_probes: int, genes: GeneModel) -> ProbeModel:
    """Draw the methylation probes of a study: half at promoters of regulated genes, where methylation silences.

    Args:
        seed: Seed of the study.
        n_probes: Rows in a 450k file.
        genes: The genes that the probes are coupled to.
    """
    rng = generator_for(seed, "probes", str(n_probes), str(len(genes.row_ids)))
    n_rs = max(1, n_probes // 100)
    n_cg = n_probes - n_rs
    numbers = FIRST_PROBE_NUMBER + np.sort(rng.choice(9_000_000, n_cg, replace=False))
    probe_ids = [f"cg{number:08d}" for number in numbers]
    probe_ids += [f"rs{number}" for number in np.sort(rng.choice(900_000, n_rs, replace=False)) + 99_000_000]
    regulated = np.flatnonzero(np.abs(genes.loadings).sum(axis=1) > 0)
    gene_rows = rng.choice(regulated, n_probes)
    gene_rows[n_cg:] = -1
    is_promoter = rng.random(n_probes) < 0.5
    slopes = np.where(is_promoter, -rng.uniform(0.5, 1.2, n_probes), rng.normal(0.0, 0.1, n_probes))
    slopes[n_cg:] = 0.0
    is_never_measured = np.zeros(n_probes, dtype=bool)
    is_never_measured[rng.integers(n_cg)] = True
    return ProbeModel(
        probe_ids=tuple(probe_ids),
        gene_rows=gene_rows,
        slopes=slopes,
        logit_means=np.where(
            rng.random(n_probes) < 0.5, rng.normal(-2.0, 0.7, n_probes), rng.normal(2.0, 0.7, n_probes)
        ),
        is_on_27k=rng.random(n_probes) < 0.4,
        is_never_measured=is_never_measured,
        is_promoter=is_promoter & (gene_rows >= 0),
    )
