"""`download` of GTEx and ENCODE, as a user calls it."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from bulkrnabert.cli import _run
from bulkrnabert.data.sources import tcga_cdr_file
from bulkrnabert.data.sources.tcga_cdr_file import CdrFile

SAMPLES = ("GTEX-1117F-0001-SM-A", "GTEX-ZZPU-0002-SM-B")


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """Options that name the three files of GTEx."""
    files = {
        "--gct": f"#1.2\n2\t2\nName\tDescription\t{SAMPLES[0]}\t{SAMPLES[1]}\n"
        "ENSG00000141510.16\tTP53\t1\t20\nENSG00000000003.14\tTSPAN6\t3\t400\n",
        "--attributes": f"SAMPID\tSMTS\tSMTSD\tSMAFRZE\n{SAMPLES[0]}\tLung\tLung\tRNASEQ\n"
        f"{SAMPLES[1]}\tSpleen\tSpleen\tRNASEQ\n",
        "--subjects": "SUBJID\tSEX\tAGE\nGTEX-1117F\t2\t60-69\nGTEX-ZZPU\t1\t50-59\n",
    }
    options = []
    for option, text in files.items():
        path = tmp_path / f"{option.strip('-')}.txt"
        path.write_text(text)
        options += [option, str(path)]
    return options


def test_gtex_from_download_to_cohorts(tmp_path: Path, own: list[str]) -> None:
    raw, cohorts = tmp_path / "raw", tmp_path / "cohorts"
    arguments = ["download", "--source", "gtex", *own, "--gtex-cohorts", "tissue", "--out", str(raw)]
    assert _run(arguments) == 0
    assert _run([*arguments, "--verify"]) == 0
    assert _run(["preprocess", "--raw", str(raw), "--out", str(cohorts)]) == 0
    summary = json.loads((cohorts / "summary.json").read_text())
    assert [(entry["cohort"], entry["n_normal"]) for entry in summary["cohorts"]] == [
        ("GTEX-Lung", 1),
        ("GTEX-Spleen", 1),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "gtex", "--tissues", "Lnug"], "no tissue 'Lnug' in this release; the nearest are Lung"),
        (["--source", "gtex", "--projects", "TCGA-BRCA"], "--projects is not used with --source gtex"),
        (["--source", "gtex", "--assays", "total RNA-seq"], "--assays is not used with --source gtex"),
        (["--source", "gdc", "--projects", "A"], "--gct is not used with --source gdc"),
        (["--source", "encode"], "--gct is not used with --source encode"),
        (["--source", "gtex", "--api", "https://host"], "--api is not used with --source gtex"),
        (["--source", "gtex", "--release", "v7"], "'v7' is not one of"),
    ],
)
def test_bad_requests(
    tmp_path: Path, own: list[str], capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert _run(["download", *options, *own, "--out", str(tmp_path / "raw")]) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "encode", "--assays", " , "], "--assays names no assay"),
        (["--source", "encode", "--api", "host"], "--api 'host' is no address"),
        (["--source", "encode", "--modality", "rnaseq"], "--modality is not used with --source encode"),
    ],
)
def test_bad_requests_to_encode(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert _run(["download", *options, "--out", str(tmp_path / "raw")]) == 2
    assert message in capfd.readouterr().err


def test_encode_is_asked_at_its_own_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bulkrnabert.data.sources import encode

    asked = []

    def remember(_: Path, api: str, **options: object) -> encode.EncodeSummary:
        asked.append((api, options["assays"], options["annotation"], options["batch"]))
        plan = encode.EncodePlan(api=api, annotation="GENCODE V29", assays=(), files=(), rejected=())
        return encode.EncodeSummary(plan, 0, 0)

    monkeypatch.setattr(encode, "download_encode", remember)
    arguments = ["download", "--source", "encode", "--out", str(tmp_path / "raw")]
    assert _run(arguments) == 0
    assert _run([*arguments, "--api", "https://test.org", "--assays", "total RNA-seq", "--annotation", "V40"]) == 0
    assert asked == [
        ("https://www.encodeproject.org", ("polyA plus RNA-seq", "total RNA-seq"), "V29", None),
        ("https://test.org", ("total RNA-seq",), "V40", None),
    ]


def test_the_workbook_of_the_tcga_cdr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fetched by its id and kept; another body than the published one never gets the name."""
    body = b"a workbook"
    asked: list[str] = []

    class Portal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    Thread(target=server.serve_forever, daemon=True).start()
    arguments = [
        "download",
        "--source",
        "tcga-cdr",
        "--api",
        f"http://127.0.0.1:{server.server_port}",
        "--retries",
        "0",
    ]
    try:
        assert _run([*arguments, "--out", str(tmp_path / "published")]) == 1
        assert "10 bytes announced instead of 2945129" in capfd.readouterr().err
        assert not list((tmp_path / "published").glob("*.xlsx"))
        small = CdrFile(tcga_cdr_file.CDR_FILE.file_id, "cdr.xlsx", len(body), hashlib.md5(body).hexdigest())
        monkeypatch.setattr(tcga_cdr_file, "CDR_FILE", small)
        for _ in range(2):
            assert _run([*arguments, "--out", str(tmp_path / "small")]) == 0
    finally:
        server.shutdown()
        server.server_close()
    assert (tmp_path / "small" / "cdr.xlsx").read_bytes() == body
    assert asked == [f"/data/{small.file_id}"] * 2  # one of each version; what is there is not asked for again
    assert _run([*arguments, "--modality", "methylation", "--out", str(tmp_path / "small")]) == 2
