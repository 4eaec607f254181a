"""What a run took: hours, memory and bytes from Nextflow's trace, and what that costs at given prices."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import DataError

GPU_STAGES: Final = (
    *("ANCHORS", "ATTRIBUTE", "BIOMARKERS", "CROSS_MODAL", "EMBED", "FINETUNE", "IMPUTATION", "PANELS", "PRETRAIN"),
)
# Of several nodes where the run was given --nodes; the trace speaks of one.
MANY_NODES_STAGE: Final = "PRETRAIN"
NEEDED: Final = ("name", "status", "realtime", "cpus")
ALL_COHORTS: Final = "all cohorts"
CACHED: Final = "CACHED"
COMPLETED: Final = "COMPLETED"
_ABSENT: Final = ("", "-")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50}
_DURATION_PART = re.compile(r"([\d.]+)\s*(ms|s|m|h|d)\b")
_SIZE = re.compile(r"([\d.]+)\s*([KMGTP]?B)")


class Prices(FrozenConfig):
    """A price file: what an hour costs, and who says so.

    Attributes:
        name: Shown beside every amount.
        source: Where the prices come from.
        valid_from: Date of the prices.
        currency: As `EUR`.
        cpu_hour: Of one reserved CPU core.
        gpu_hour: Of one reserved GPU.
        memory_gb_hour: Of one reserved GB of memory.
    """

    name: str
    source: str
    valid_from: date
    currency: str
    cpu_hour: float = Field(ge=0)
    gpu_hour: float = Field(ge=0)
    memory_gb_hour: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class TracedTask:
    """One attempt at one task, a row of the trace; 0 where the trace says nothing.

    Attributes:
        stage: Name of the process, without its workflow.
        tag: What it worked on, as a project or a job.
        cpus: Reserved cores.
        wall_s: Time that it ran.
        cpu_share: Cores in use on average, as 1.8.
        memory: Reserved bytes.
        peak: Largest resident memory, bytes.
        n_read: Bytes read, from the page cache too.
        n_written: Bytes written, likewise.
        n_nodes: Nodes that had as many cores, as much memory and as many GPUs each.
    """

    stage: str
    tag: str
    status: str
    cpus: int
    wall_s: float
    cpu_share: float
    memory: float
    peak: float
    n_read: float
    n_written: float
    n_nodes: int = 1


@dataclass(frozen=True)
class Spent:
    """What some tasks took. Reserved hours are what a facility charges; `cpu_hours_used` says what came of them.

    Attributes:
        n_failed: Attempts that did not complete; their hours count.
        n_cached: Tasks of an earlier run; they took nothing now and are in no other sum here but the next.
        earlier_cpu_hours: Reserved hours of those, when they ran.
        earlier_gpu_hours: Likewise.
        price: None without prices.
    """

    stage: str
    cohort: str
    n_tasks: int
    n_failed: int
    n_cached: int
    earlier_cpu_hours: float
    earlier_gpu_hours: float
    cpu_hours: float
    cpu_hours_used: float
    gpu_hours: float
    memory_gb_hours: float
    peak_memory_gb: float
    gb_read: float
    gb_written: float
    price: float | None


def read_trace(path: Path) -> list[TracedTask]:
    """Read a trace, in Nextflow's readable form or its raw one (milliseconds and bytes).

    Raises:
        DataError: it is no trace, lacks a column, or a cell cannot be read (names column and line).
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}: no column {', '.join(missing)}; expected Nextflow's trace with the fields of this"
                    " pipeline's nextflow.config"
                )
            return [_task(path, line, row) for line, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a trace: {error}") from error


def cost_of(
    tasks: Sequence[TracedTask], n_gpus: int, prices: Prices | None, cohorts: Sequence[str] = (), n_nodes: int = 1
) -> dict[str, Any]:
    """The content of `cost.json`: in all, by stage, by cohort, and by both.

    Args:
        tasks: Of one run.
        n_gpus: GPUs that each task of `GPU_STAGES` had; the trace does not say it.
        prices: None for hours alone.
        cohorts: Names to look for in the tags; what is of no single one is `all cohorts`.
        n_nodes: Nodes of a pretraining; the trace does not say it either.
    """
    tasks = [replace(task, n_nodes=n_nodes if task.stage == MANY_NODES_STAGE else 1) for task in tasks]
    of_tasks = [(task, _cohort_of(task.tag, cohorts)) for task in tasks]
    stages = sorted({task.stage for task in tasks})
    names = [*cohorts, ALL_COHORTS]

    def spent(stage: str, cohort: str) -> Spent:
        chosen = [task for task, name in of_tasks if stage in ("", task.stage) and cohort in ("", name)]
        return _spent(chosen, stage, cohort, n_gpus, prices)

    both = [spent(stage, name) for stage in stages for name in names]
    return {
        "version": 1,
        "prices": None if prices is None else prices.model_dump(mode="json"),
        "n_gpus": n_gpus,
        "n_nodes": n_nodes,
        "total": asdict(spent("", "")),
        "stages": [asdict(spent(stage, "")) for stage in stages],
        "cohorts": [asdict(one) for one in (spent("", name) for name in names) if one.n_tasks + one.n_cached],
        "stages_and_cohorts": [asdict(one) for one in both if one.n_tasks + one.n_cached],
    }


def _spent(tasks: Sequence[TracedTask], stage: str, cohort: str, n_gpus: int, prices: Prices | None) -> Spent:
    ran = [task for task in tasks if task.status != CACHED]
    cached = [task for task in tasks if task.status == CACHED]
    cpu_hours, gpu_hours = _cpu_hours(ran), n_gpus * _hours_with_gpus(ran)
    gb_hours = sum(task.n_nodes * task.memory * task.wall_s for task in ran) / 3600 / _BYTES["GB"]
    price = None
    if prices is not None:
        price = cpu_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour + gb_hours * prices.memory_gb_hour
    return Spent(
        stage=stage,
        cohort=cohort,
        n_tasks=len(ran),
        n_failed=sum(task.status != COMPLETED for task in ran),
        n_cached=len(cached),
        earlier_cpu_hours=_cpu_hours(cached),
        earlier_gpu_hours=n_gpus * _hours_with_gpus(cached),
        cpu_hours=cpu_hours,
        cpu_hours_used=sum(task.cpu_share * task.wall_s for task in ran) / 3600,
        gpu_hours=gpu_hours,
        memory_gb_hours=gb_hours,
        peak_memory_gb=max((task.peak for task in ran), default=0.0) / _BYTES["GB"],
        gb_read=sum(task.n_read for task in ran) / _BYTES["GB"],
        gb_written=sum(task.n_written for task in ran) / _BYTES["GB"],
        price=price,
    )


def format_hours(hours: float) -> str:
    """Two decimals, and one more below 0.1: the stages of a demo take seconds."""
    return f"{hours:.{3 if 0 < hours < 0.1 else 2}f}"


def _cpu_hours(tasks: Sequence[TracedTask]) -> float:
    return sum(task.n_nodes * task.cpus * task.wall_s for task in tasks) / 3600


def _hours_with_gpus(tasks: Sequence[TracedTask]) -> float:
    return sum(task.n_nodes * task.wall_s for task in tasks if task.stage in GPU_STAGES) / 3600


def _cohort_of(tag: str, cohorts: Sequence[str]) -> str:
    """The cohort whose name is a part of the tag between dots: `survival.TCGA-BRCA.ia3`, `TCGA-BRCA.methylation`.

    Jobs that share a task, `survival.TCGA-BRCA and 7 more`, are of no single one.
    """
    return next((name for name in cohorts if f".{name}." in f".{tag}."), ALL_COHORTS)


def _task(path: Path, line: int, row: dict[str, str]) -> TracedTask:
    def read(column: str, parse: Callable[[str], float]) -> float:
        text = (row.get(column) or "").strip()
        if text in _ABSENT:
            return 0.0
        try:
            return parse(text)
        except ValueError as error:
            raise DataError(f"{path} line {line}: {column} is {text!r}, {error}; is this Nextflow's trace?") from error

    name = (row.get("name") or "").strip()
    process, _, tag = name.partition(" (")
    return TracedTask(
        stage=process.split(":")[-1],
        tag=tag.removesuffix(")"),
        status=(row.get("status") or "").strip(),
        cpus=int(read("cpus", float)),
        wall_s=read("realtime", seconds_of),
        cpu_share=read("%cpu", lambda text: float(text.removesuffix("%")) / 100),
        memory=read("memory", bytes_of),
        peak=read("peak_rss", bytes_of),
        n_read=read("rchar", bytes_of),
        n_written=read("wchar", bytes_of),
    )


def seconds_of(text: str) -> float:
    """Seconds of `1h 2m 3s`, `87ms`, or of plain milliseconds."""
    if re.fullmatch(r"\d+", text):
        return int(text) / 1000
    parts = _DURATION_PART.findall(text)
    if not parts or _DURATION_PART.sub("", text).strip():
        raise ValueError("expected a time as 1h 2m 3s")
    return sum(float(value) * _SECONDS[unit] for value, unit in parts)


def bytes_of(text: str) -> float:
    """Bytes of `1.5 GB` (1,024 MB), or of plain bytes."""
    if re.fullmatch(r"\d+", text):
        return float(text)
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("expected a size as 1.5 GB")
    return float(found[1]) * _BYTES[found[2]]
