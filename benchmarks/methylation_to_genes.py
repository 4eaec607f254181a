"""How fast SeSAMe beta files become gene means, against a plain pandas loop, both in one run.

Makes full-size files (486,427 probe rows, about 13 MB each) in a temporary folder, averages them to genes both ways,
checks that the numbers are the same, and prints files a second, the ratio, and the growth of memory with the number of
files.
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

from bulkrnabert.data.methylation import FileSites, MissingRules, methylation_values
from bulkrnabert.data.probes import read_probe_map
from bulkrnabert.data.sources.sesame import find_arrays

N_ROWS = 486_427
N_RS = 59
N_CH = 3_000
N_GENES = 20_000
SHARE_WITH_GENE = 0.75
SHARE_NEVER_MEASURED = 0.12
SHARE_MISSING = 0.02


def probe_ids() -> list[str]:
    """Sorted ids as on a 450k array: `cg`, then `ch`, then `rs`."""
    numbers = np.sort(np.random.default_rng(0).choice(30_000_000, N_ROWS - N_RS - N_CH, replace=False))
    ids = [f"cg{number:08}" for number in numbers]
    ids += [f"ch.{1 + number % 22}.{number * 1_000:07}F" for number in range(N_CH)]
    return ids + [f"rs{1_000_000 + number}" for number in range(N_RS)]


def write_file(path: Path, ids: list[str], is_never: np.ndarray, seed: int) -> None:
    """Write a file of the size and shape that the GDC serves."""
    generator = np.random.default_rng(seed)
    betas = generator.beta(0.4, 0.5, N_ROWS).tolist()
    missing = (is_never | (generator.random(N_ROWS) < SHARE_MISSING)).tolist()
    rows = (f"{name}\t{'NA' if gone else f'{beta:.15g}'}" for name, beta, gone in zip(ids, betas, missing, strict=True))
    path.write_text("\n".join(rows) + "\n")


def write_probe_map(path: Path, ids: list[str]) -> None:
    """Write a table in which three quarters of the CpGs have a gene, and some have two."""
    generator = np.random.default_rng(1)
    cpgs = np.array([name for name in ids if name.startswith("cg")])
    cpgs = cpgs[generator.random(len(cpgs)) < SHARE_WITH_GENE]
    second = cpgs[generator.random(len(cpgs)) < 0.3]
    names = np.concatenate([cpgs, second])
    genes = [f"ENSG{gene:011}" for gene in generator.integers(0, N_GENES, len(names))]
    pd.DataFrame({"probe_id": names, "gene_id": genes}).to_csv(path, sep="\t", index=False)


def read_plainly(paths: list[Path], map_path: Path, gene_ids: tuple[str, ...]) -> np.ndarray:
    """What a careful analyst writes: read, join with the table, average by gene."""
    links = pd.read_csv(map_path, sep="\t").drop_duplicates()
    rows = []
    for path in paths:
        betas = pd.read_csv(path, sep="\t", header=None, names=["probe_id", "beta"])
        means = links.merge(betas, on="probe_id").groupby("gene_id")["beta"].mean()
        rows.append(means.reindex(list(gene_ids)).to_numpy(dtype=np.float32))
    return np.stack(rows)


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure, compare, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16, help="distinct files to make (about 13 MB each)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the best of each reader counts")
    parser.add_argument("--only", choices=["ours", "both"], default="both", help="ours: leave the plain loop out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ids = probe_ids()
        is_never = np.random.default_rng(2).random(N_ROWS) < SHARE_NEVER_MEASURED
        paths = [Path(folder) / f"{number}.txt" for number in range(arguments.files)]
        for number, path in enumerate(paths):
            write_file(path, ids, is_never, number)
        map_path = Path(folder) / "probes_to_genes.tsv"
        write_probe_map(map_path, ids)
        del ids

        start = time.perf_counter()
        probe_map = read_probe_map(map_path)
        values = methylation_values(FileSites(tuple(paths), find_arrays(paths)), probe_map, MissingRules(), folder)
        set_up_s = time.perf_counter() - start
        rows = list(range(arguments.files))
        ours = np.concatenate(list(values.pieces(rows, values.genes)))
        memory_once = peak_mib()
        for _ in values.pieces(rows * 8, values.genes):
            pass
        memory_eight_times = peak_mib()

        fast, plain = [], []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            for _ in values.pieces(rows, values.genes):
                pass
            fast.append(time.perf_counter() - start)
            if arguments.only == "both":
                start = time.perf_counter()
                theirs = read_plainly(paths, map_path, values.genes.gene_ids)
                plain.append(time.perf_counter() - start)
        if arguments.only == "both":
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    compared = (
        {"plain_files_per_s": round(arguments.files / min(plain), 2), "ratio": round(min(plain) / min(fast), 1)}
        if plain
        else {}
    )
    print(
        json.dumps(
            {
                "files": arguments.files,
                "rows_a_file": N_ROWS,
                "genes": len(values.genes),
                "set_up_s": round(set_up_s, 1),
                "ours_files_per_s": round(arguments.files / min(fast), 1),
                **compared,
                "peak_mib": round(memory_once),
                "peak_mib_eight_times_the_files": round(memory_eight_times),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
