"""How fast a cohort table is written and read: seconds a gigabyte of values, and peak memory of reading.

Writes tables of random expression (two fifths zeros, four decimals, as TPM of the GDC has) with `CohortTableWriter`,
reads them back with `read_cohorts` in a process of its own, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import ROWS_PER_GROUP, CohortTableWriter, TableHeader, cohort_path, genes_path

N_GENES = 19_062
READ = """
import json, resource, sys, time
from pathlib import Path
from bulkrnabert.data.tables import read_cohorts
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu_start = time.perf_counter(), time.process_time()
cohorts = read_cohorts(Path(sys.argv[1]))
wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "bytes": cohorts.values.nbytes, "growth_kib": peak - before}))
"""


def write_tables(folder: Path, n_samples: int, n_cohorts: int) -> float:
    """Write the tables; returns the seconds that the writer took."""
    genes = GeneVocabulary.from_ids([f"ENSG{number:011}" for number in range(N_GENES)])
    genes.to_tsv(genes_path(folder))
    header = TableHeader("tpm", "rnaseq", genes.sha256, "", "open")
    rng = np.random.default_rng(0)
    wall_s = 0.0
    for cohort in range(n_cohorts):
        name = f"C{cohort:02}"
        n_rows = n_samples * (cohort + 1) // n_cohorts - n_samples * cohort // n_cohorts
        with CohortTableWriter(cohort_path(folder, name), header, N_GENES) as writer:
            for start in range(0, n_rows, ROWS_PER_GROUP):
                shape = (min(ROWS_PER_GROUP, n_rows - start), N_GENES)
                values = np.where(rng.random(shape) < 0.4, 0.0, rng.lognormal(0.0, 2.0, shape).round(4))
                sample_ids = [f"{name}-{number:06}" for number in range(start, start + shape[0])]
                samples = pd.DataFrame({"sample_id": sample_ids, "patient_id": sample_ids, "cohort": name})
                samples = samples.assign(project_id=name, sample_type="tumor", source="gdc")
                begun = time.perf_counter()
                writer.write(samples, values.astype(np.float32))
                wall_s += time.perf_counter() - begun
    return wall_s


def main() -> None:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=11_505, help="samples in all cohorts together")
    parser.add_argument("--cohorts", type=int, default=33, help="tables")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of reading; the best counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_s = write_tables(folder, arguments.samples, arguments.cohorts)
        size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
        rounds = []
        for _ in range(arguments.repeats):
            done = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True, check=True)
            rounds.append(json.loads(done.stdout))
    gigabytes = rounds[0]["bytes"] / 1e9
    print(
        json.dumps(
            {
                "samples": arguments.samples,
                "genes": N_GENES,
                "gigabytes": round(gigabytes, 3),
                "share_on_disk": round(size / rounds[0]["bytes"], 2),
                "write_s_per_gb": round(write_s / gigabytes, 2),
                "read_s_per_gb": round(min(found["wall_s"] for found in rounds) / gigabytes, 2),
                "read_cpu_s_per_gb": round(min(found["cpu_s"] for found in rounds) / gigabytes, 2),
                "memory_growth_per_matrix": round(rounds[0]["growth_kib"] * 1024 / rounds[0]["bytes"], 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
