"""`bulkrnabert cost`: what a run took."""

from __future__ import annotations

from pathlib import Path

import click

from bulkrnabert.cli._look import stage
from bulkrnabert.cli._result import finish

EXAMPLES = {
    "Hours and gigabytes of a run, and what they cost": (
        "bulkrnabert cost --trace results/pipeline_info/trace.tsv --prices conf/prices.yaml --out cost.json"
    ),
    "The same, by cohort, into the report": (
        "bulkrnabert cost --trace results/pipeline_info/trace.tsv --summary results/cohorts/summary.json --report "
        "results/report/report.html --out cost.json"
    ),
}

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@stage("cost", EXAMPLES)
@click.option(
    "--trace", type=_FILE, required=True, help="Nextflow's trace of the run: RESULTS/pipeline_info/trace.tsv."
)
@click.option("--prices", type=_FILE, help="YAML of prices, as conf/prices.yaml.  [default: hours alone]")
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="GPUs that each task of a GPU stage had, as given to the run; the trace does not say it.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Nodes of each pretraining, as given to the run; the trace measures one of them.",
)
@click.option(
    "--summary",
    type=_FILE,
    help="summary.json of the cohorts, to tell them apart in the table.  [default: not told apart]",
)
@click.option("--report", "page", type=_FILE, help="report.html of the run, to put the tables into.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="JSON file to write.")
def command(
    trace: Path, prices: Path | None, gpus: int, nodes: int, summary: Path | None, page: Path | None, out: Path
) -> None:
    """Add up what a finished run took: CPU hours, GPU hours, peak memory and bytes, by stage and cohort.

    A run does so by itself at its end, when the trace is complete; by hand for other prices, or results in a bucket.
    Hours are those reserved (cores times time), of every attempt that the trace has: a run that is resumed begins a new
    trace. Writes OUT (cost.json) and, with --report, the tables into the page.
    """
    from bulkrnabert.evaluate.artefacts import read_summary
    from bulkrnabert.evaluate.cost import Prices, cost_of, format_hours, read_trace
    from bulkrnabert.provenance import require_writable, write_json
    from bulkrnabert.report.cost import insert_cost

    require_writable(out)
    cohorts = [] if summary is None else [cohort.cohort for cohort in read_summary(summary).cohorts]
    cost = cost_of(read_trace(trace), gpus, None if prices is None else Prices.from_yaml(prices), cohorts, nodes)
    write_json(out, cost)
    if page is not None:
        insert_cost(page, cost)
    total = cost["total"]
    text = (
        f"{total['n_tasks']} task{'s' * (total['n_tasks'] != 1)}"
        f" ({total['n_failed']} failed, {total['n_cached']} from the cache):"
        f" {format_hours(total['cpu_hours'])} CPU hours, {format_hours(total['gpu_hours'])} GPU hours, at most"
        f" {total['peak_memory_gb']:.1f} GB"
        + ("" if cost["prices"] is None else f", {total['price']:.2f} {cost['prices']['currency']}")
        + (f"; those of earlier runs {format_hours(total['earlier_cpu_hours'])} CPU hours" if total["n_cached"] else "")
    )
    finish(
        out,
        "hours, memory and bytes by stage and cohort",
        f"open {page}" if page else "put it into the page with --report report.html",
        text=text,
        document=cost,
    )
