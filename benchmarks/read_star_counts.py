"""How fast STAR-Counts files are read and aligned, against a plain pandas loop, both in one run.

Makes full-size files (60,660 gene rows, about 4 MB each) in a temporary folder, reads them both ways, checks that the
numbers are the same, and prints files a second, the ratio, and the growth of memory with the number of files.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.sources.star import COLUMNS, StarReader, read_star_genes

N_GENES = 60_660
N_PAR_Y = 44
N_VOCABULARY = 19_062


def write_file(path: Path, seed: int) -> None:
    """Write a file of the size and shape that the GDC serves."""
    generator = np.random.default_rng(seed)
    tpm = np.where(generator.random(N_GENES) < 0.4, 0.0, generator.lognormal(0.0, 2.0, N_GENES))
    lines = ["# gene-model: GENCODE v36", "\t".join(COLUMNS)]
    lines += [f"{name}\t\t\t1\t2\t3\t\t\t" for name in ("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous")]
    for gene in range(N_GENES):
        is_copy = gene < 2 * N_PAR_Y and gene % 2 == 1
        gene_id = f"ENSG{gene - is_copy:011}.{1 + (gene - is_copy) % 20}{'_PAR_Y' if is_copy else ''}"
        count = int(tpm[gene] * 50)
        lines.append(
            f"{gene_id}\tGENE{gene}\tprotein_coding\t{count}\t{count // 2}\t{count - count // 2}\t{tpm[gene]:.4f}"
            f"\t{tpm[gene] / 3.875:.4f}\t{tpm[gene] / 4.146:.4f}"
        )
    path.write_text("\n".join(lines) + "\n")


def read_plainly(paths: list[Path], gene_ids: tuple[str, ...]) -> np.ndarray:
    """What a careful analyst writes: read, drop the extra rows, strip versions, reindex."""
    rows = []
    for path in paths:
        table = pd.read_csv(path, sep="\t", comment="#")
        table = table[~table["gene_id"].str.startswith("N_") & ~table["gene_id"].str.endswith("_PAR_Y")]
        table.index = pd.Index(table["gene_id"].str.replace(r"\.\d+$", "", regex=True))
        rows.append(table["tpm_unstranded"].reindex(list(gene_ids)).to_numpy(dtype=np.float32))
    return np.stack(rows)


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, compare, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16, help="distinct files to make (about 4 MB each)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the best of each reader counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.tsv" for number in range(arguments.files)]
        for number, path in enumerate(paths):
            write_file(path, number)
        first = read_star_genes(paths[0])
        chosen = np.linspace(0, len(first.genes) - 1, N_VOCABULARY).astype(int)
        vocabulary: GeneVocabulary = first.genes.subset(chosen)

        reader = StarReader(first, vocabulary)
        ours = np.concatenate(list(reader.batches(paths)))
        memory_once = peak_mib()
        for _ in reader.batches(paths * 8):
            pass
        memory_eight_times = peak_mib()

        fast, plain = [], []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            for _ in StarReader(first, vocabulary).batches(paths):
                pass
            fast.append(time.perf_counter() - start)
            start = time.perf_counter()
            theirs = read_plainly(paths, vocabulary.gene_ids)
            plain.append(time.perf_counter() - start)
        np.testing.assert_array_equal(ours, theirs)
    print(
        json.dumps(
            {
                "files": arguments.files,
                "rows_a_file": N_GENES,
                "genes": N_VOCABULARY,
                "ours_files_per_s": round(arguments.files / min(fast), 1),
                "plain_files_per_s": round(arguments.files / min(plain), 1),
                "ratio": round(min(plain) / min(fast), 1),
                "peak_mib": round(memory_once, 1),
                "peak_mib_eight_times_the_files": round(memory_eight_times, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
