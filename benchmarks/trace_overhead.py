"""What the tasks of a pipeline run cost beside their commands, from its trace.

`duration` of a task is from its submission to its end as Nextflow sees them, `realtime` is its command's.
`fan_out.py` makes such a run on many small cohorts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from bulkrnabert.evaluate.cost import seconds_of


def summarise(path: Path) -> dict[str, float]:
    """Work and overhead of the tasks that ran to their end.

    Raises:
        SystemExit: the file is no trace.
    """
    trace = pd.read_csv(path, sep="\t", dtype=str)
    absent = [name for name in ("status", "duration", "realtime") if name not in trace.columns]
    if absent:
        sys.exit(f"{path}: no column {', '.join(absent)}; expected the trace of a Nextflow run")
    ran = trace[trace["status"] == "COMPLETED"]
    work = ran["realtime"].map(seconds_of)
    overhead = (ran["duration"].map(seconds_of) - work).clip(lower=0)
    whole = float(work.sum() + overhead.sum())
    return {
        "tasks": len(ran),
        "work_s": round(float(work.sum()), 1),
        "overhead_s": round(float(overhead.sum()), 1),
        "overhead_s_a_task": round(float(overhead.mean()), 2) if len(ran) else 0.0,
        "overhead_share": round(float(overhead.sum()) / whole, 3) if whole else 0.0,
    }


def main() -> None:
    """Read a trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, required=True, help="`pipeline_info/trace.tsv` of a run")
    print(json.dumps(summarise(parser.parse_args().trace)))


if __name__ == "__main__":
    main()
