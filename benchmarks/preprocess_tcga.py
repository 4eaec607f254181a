"""`preprocess` on as many STAR-Counts files as TCGA has: peak memory and files a second, against a plain pandas loop.

Makes a raw folder of full-size files (60,660 gene rows, about 4 MB each): a few distinct bodies, the others hard links
to them, so that the folder stays small. Runs the real command on it in a process of its own, then the plain loop on
some of the files, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from read_star_counts import N_GENES, N_VOCABULARY, read_plainly, write_file

from bulkrnabert.data.sources.star import read_star_genes
from bulkrnabert.data.tables import iter_cohort_batches

N_TCGA = 11_505
N_PROJECTS = 33


@dataclass(frozen=True)
class Finished:
    """What a process took: seconds of wall clock and of all cores, and peak resident memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def make_raw_folder(folder: Path, n_files: int, n_bodies: int) -> list[Path]:
    """A raw folder as `download` leaves it; returns its files in the order of the plan."""
    bodies = [folder.parent / f"body{number}.tsv" for number in range(n_bodies)]
    for number, body in enumerate(bodies):
        write_file(body, number)
    files, cases, paths = [], [], []
    for number in range(n_files):
        patient_id = f"TCGA-{number % 90 + 10}-{number:04X}"
        name = f"{number:08x}.rna_seq.augmented_star_gene_counts.tsv"
        path = folder / f"id{number:08}" / name
        path.parent.mkdir(parents=True)
        os.link(bodies[number % n_bodies], path)
        paths.append(path)
        project_id = f"TCGA-P{number * N_PROJECTS // n_files:02}"
        files.append(
            {
                "file_id": path.parent.name,
                "file_name": name,
                "md5": "0" * 32,
                "size": path.stat().st_size,
                "project_id": project_id,
                "case_id": f"case{number}",
                "patient_id": patient_id,
                "sample_id": f"{patient_id}-01A",
                "aliquot_id": f"{patient_id}-01A-11R-A001-07",
                "sample_type": "Primary Tumor",
                "is_ffpe": False,
                "access": "open",
            }
        )
        demographic = {"vital_status": "Dead", "days_to_death": 1 + number}
        cases.append({"submitter_id": patient_id, "project": {"project_id": project_id}, "demographic": demographic})
    plan = {"source": "gdc", "api": "none", "data_release": "none", "modality": "rnaseq", "sample_types": "all"}
    plan |= {"projects": sorted({str(file["project_id"]) for file in files}), "files": files, "rejected": []}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "cases.json").write_text(json.dumps(cases))
    return paths


def run(*arguments: str) -> Finished:
    """Run the program to its end.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bulkrnabert.cli", *arguments], stderr=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with status {process.returncode}")
    return Finished(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    """Measure, compare, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=N_TCGA, help="files of the raw folder")
    parser.add_argument("--bodies", type=int, default=8, help="distinct files among them, about 4 MB each")
    parser.add_argument("--plain-files", type=int, default=24, help="files that the plain loop reads")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        raw, out = Path(scratch) / "raw", Path(scratch) / "cohorts"
        paths = make_raw_folder(raw, arguments.files, arguments.bodies)
        genes = read_star_genes(paths[0]).genes
        chosen = genes.subset(np.linspace(0, len(genes) - 1, N_VOCABULARY).astype(int))
        vocabulary = Path(scratch) / "genes.txt"
        vocabulary.write_text("".join(f"{gene_id}\n" for gene_id in chosen.gene_ids))

        ours = run("preprocess", "--raw", str(raw), "--vocabulary", str(vocabulary), "--out", str(out))
        some = paths[: arguments.plain_files]
        start, cpu_start = time.perf_counter(), time.process_time()
        plain = read_plainly(some, chosen.gene_ids)
        plain_s, plain_cpu_s = time.perf_counter() - start, time.process_time() - cpu_start

        first = next(iter_cohort_batches(out / "TCGA-P00.rnaseq.parquet"))
        rows = {path.parent.name: row for row, path in enumerate(paths)}
        sample_ids = [f"TCGA-{row % 90 + 10}-{row:04X}-01A" for row in rows.values()]
        for sample_id, values in zip(first.samples["sample_id"], first.values, strict=True):
            body = sample_ids.index(sample_id) % arguments.bodies
            np.testing.assert_array_equal(values, plain[body])
        written = sum(path.stat().st_size for path in out.iterdir())
    ours_per_s, plain_per_s = arguments.files / ours.wall_s, len(some) / plain_s
    print(
        json.dumps(
            {
                "files": arguments.files,
                "rows_a_file": N_GENES,
                "genes": N_VOCABULARY,
                "wall_s": round(ours.wall_s, 1),
                "peak_rss_mib": round(ours.peak_mib, 1),
                "files_per_s": round(ours_per_s, 1),
                "plain_files_per_s": round(plain_per_s, 1),
                "ratio": round(ours_per_s / plain_per_s, 1),
                "cpu_ms_a_file": round(1000 * ours.cpu_s / arguments.files, 2),
                "plain_cpu_ms_a_file": round(1000 * plain_cpu_s / len(some), 2),
                "written_mib": round(written / 2**20, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
