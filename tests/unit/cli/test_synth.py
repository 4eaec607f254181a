"""`synth` with its extra outputs, and `serve-gdc` with its log and its list of faults."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from bulkrnabert.cli import _run

SMALL = ["--cohorts", "2", "--patients-per-cohort", "4", "--genes", "200", "--probes", "100"]


def test_annotation_and_gtex(tmp_path: Path) -> None:
    out = ["--annotation-out", str(tmp_path / "annotation"), "--gtex-out", str(tmp_path / "gtex"), "--gtex-donors", "2"]
    assert _run(["synth", "--out", str(tmp_path / "study.json"), *SMALL, "--more-oddities", *out]) == 0
    assert json.loads((tmp_path / "study.json").read_text())["more_oddities"] is True
    genes = (tmp_path / "annotation" / "genes.annotation.tsv").read_text().splitlines()
    probes = (tmp_path / "annotation" / "probes.annotation.tsv").read_text().splitlines()
    assert genes[0] == "gene_id\tsymbol\tgene_type\tlength\tchrom\tstart\tend\tstrand"
    assert probes[0] == "probe_id\tgene_id\tsymbol\tchrom\tposition\tstrand\tdistance_to_tss\tregion"
    assert (len(genes), len(probes)) == (201, 101)
    assert {path.name for path in (tmp_path / "gtex").iterdir()} == {
        "GTEx_Analysis_synthetic_gene_tpm.gct.gz",
        "GTEx_Analysis_synthetic_gene_reads.gct.gz",
        "GTEx_Analysis_synthetic_Annotations_SampleAttributesDS.txt",
        "GTEx_Analysis_synthetic_Annotations_SubjectPhenotypesDS.txt",
    }


def test_full_rows_and_a_size_exclude_each_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study.json"
    assert _run(["synth", "--out", str(out), "--full-rows", "--genes", "500"]) == 2
    assert "full_rows means 60660 genes: leave `genes` out" in capfd.readouterr().err
    assert not out.exists()
    assert _run(["synth", "--out", str(out), "--full-rows", "--patients-per-cohort", "1", "--no-oddities"]) == 0
    content = json.loads(out.read_text())
    assert (content["genes"], content["probes"], content["full_rows"]) == (60_660, 486_427, True)


def test_list_of_faults(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["serve-gdc", "--list-faults"]) == 0
    shown = capfd.readouterr().out
    assert re.search(r"^truncate +announce the whole length, send `at_bytes`, close$", shown, re.MULTILINE)
    assert "times=1" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--port'"),
        (["--port", "0", "--faults", "none.json"], "none.json: cannot be read as JSON"),
        (["--port", "0", "--log", "no/such/folder/log"], "--log no/such/folder/log cannot be written"),
    ],
)
def test_bad_options(options: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["serve-gdc", *options]) == 2
    shown = capfd.readouterr().err
    assert message in shown
    assert "Traceback" not in shown


def wait_for_lines(path: Path, n_lines: int) -> None:
    ends = time.monotonic() + 30
    while path.read_text().count("\n") < n_lines and time.monotonic() < ends:
        time.sleep(0.01)


def test_serve_writes_a_log(tmp_path: Path) -> None:
    study, log = tmp_path / "study.json", tmp_path / "log.jsonl"
    assert _run(["synth", "--out", str(study), *SMALL]) == 0
    command = [sys.executable, "-m", "bulkrnabert.cli", "serve-gdc", "--port", "0", "--study", str(study)]
    server = subprocess.Popen([*command, "--log", str(log)], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        url = next(found[1] for line in server.stderr if (found := re.search(r"serving .* at (http://\S+)", line)))
        requests.get(f"{url}/v0/status", timeout=5)
        wait_for_lines(log, 1)  # written when the server is done with an answer, which the client has before
        requests.post(f"{url}/files", json={"size": 1}, timeout=5)
        wait_for_lines(log, 2)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=10)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/v0/status", 200),
        ("POST", "/files", 200),
    ]
    assert lines[1]["body"] == '{"size": 1}'
    assert lines[1]["bytes_sent"] > 100
