"""What a fan-out over many cohorts costs beside its work, with jobs that share tasks and with a task a job.

    python benchmarks/fan_out.py --out /scratch/fan_out                     # Nextflow's local executor
    python benchmarks/fan_out.py --out /scratch/fan_out --profile slurm     # on a cluster; waiting for a place counts

Makes a study of 33 small cohorts, runs the pipeline on it twice (the second time with --samples_per_task 0; what comes
before is taken from the cache) and reads the traces. The work of a job is what it takes in a process that has done one
of the same stage before; all else, from the submission to the end, is overhead: queueing, staging, starting Python.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bulkrnabert.evaluate.cost import seconds_of

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = ("BASELINES", "PROBE", "FINETUNE")
JOB = re.compile(r"job \d+ of \d+: ([\d.]+) s, status 0")
NAME = re.compile(r"--out jobs/([^/\s]+)")
OPTIONS = (
    *("--doctor", "false", "--preset", "tiny", "--max_genes", "128", "--steps", "20", "--folds", "2"),
    *("--protocol", "transductive", "--baselines", "fast", "--bootstrap", "100", "--min_events", "5"),
)


@dataclass(frozen=True)
class Task:
    """A row of the trace, with its jobs in order, and how long each took; all times in seconds."""

    stage: str
    duration: float
    realtime: float
    jobs: dict[str, float]


def write_study(folder: Path, n_cohorts: int, n_patients: int, n_genes: int) -> Path:
    """Tables of TPM that differ by cohort, survival by one gene, and their samplesheet."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    genes = [f"ENSG{number:011d}" for number in range(1, n_genes + 1)]
    level = rng.gamma(2.0, 40.0, n_genes)
    rows = []
    for cohort in (f"C{number:02d}" for number in range(n_cohorts)):
        values = rng.gamma(2.0, level * rng.lognormal(0, 0.5, n_genes), (n_patients, n_genes)).round(3)
        samples = [f"{cohort}-{number:03d}" for number in range(n_patients)]
        table = pd.DataFrame(values.T, index=pd.Index(genes, name="gene_id"), columns=samples)
        table.to_csv(folder / f"{cohort}.tsv", sep="\t")
        days = np.maximum(30, 2000 - 8 * values[:, 0] + rng.normal(0, 200, n_patients)).round()
        clinical = {"sample_id": samples, "time_days": days, "event": (rng.random(n_patients) < 0.7).astype(int)}
        pd.DataFrame(clinical).to_csv(folder / f"{cohort}.clinical.tsv", sep="\t", index=False)
        rows.append([cohort, "rnaseq", f"{cohort}.tsv", "tsv", "tpm", f"{cohort}.clinical.tsv"])
    header = ["cohort", "modality", "path", "format", "unit", "clinical"]
    pd.DataFrame(rows, columns=header).to_csv(folder / "sheet.csv", index=False)
    return folder / "sheet.csv"


def read_tasks(trace: Path) -> Iterator[Task]:
    """Tasks of the stages that fan out; those that are the same in both ways come from the cache the second time."""
    with trace.open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle, delimiter="\t"):
            stage = row["name"].split(" ")[0].split(":")[-1]
            if stage in STAGES and row["status"] in {"COMPLETED", "CACHED"}:
                folder = Path(row["workdir"])
                names = NAME.findall((folder / ".command.sh").read_text(encoding="utf-8"))
                times = JOB.findall((folder / ".command.log").read_text(encoding="utf-8"))
                jobs = {name: float(seconds) for name, seconds in zip(names, times, strict=True)}
                yield Task(stage, seconds_of(row["duration"]), seconds_of(row["realtime"]), jobs)


def work_of(shared: list[Task], single: list[Task]) -> dict[str, float]:
    """Seconds of each job of a stage without what comes before it.

    A job that was not the first of its task took its work. The difference to what it takes alone is the start, which is
    taken off the jobs that were the first.
    """
    alone = {name: seconds for task in single for name, seconds in task.jobs.items()}
    later = {name: seconds for task in shared for name, seconds in list(task.jobs.items())[1:]}
    start = statistics.median(alone[name] - seconds for name, seconds in later.items())
    return {name: later.get(name, seconds - start) for name, seconds in alone.items()}


def describe(name: str, stage: str, tasks: list[Task], work: float) -> None:
    """One line of the table."""
    n_jobs = sum(len(task.jobs) for task in tasks)
    whole = sum(task.duration for task in tasks)
    queued = sum(task.duration - task.realtime for task in tasks) / len(tasks)
    sys.stdout.write(
        f"| {name} | {stage} | {n_jobs} | {len(tasks)} | {whole:.0f} | {work:.0f} | {queued:.1f} |"
        f" {(whole - work) / n_jobs:.2f} | {100 * (whole / work - 1):.0f} % |\n"
    )


def size_of(folder: Path) -> tuple[float, int]:
    """MB and number of files, links aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e6, len(files)


def main() -> None:
    """Make the study, run both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--cohorts", type=int, default=33)
    parser.add_argument("--patients", type=int, default=40, help="of each cohort")
    parser.add_argument("--genes", type=int, default=300)
    parser.add_argument("--finetune", help="as --finetune of the pipeline; off by default")
    parser.add_argument("--profile", help="profiles of the pipeline, as slurm")
    parser.add_argument("--config", type=Path, help="further configuration for Nextflow (-c)")
    given = parser.parse_args()
    sheet = write_study(given.out / "study", given.cohorts, given.patients, given.genes)
    command = [str(REPOSITORY / "nextflow"), "run", str(REPOSITORY), "--input", str(sheet.resolve()), *OPTIONS]
    command += ["-resume", "-ansi-log", "false"]
    command += ["-profile", given.profile] if given.profile else []
    command += ["-c", str(given.config.resolve())] if given.config else []
    command += ["--finetune", given.finetune] if given.finetune else []
    runs: dict[str, list[str]] = {
        "shared": [],
        "a task a job": ["--samples_per_task", "0", "--finetune_samples_per_task", "0"],
    }
    found = {}
    for name, flags in runs.items():
        outdir = name.replace(" ", "_")
        subprocess.run([*command, *flags, "--outdir", outdir], cwd=given.out, check=True)
        found[name] = list(read_tasks(given.out / outdir / "pipeline_info" / "trace.tsv"))
        megabytes, n_files = size_of(given.out / "work")
        sys.stdout.write(f"work folder after `{name}`: {megabytes:.0f} MB in {n_files} files\n")
    report(*found.values())


def report(shared: list[Task], single: list[Task]) -> None:
    """Write the table."""
    sys.stdout.write(
        "\n| tasks | stage | jobs | tasks | all, s | work, s | queued and staged a task, s | overhead a job, s |"
        " overhead / work |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    ways = {"shared": shared, "a task a job": single}
    work = {
        stage: sum(work_of(*([task for task in tasks if task.stage == stage] for tasks in ways.values())).values())
        for stage in STAGES
        if any(task.stage == stage for task in shared)
    }
    for stage, seconds in work.items():
        for way, tasks in ways.items():
            describe(way, stage, [task for task in tasks if task.stage == stage], seconds)
    for way, tasks in ways.items():
        describe(way, "all", tasks, sum(work.values()))


if __name__ == "__main__":
    main()
