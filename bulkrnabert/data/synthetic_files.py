"""File bodies of a synthetic study, as the GDC publishes them: STAR gene counts and SeSAMe betas."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bulkrnabert.data.synthetic_genes import FloatArray, GeneModel, ProbeModel

STAR_COMMENT = "# gene-model: GENCODE v36"
STAR_COLUMNS = (
    "gene_id",
    "gene_name",
    "gene_type",
    "unstranded",
    "stranded_first",
    "stranded_second",
    "tpm_unstranded",
    "fpkm_unstranded",
    "fpkm_uq_unstranded",
)
TECHNICAL_SD = 0.15
READS_PER_ROW = 3_000
MISSING_SHARE = 0.05
BLOCK_ROWS = 50_000


@dataclass(frozen=True)
class NormalisedCounts:
    """TPM, FPKM and FPKM-UQ of one sample, each of shape (n_rows,)."""

    tpm: FloatArray
    fpkm: FloatArray
    fpkm_uq: FloatArray


def normalise_counts(
    counts: NDArray[np.int64], lengths_bp: FloatArray, is_coding: NDArray[np.bool_], is_autosomal: NDArray[np.bool_]
) -> NormalisedCounts:
    """TPM, FPKM and FPKM-UQ from read counts.

    Args:
        counts: Reads of each row, shape (n_rows,). Not modified.
        lengths_bp: Union-exon lengths, shape (n_rows,).
        is_coding: Protein-coding rows, shape (n_rows,).
        is_autosomal: Rows on chromosomes 1 to 22, shape (n_rows,).
    Source:
        The GDC's mRNA pipeline: TPM over all rows; FPKM over the reads of protein-coding genes; FPKM-UQ over the upper
        quartile of the autosomal protein-coding genes that have reads, times the number of all such genes.
    """
    per_base = counts / lengths_bp
    autosomal = counts[is_coding & is_autosomal]
    upper_quartile = np.quantile(autosomal[autosomal > 0], 0.75)
    return NormalisedCounts(
        tpm=per_base * (1e6 / per_base.sum()),
        fpkm=per_base * (1e9 / counts[is_coding].sum()),
        fpkm_uq=per_base * (1e9 / (upper_quartile * len(autosomal))),
    )


def star_counts_body(rng: np.random.Generator, genes: GeneModel, log2_expression: FloatArray) -> bytes:
    """One STAR-Counts file.

    Counts are Poisson around the expression times the gene length; the other columns follow from the counts.

    Args:
        rng: Generator of this file (sequencing noise).
        genes: The rows.
        log2_expression: Expression of the sample, shape (n_rows,), log2 scale. Not modified.
    """
    n_rows = len(genes.row_ids)
    noisy = np.exp2(log2_expression + rng.normal(0.0, TECHNICAL_SD, n_rows)) * genes.lengths_bp
    noisy[genes.is_par_y] = 0.0
    n_reads = READS_PER_ROW * n_rows * np.exp(rng.normal(0.0, 0.25))
    counts = rng.poisson(noisy / noisy.sum() * n_reads)
    first = rng.binomial(counts, 0.5)

    scaled = normalise_counts(counts, genes.lengths_bp, genes.is_protein_coding, genes.is_autosomal)

    unassigned = (rng.uniform(0.02, 0.15, 4) * n_reads).astype(int)
    lines = [STAR_COMMENT, "\t".join(STAR_COLUMNS)]
    for name, total in zip(("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"), unassigned, strict=True):
        lines.append(f"{name}\t\t\t{total}\t{total}\t{total}\t\t\t")
    columns = (column.tolist() for column in (counts, first, counts - first, scaled.tpm, scaled.fpkm, scaled.fpkm_uq))
    lines.extend(
        "%s\t%s\t%s\t%d\t%d\t%d\t%.4f\t%.4f\t%.4f" % row  # noqa: UP031  (twice as fast as an f-string here)
        for row in zip(genes.row_ids, genes.symbols, genes.gene_types, *columns, strict=True)
    )
    return ("\n".join(lines) + "\n").encode()


def sesame_body(
    rng: np.random.Generator,
    probes: ProbeModel,
    genes: GeneModel,
    log2_expression: FloatArray,
    is_27k: bool,
    missing_share: float = MISSING_SHARE,
) -> bytes:
    """One SeSAMe level 3 beta file: no header, `NA` where the probe failed.

    Args:
        rng: Generator of this file (array noise).
        probes: The rows.
        genes: The genes that the probes are coupled to.
        log2_expression: Expression of the sample, shape (n_rows,), log2 scale. Not modified.
        is_27k: Whether the smaller array was used.
        missing_share: Share of the probes that failed.
    """
    n_probes = len(probes.probe_ids)
    deviation = (log2_expression - genes.baseline_log2)[probes.gene_rows]
    logits = probes.logit_means + probes.slopes * deviation + rng.normal(0.0, 0.4, n_probes)
    betas = 1.0 / (1.0 + np.exp(-logits))
    is_missing = (rng.random(n_probes) < missing_share) | probes.is_never_measured
    is_present = probes.is_on_27k if is_27k else np.ones(n_probes, dtype=bool)
    body = io.BytesIO()
    for start in range(0, n_probes, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        rows = zip(
            probes.probe_ids[block],
            betas[block].tolist(),
            is_missing[block].tolist(),
            is_present[block].tolist(),
            strict=True,
        )
        lines = [f"{probe}\t{'NA' if missing else repr(beta)}\n" for probe, beta, missing, present in rows if present]
        body.write("".join(lines).encode())
    return body.getvalue()


class BodyCache:
    """The bodies that were read last, up to a number of bytes; safe to use from several threads.

    Args:
        max_bytes: Bodies that are kept, together; a larger one is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file_id: str, make: Callable[[], bytes]) -> bytes:
        """The body of a file, made when it is not there."""
        with self._lock:
            if file_id in self._bodies:
                self._bodies.move_to_end(file_id)
                return self._bodies[file_id]
        body = make()
        with self._lock:
            if file_id not in self._bodies and len(body) <= self._max_bytes:
                self._bodies[file_id] = body
                self._n_bytes += len(body)
                while self._n_bytes > self._max_bytes:
                    self._n_bytes -= len(self._bodies.popitem(last=False)[1])
        return body
