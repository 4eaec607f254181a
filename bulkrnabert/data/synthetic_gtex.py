"""A GTEx-like set of normal tissues from the genes of a synthetic study: GCT tables and their annotations."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bulkrnabert.data.synthetic_files import READS_PER_ROW, TECHNICAL_SD
from bulkrnabert.data.synthetic_genes import ACTIVITY_SD, BIOLOGICAL_SD, FIRST_GENE_NUMBER, GeneModel, generator_for
from bulkrnabert.provenance import atomic_path

PREFIX = "GTEx_Analysis_synthetic"
ABSENT_SHARE = 0.05  # genes of the study that the other annotation lacks
N_FOREIGN = 5  # genes that only the other annotation has
VERSIONS_BEHIND = 2
PLATFORM_SD = 0.4  # how the other laboratory's protocol shifts each gene, log2
TISSUES_A_DONOR = 2
AGES = ("20-29", "30-39", "40-49", "50-59", "60-69", "70-79")


@dataclass(frozen=True)
class GtexFiles:
    """Paths of what was written."""

    tpm: Path
    reads: Path
    samples: Path
    subjects: Path


def write_gtex(folder: Path, seed: int, genes: GeneModel, n_donors: int) -> GtexFiles:
    """Write a GTEx-like study: two tissues of each donor, one tissue for each cohort of the study.

    The gene ids are the study's with versions of another release; some genes are missing, a few are new, and every
    gene is shifted as by another protocol. The sample table also lists samples that were not sequenced for expression,
    as the real one does.

    Args:
        folder: Made when it is not there.
        seed: Seed of the study.
        genes: Its genes.
        n_donors: Donors, at least 1.
    """
    rng = generator_for(seed, "gtex", str(n_donors))
    kept = np.flatnonzero(rng.random(len(genes.row_ids)) >= ABSENT_SHARE)
    row_ids = [_other_version(genes.row_ids[row]) for row in kept]
    symbols = [genes.symbols[row] for row in kept]
    foreign = FIRST_GENE_NUMBER - 1 - np.arange(N_FOREIGN)
    row_ids += [f"ENSG{number:011d}.1" for number in foreign]
    symbols += [f"OTHER{number}" for number in range(1, N_FOREIGN + 1)]
    lengths = np.concatenate([genes.lengths_bp[kept], np.full(N_FOREIGN, 1000.0)])
    is_silent = np.concatenate([genes.is_par_y[kept], np.zeros(N_FOREIGN, dtype=bool)])
    shift = rng.normal(0.0, PLATFORM_SD, len(row_ids))

    samples, counts = [], []
    for donor in range(n_donors):
        subject = f"GTEX-SY{donor:03d}"
        tissues = rng.choice(len(genes.normal_means), min(TISSUES_A_DONOR, len(genes.normal_means)), replace=False)
        for order, tissue in enumerate(np.sort(tissues)):
            expression = _tissue(rng, genes, int(tissue))
            level = np.concatenate([expression[kept], np.full(N_FOREIGN, 3.0)]) + shift
            counts.append(_counts(rng, level, lengths, is_silent))
            samples.append(_sample(rng, subject, order, int(tissue), "RNASEQ"))
        samples.append(_sample(rng, subject, TISSUES_A_DONOR, 0, "WES"))
    files = GtexFiles(
        tpm=folder / f"{PREFIX}_gene_tpm.gct.gz",
        reads=folder / f"{PREFIX}_gene_reads.gct.gz",
        samples=folder / f"{PREFIX}_Annotations_SampleAttributesDS.txt",
        subjects=folder / f"{PREFIX}_Annotations_SubjectPhenotypesDS.txt",
    )
    sequenced = [str(sample["SAMPID"]) for sample in samples if sample["SMAFRZE"] == "RNASEQ"]
    reads = np.array(counts)
    per_base = reads / lengths
    tpm = per_base * (1e6 / per_base.sum(axis=1, keepdims=True))
    _write_gct(files.reads, row_ids, symbols, sequenced, reads, "%d")
    _write_gct(files.tpm, row_ids, symbols, sequenced, tpm, "%.6g")
    subjects = [
        {
            "SUBJID": f"GTEX-SY{donor:03d}",
            "SEX": int(rng.integers(1, 3)),
            "AGE": str(rng.choice(AGES)),
            "DTHHRDY": int(rng.integers(0, 5)),
        }
        for donor in range(n_donors)
    ]
    for path, rows in ((files.samples, samples), (files.subjects, subjects)):
        with atomic_path(path) as partial:
            pd.DataFrame(rows).to_csv(partial, sep="\t", index=False, lineterminator="\n")
    return files


def _other_version(row_id: str) -> str:
    gene, _, version = row_id.partition(".")
    number, _, suffix = version.partition("_")
    return f"{gene}.{int(number) + VERSIONS_BEHIND}" + (f"_{suffix}" if suffix else "")


def _tissue(rng: np.random.Generator, genes: GeneModel, tissue: int) -> NDArray[np.float64]:
    means = genes.normal_means[tissue]
    activity = means + rng.normal(0.0, ACTIVITY_SD, len(means))
    expression: NDArray[np.float64] = genes.baseline_log2 + genes.loadings @ activity
    return expression + rng.normal(0.0, BIOLOGICAL_SD, len(expression))


def _counts(
    rng: np.random.Generator, level: NDArray[np.float64], lengths: NDArray[np.float64], is_silent: NDArray[np.bool_]
) -> NDArray[np.int64]:
    expected = np.exp2(level + rng.normal(0.0, TECHNICAL_SD, len(level))) * lengths
    expected[is_silent] = 0.0
    counts: NDArray[np.int64] = rng.poisson(expected / expected.sum() * READS_PER_ROW * len(level))
    return counts


def _sample(rng: np.random.Generator, subject: str, order: int, tissue: int, kind: str) -> dict[str, object]:
    name = f"Synthetic tissue {chr(ord('A') + tissue)}"
    return {
        "SAMPID": f"{subject}-{order + 1:04d}-SM-{'SYN' if kind == 'RNASEQ' else 'WES'}{order}",
        "SMRIN": round(float(rng.uniform(5.5, 9.5)), 1) if kind == "RNASEQ" else None,
        "SMTS": name,
        "SMTSD": f"{name} - Whole",
        "SMTSISCH": int(rng.integers(30, 1200)),
        "SMAFRZE": kind,
    }


def _write_gct(
    path: Path,
    row_ids: Sequence[str],
    symbols: Sequence[str],
    samples: Sequence[str],
    values: NDArray[np.float64] | NDArray[np.int64],
    layout: str,
) -> None:
    """GCT 1.2, packed without a time stamp; `values` has shape (samples, genes)."""
    with atomic_path(path) as partial, partial.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        header = ["#1.2", f"{len(row_ids)}\t{len(samples)}", "\t".join(["Name", "Description", *samples])]
        packed.write(("\n".join(header) + "\n").encode())
        for row_id, symbol, row in zip(row_ids, symbols, values.T.tolist(), strict=True):
            packed.write(("\t".join([row_id, symbol, *(layout % value for value in row)]) + "\n").encode())
