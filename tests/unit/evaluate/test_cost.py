"""What a run took, from a trace written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.config import FrozenConfig
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.evaluate.cost import GPU_STAGES, Prices, bytes_of, cost_of, format_hours, read_trace, seconds_of
from bulkrnabert.report.cost import BEGIN, END

COLUMNS = ["name", "status", "cpus", "realtime", "%cpu", "memory", "peak_rss", "rchar", "wchar"]
ROWS = [
    ["PREPARE:DOWNLOAD (TCGA-A)", "COMPLETED", "1", "1h", "50.0%", "2 GB", "512 MB", "1 GB", "2 GB"],
    ["PRETRAINING:PRETRAIN (r0f0)", "FAILED", "4", "30m", "300.0%", "8 GB", "6 GB", "-", "-"],
    ["PRETRAINING:PRETRAIN (r0f0)", "COMPLETED", "4", "2h", "350.0%", "8 GB", "7.5 GB", "3 GB", "1 GB"],
    ["DOWNSTREAM:PROBE (survival.TCGA-A)", "COMPLETED", "1", "1800000", "100.0%", "2147483648", "1073741824", "0", "0"],
    ["SUMMARISE:REPORT", "CACHED", "1", "5h", "100.0%", "2 GB", "1 GB", "1 GB", "1 GB"],
]
PRICES = Prices(
    name="ours",
    source="the list",
    valid_from="2026-02-01",
    currency="EUR",
    cpu_hour=1.0,
    gpu_hour=10.0,
    memory_gb_hour=0.5,
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.tsv"
    path.write_text("\n".join("\t".join(row) for row in [COLUMNS, *ROWS]) + "\n")
    return path


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("87ms", 0.087), ("1h 2m 3s", 3723.0), ("1.5s", 1.5), ("2d 1h", 176400.0), ("1500", 1.5)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1.5 GB", 1.5 * 2**30), ("512 B", 512), ("7 MB", 7 * 2**20)])
def test_sizes(text: str, size: float) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    ("tag", "cohort"),
    [
        ("survival.TCGA-A", "TCGA-A"),
        ("survival.TCGA-A.ia3.pretrained", "TCGA-A"),
        ("TCGA-B.methylation", "TCGA-B"),
        ("survival.TCGA-A and 7 more", "all cohorts"),
        ("survival.TCGA-AB", "all cohorts"),
    ],
)
def test_the_cohort_of_a_task(trace: Path, tag: str, cohort: str) -> None:
    rows = [["DOWNSTREAM:PROBE (" + tag + ")", *ROWS[0][1:]]]
    trace.write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\n")
    assert [one["cohort"] for one in cost_of(read_trace(trace), 0, None, ["TCGA-A", "TCGA-B"])["cohorts"]] == [cohort]


def test_by_hand(trace: Path) -> None:
    cost = cost_of(read_trace(trace), 2, PRICES, ["TCGA-A", "TCGA-B"])
    total = cost["total"]
    assert (total["n_tasks"], total["n_failed"], total["n_cached"]) == (4, 1, 1)
    assert (total["earlier_cpu_hours"], total["earlier_gpu_hours"]) == (5.0, 0.0)
    assert total["cpu_hours"] == pytest.approx(1 + 4 * 0.5 + 4 * 2 + 0.5)
    assert total["cpu_hours_used"] == pytest.approx(0.5 + 3 * 0.5 + 3.5 * 2 + 0.5)
    assert total["gpu_hours"] == pytest.approx(2 * 2.5)
    assert total["memory_gb_hours"] == pytest.approx(2 + 8 * 2.5 + 2 * 0.5)
    assert (total["peak_memory_gb"], total["gb_read"], total["gb_written"]) == (7.5, 4.0, 3.0)
    assert total["price"] == pytest.approx(11.5 * 1 + 5 * 10 + 23 * 0.5)
    assert [row["stage"] for row in cost["stages"]] == ["DOWNLOAD", "PRETRAIN", "PROBE", "REPORT"]
    assert {row["cohort"]: row["n_tasks"] for row in cost["cohorts"]} == {"TCGA-A": 2, "all cohorts": 2}
    assert sum(row["price"] for row in cost["stages_and_cohorts"]) == pytest.approx(total["price"])
    free = cost_of(read_trace(trace), 0, None)
    assert free["total"]["price"] is None and free["total"]["gpu_hours"] == 0 and free["prices"] is None


def test_gpu_stages_are_those_that_ask_for_one(repository: Path) -> None:
    modules = (repository / "pipeline" / "modules").glob("*.nf")
    labelled = {path.stem.upper() for path in modules if re.search(r"label 'process_gpu'", path.read_text())}
    assert set(GPU_STAGES) == labelled


def test_the_trace_has_the_columns(repository: Path) -> None:
    fields = re.search(r"fields\s*=\s*'([^']+)'", (repository / "nextflow.config").read_text())
    assert fields is not None and set(COLUMNS) <= set(fields[1].split(","))


def test_the_command(trace: Path, tmp_path: Path, repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    page.write_text(f"<body>{BEGIN}later{END}</body>")
    arguments = ["cost", "--trace", str(trace), "--gpus", "1", "--out", str(tmp_path / "cost.json")]
    for _ in range(2):
        assert _run([*arguments, "--prices", str(repository / "conf" / "prices.yaml"), "--report", str(page)]) == 0
    assert capfd.readouterr().out.startswith("4 tasks (1 failed, 1 from the cache): 11.50 CPU hours, 2.50 GPU hours")
    assert json.loads((tmp_path / "cost.json").read_text())["prices"]["name"] == "example prices, replace them"
    html = page.read_text()
    assert '<td class="num">1</td><td class="num">5.00</td>' in html
    assert html.count('<th scope="row">PRETRAIN</th>') == 1 and "later" not in html and html.endswith("</body>")
    page.write_text("<body></body>")
    assert _run([*arguments, "--report", str(page)]) == 2
    assert "has no place for the cost" in capfd.readouterr().err


def test_each_node_of_a_pretraining_is_counted(trace: Path) -> None:
    one, four = (cost_of(read_trace(trace), 2, PRICES, n_nodes=n)["total"] for n in (1, 4))
    assert four["cpu_hours"] - one["cpu_hours"] == pytest.approx(3 * 4 * (0.5 + 2))
    assert four["gpu_hours"] - one["gpu_hours"] == pytest.approx(3 * 2 * (0.5 + 2))
    assert four["memory_gb_hours"] - one["memory_gb_hours"] == pytest.approx(3 * 8 * (0.5 + 2))
    assert four["peak_memory_gb"] == one["peak_memory_gb"] and four["price"] > one["price"]


def test_hours_of_a_demo_are_not_rounded_away() -> None:
    assert [format_hours(hours) for hours in (0.0, 0.004, 0.0996, 0.1, 12.345)] == [
        "0.00",
        "0.004",
        "0.100",
        "0.10",
        "12.35",
    ]


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.tsv"
    path.write_text("name\tstatus\n")
    with pytest.raises(DataError, match="no column realtime, cpus"):
        read_trace(path)
    path.write_text("name\tstatus\tcpus\trealtime\nA\tCOMPLETED\t1\tsoon\n")
    with pytest.raises(DataError, match="line 2: realtime is 'soon', expected a time"):
        read_trace(path)
    path.write_text("name\tstatus\tcpus\trealtime\tmemory\nA\tCOMPLETED\t1\t1s\tmuch\n")
    with pytest.raises(DataError, match="memory is 'much', expected a size"):
        read_trace(path)
    prices: type[FrozenConfig] = Prices
    with pytest.raises(ConfigError, match="`cpu_hour`"):
        prices.from_mapping({**PRICES.model_dump(), "cpu_hour": -1}, "prices.yaml")
