"""ENCODE: files and why not, the search and its answers, RSEM files, and the way into a cohorts folder."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from bulkrnabert.data.cohort_source import InputOptions, Source
from bulkrnabert.data.encode_raw import read_encode_raw
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.preprocess import plan_cohorts, write_cohorts
from bulkrnabert.data.sources import encode
from bulkrnabert.data.sources.encode import download_encode
from bulkrnabert.data.sources.encode_files import ASSAYS, read_batch_metadata, select_encode_files
from bulkrnabert.data.sources.raw_plan import plan_source
from bulkrnabert.data.sources.rsem import RsemReader, read_rsem_genes
from bulkrnabert.data.sources.transfer import TransferPolicy
from bulkrnabert.data.tables import read_cohorts
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError, PortalError, VocabularyError

QUICK = TransferPolicy(n_workers=2, n_retries=1, backoff_s=0.001, idle_timeout_s=5)
HEADER = "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM"
GENES = ["10904", "ENSG00000000003.14", "ENSG00000141510.16", "ENSG00000182378.13_PAR_Y", "gSpikein_ERCC-00002"]


def rsem(*tpm: object, genes: list[str] | None = None) -> str:
    rows = [
        f"{gene}\tENST1,ENST2\t100.00\t90.00\t5.00\t{value}\t1.00"
        for gene, value in zip(genes or GENES, tpm, strict=True)
    ]
    return "\n".join([HEADER, *rows]) + "\n"


def file_object(accession: str, **changes: Any) -> dict[str, Any]:
    body = changes.pop("body", rsem(9, 1.5, 2.5, 0, 7)).encode()
    record = {
        "accession": accession,
        "href": f"/files/{accession}/@@download/{accession}.tsv",
        "md5sum": hashlib.md5(body).hexdigest(),
        "file_size": len(body),
        "file_format": "tsv",
        "output_type": "gene quantifications",
        "status": "released",
        "assembly": "GRCh38",
        "genome_annotation": "V29",
        "assay_title": "total RNA-seq",
        "lab": {"title": "ENCODE Processing Pipeline"},
        "preferred_default": True,
        "dataset": "/experiments/ENCSR000AAA/",
        "biological_replicates": [1],
        "date_created": "2020-01-01T00:00:00",
        "biosample_ontology": {"classification": "tissue", "term_name": "liver"},
        "simple_biosample_summary": "female adult (53 years)",
    }
    return {key: value for key, value in {**record, **changes}.items() if value is not None}


def select(*records: dict[str, Any], annotation: str = "V29") -> tuple[list[str], dict[str, str]]:
    chosen, rejected = select_encode_files(records, "https://host", ASSAYS, annotation)
    return [file.file_id for file in chosen], {file.file_id: file.rule for file in rejected}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("released", {"status": "archived"}),
        ("output_type", {"output_type": "transcript quantifications"}),
        ("file_format", {"file_format": "bam"}),
        ("assembly", {"assembly": "hg19"}),
        ("genome_annotation", {"genome_annotation": "V24"}),
        ("genome_annotation", {"genome_annotation": None}),
        ("assay", {"assay_title": "small RNA-seq"}),
        ("uniform_pipeline", {"lab": {"title": "Thomas Gingeras"}}),
        ("preferred_default", {"preferred_default": False}),
        ("preferred_default", {"preferred_default": None}),
        ("experiment", {"dataset": None}),
        ("one_replicate", {"biological_replicates": [1, 2]}),
        ("one_replicate", {"biological_replicates": None}),
    ],
)
def test_every_rule_leaves_a_file_out(rule: str, changes: dict[str, Any]) -> None:
    assert select(file_object("ENCFF001AAA", **changes), file_object("ENCFF002AAA")) == (
        ["ENCFF002AAA"],
        {"ENCFF001AAA": rule},
    )


def test_the_link_of_the_lab_says_the_same_as_its_title() -> None:
    assert select(file_object("ENCFF001AAA", lab="/labs/encode-processing-pipeline/")) == (["ENCFF001AAA"], {})


def test_one_file_a_replicate_the_last_then_the_lowest_accession_whatever_the_order() -> None:
    records = [
        file_object("ENCFF003AAA"),
        file_object("ENCFF002AAA", date_created="2021-06-01T00:00:00"),
        file_object("ENCFF001AAA", date_created="2021-06-01T00:00:00"),
        file_object("ENCFF004AAA", biological_replicates=[2]),
        file_object("ENCFF005AAA", dataset="/experiments/ENCSR000BBB/"),
    ]
    expected = (
        ["ENCFF001AAA", "ENCFF004AAA", "ENCFF005AAA"],
        dict.fromkeys(["ENCFF002AAA", "ENCFF003AAA"], "one_file_a_replicate"),
    )
    assert all(select(*order) == expected for order in itertools.permutations(records))


def test_real_file_objects(shared: Path) -> None:
    records = json.loads((shared / "fixtures/gdc/encode/gene_quantification_file_objects.json").read_text())
    assert select(*records) == (
        [],
        {
            "ENCFF946MFS": "assembly",
            "ENCFF413RGP": "assembly",
            "ENCFF005ISO": "genome_annotation",
            "ENCFF006ISO": "genome_annotation",
        },
    )
    calculated = {"assay_title": ASSAYS[0], "preferred_default": True}
    asked = [
        record | calculated | {"biological_replicates": [number]} for number, record in enumerate(records, start=1)
    ]
    assert select(*asked, annotation="V24") == (
        ["ENCFF005ISO", "ENCFF006ISO"],
        {"ENCFF413RGP": "assembly", "ENCFF946MFS": "assembly"},
    )
    chosen, _ = select_encode_files(asked, "https://host", ASSAYS, "V24")
    assert chosen[0].url == "https://host/files/ENCFF005ISO/@@download/ENCFF005ISO.tsv"
    assert (chosen[0].dataset, chosen[0].size) == ("ENCSR751ISO", 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accession": "../evil"}, "accession is '../evil'; the portal's answer cannot be trusted"),
        ({"md5sum": "none"}, "md5sum is 'none'"),
        ({"file_size": "12"}, "file_size is '12'; expected a number of bytes"),
        ({"href": "https://elsewhere/x.tsv"}, "href 'https://elsewhere/x.tsv'"),
        ({"href": "/files/ENCFF001AAA/@@download/../../x"}, "the portal's answer cannot be trusted"),
    ],
)
def test_records_that_cannot_be_trusted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PortalAnswerError, match=message):
        select(file_object("ENCFF001AAA") | changes)


# ---- the portal ----


class Portal:
    """Answers the search and serves files, the latter through a redirect; keeps count."""

    def __init__(self) -> None:
        self.bodies = {f"ENCFF00{number}AAA": rsem(9, number, 2.5, 0, 7) for number in (1, 2, 3)}
        self.graph = [
            file_object("ENCFF001AAA", body=self.bodies["ENCFF001AAA"]),
            file_object("ENCFF002AAA", body=self.bodies["ENCFF002AAA"], biological_replicates=[2]),
            file_object(
                "ENCFF003AAA",
                body=self.bodies["ENCFF003AAA"],
                dataset="/experiments/ENCSR000BBB/",
                biosample_ontology={"classification": "cell line", "term_name": "K562"},
            ),
            file_object("ENCFF004AAA", genome_annotation="V24"),
        ]
        self.answers: list[tuple[int, str]] = []
        self.paths: list[str] = []
        portal = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                portal.paths.append(self.path)
                parts = urlsplit(self.path)
                accession = parts.path.rpartition("/")[2].removesuffix(".tsv")
                if parts.path == "/search/":
                    self.send(*portal.search())
                elif parts.path.startswith("/files/"):
                    self.send_response(307)
                    self.send_header("Location", f"/bucket/{accession}.tsv?Signature=secret")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self.send(200, portal.bodies[accession], "binary/octet-stream")

            def send(self, status: int, text: str, kind: str = "application/json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def search(self) -> tuple[int, str]:
        if self.answers:
            return self.answers.pop(0)
        body = {"@graph": self.graph, "total": len(self.graph), "notification": "Success"}
        return (200 if self.graph else 404), json.dumps(body)


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setattr(encode, "MIN_SECONDS_BETWEEN_REQUESTS", 0.001)
    served = Portal()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def test_search_then_verified_files_and_nothing_twice(tmp_path: Path, portal: Portal) -> None:
    out = tmp_path / "raw"
    summary = download_encode(out, portal.url, policy=QUICK)
    assert plan_source(out) == "encode"
    assert [file.file_id for file in summary.plan.files] == ["ENCFF001AAA", "ENCFF002AAA", "ENCFF003AAA"]
    assert [(file.file_id, file.rule) for file in summary.plan.rejected] == [("ENCFF004AAA", "genome_annotation")]
    assert (out / "ENCFF002AAA" / "ENCFF002AAA.tsv").read_text() == portal.bodies["ENCFF002AAA"]
    assert (out / "manifest.tsv").read_text().splitlines()[1].startswith("ENCFF001AAA\tENCFF001AAA.tsv\t")
    assert "secret" not in (out / "plan.json").read_text()
    asked = parse_qs(urlsplit(portal.paths[0]).query)
    expected = {
        "type": ["File"],
        "status": ["released"],
        "output_type": ["gene quantifications"],
        "file_format": ["tsv"],
        "assembly": ["GRCh38"],
        "genome_annotation": ["V29"],
        "lab.title": ["ENCODE Processing Pipeline"],
        "preferred_default": ["true"],
        "assay_title": ["polyA plus RNA-seq", "total RNA-seq"],
        "format": ["json"],
        "limit": ["all"],
    }
    assert {key: asked[key] for key in expected} == expected
    portal.paths.clear()
    assert download_encode(out, portal.url, policy=QUICK).n_fetched == 0
    assert [urlsplit(path).path for path in portal.paths] == ["/search/"]


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ([(404, '{"@graph": [], "notification": "No results found"}')], DataError, "no file of polyA plus RNA-seq or"),
        ([(404, '{"status": "error", "code": 404}')], DataError, "check --assays .* and --annotation"),
        ([(200, '{"@graph": [], "total": 0}')], DataError, "no file of"),
        ([(404, "<html>not here</html>")], PortalAnswerError, "answered 404, expected a JSON object, found '<html>"),
        ([(200, "[]")], PortalAnswerError, "is this the address of an ENCODE portal"),
        ([(200, '{"hits": 3}')], PortalAnswerError, "expected a list `@graph` of files"),
        ([(200, json.dumps({"@graph": [{"accession": "A"}], "total": 2}))], PortalError, "the portal counts 2"),
        ([(200, json.dumps({"@graph": [{"accession": "A"}] * 2}))], PortalError, "2 files, 1 of them different"),
        ([(403, '{"detail": "blocked"}')], PortalError, "answered 403: .*blocked"),
        ([(503, "busy"), (503, "busy")], PortalError, "answered 503: busy, after 2 tries"),
    ],
)
def test_answers_of_the_search(
    tmp_path: Path, portal: Portal, answers: list[tuple[int, str]], error: type[Exception], message: str
) -> None:
    portal.answers = answers
    with pytest.raises(error, match=message):
        download_encode(tmp_path / "raw", portal.url, policy=QUICK)
    assert not (tmp_path / "raw" / "plan.json").exists()


def test_a_busy_portal_is_asked_again(tmp_path: Path, portal: Portal) -> None:
    portal.answers = [(503, "busy")]
    assert download_encode(tmp_path / "raw", portal.url, policy=QUICK).n_fetched == 3


def test_a_portal_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PortalError, match=r"no answer .*after 2 tries; check the portal's address \(--api\)"):
        download_encode(tmp_path / "raw", "http://127.0.0.1:1", policy=QUICK)
    with pytest.raises(ConfigError, match="--api 'encode' is no address"):
        download_encode(tmp_path / "raw", "encode")
    with pytest.raises(ConfigError, match="--assays names no assay"):
        download_encode(tmp_path / "raw", assays=())


def test_a_search_of_which_nothing_can_be_used(tmp_path: Path, portal: Portal) -> None:
    portal.graph = portal.graph[3:]
    with pytest.raises(DataError, match="none of 1 files can be used; rejected: 1 by genome_annotation"):
        download_encode(tmp_path / "raw", portal.url, policy=QUICK)


def test_a_file_with_another_md5_is_never_accepted(tmp_path: Path, portal: Portal) -> None:
    portal.bodies["ENCFF002AAA"] = portal.bodies["ENCFF002AAA"].replace("2.5", "3.5")
    with pytest.raises(PortalError, match=r"ENCFF002AAA \(ENCSR000AAA\): md5"):
        download_encode(tmp_path / "raw", portal.url, policy=QUICK)
    assert not (tmp_path / "raw" / "ENCFF002AAA" / "ENCFF002AAA.tsv").exists()
    assert not (tmp_path / "raw" / "manifest.tsv").exists()


def test_requests_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encode.MIN_SECONDS_BETWEEN_REQUESTS > 0.1
    waited: list[float] = []
    monkeypatch.setattr(encode.time, "monotonic", lambda: 100.0)
    monkeypatch.setattr(encode.time, "sleep", waited.append)
    monkeypatch.setattr(encode.HTTPAdapter, "send", lambda *_, **__: None)
    adapter = encode._PacedAdapter(0.25, 1)
    for _ in range(3):
        adapter.send(None)  # type: ignore[arg-type]
    assert waited == [0.0, 0.25, 0.5]


# ---- a batch download ----

BATCH_COLUMNS = {
    "File accession": "ENCFF001AAA",
    "File format": "tsv",
    "Output type": "gene quantifications",
    "File assembly": "GRCh38",
    "Experiment accession": "ENCSR000AAA",
    "Assay": "total RNA-seq",
    "Biosample term name": "K562",
    "Biosample type": "cell line",
    "Biological replicate(s)": "1",
    "Size": "0",
    "Lab": "ENCODE Processing Pipeline",
    "md5sum": "0",
    "Genome annotation": "V29",
    "File Status": "released",
}


def write_batch(folder: Path, portal: Portal) -> None:
    folder.mkdir()
    rows = []
    for number, (accession, body) in enumerate(portal.bodies.items(), start=1):
        size, md5 = str(len(body)), hashlib.md5(body.encode()).hexdigest()
        changes = {"File accession": accession, "Biological replicate(s)": str(number), "Size": size, "md5sum": md5}
        rows.append("\t".join((BATCH_COLUMNS | changes).values()))
    (folder / "metadata.tsv").write_text("\n".join(["\t".join(BATCH_COLUMNS), *rows]) + "\n")
    (folder / "ENCFF001AAA.tsv").write_text(portal.bodies["ENCFF001AAA"])
    (folder / "ENCFF002AAA.tsv").write_text("damaged")


def test_a_batch_download_is_used_and_completed(
    tmp_path: Path, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    write_batch(tmp_path / "batch", portal)
    summary = download_encode(tmp_path / "raw", portal.url, batch=tmp_path / "batch", policy=QUICK)
    assert (summary.n_fetched, summary.n_kept) == (2, 1)
    assert (tmp_path / "raw/ENCFF001AAA/ENCFF001AAA.tsv").samefile(tmp_path / "batch/ENCFF001AAA.tsv")
    assert "ENCFF002AAA.tsv: not the size or md5 of metadata.tsv; it is fetched again" in caplog.text
    assert (tmp_path / "batch/ENCFF002AAA.tsv").read_text() == "damaged", "the user's file is left alone"
    assert not [path for path in portal.paths if path.startswith("/search")]
    assert {file.biosample_type for file in summary.plan.files} == {"cell line"}
    assert summary.plan.api == "batch"


def test_metadata_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "metadata.tsv"
    path.write_text("File accession\tSize\nENCFF001AAA\t1\n")
    with pytest.raises(DataError, match=r"no metadata\.tsv of an ENCODE batch download: missing the columns File form"):
        read_batch_metadata(path)
    cells = BATCH_COLUMNS | {"Size": "1 MB"}
    path.write_text("\t".join(cells) + "\n" + "\t".join(cells.values()) + "\n")
    with pytest.raises(DataError, match="row 2: size '1 MB', expected a number of bytes"):
        read_batch_metadata(path)


# ---- RSEM files ----


def test_trna_spike_ins_and_copies_are_counted_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(rsem(9, 1.5, 2.5, 0, 7))
    first = read_rsem_genes(path)
    assert first.genes.gene_ids == ("ENSG00000000003", "ENSG00000141510")
    assert dict(first.dropped) == {
        "trna": "10904",
        "spike_in": "gSpikein_ERCC-00002",
        "par_y": "ENSG00000182378.13_PAR_Y",
    }
    vocabulary = GeneVocabulary.from_ids(["ENSG00000141510", "ENSG00000000003"])
    assert RsemReader(first, vocabulary).read(path).tolist() == [2.5, 1.5]


def test_another_order_is_aligned_anew_other_genes_are_refused(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("a.tsv", "b.tsv", "c.tsv"))
    first.write_text(rsem(9, 1.5, 2.5, 0, 7))
    second.write_text(rsem(5, 6, genes=["ENSG00000141510.17", "ENSG00000000003.15"]))
    third.write_text(rsem(5, 6, genes=["ENSG00000141510.17", "ENSG00000000005.5"]))
    genes = read_rsem_genes(first)
    reader = RsemReader(genes, genes.genes)
    np.testing.assert_array_equal(next(reader.batches([first, second])), np.float32([[1.5, 2.5], [6, 5]]))
    with pytest.raises(DataError, match=r"\(1 genes are missing, 1 are new, as ENSG00000000003\)"):
        reader.read(third)
    with pytest.raises(VocabularyError, match="1 genes of the vocabulary are not in the RSEM files"):
        RsemReader(genes, GeneVocabulary.from_ids(["ENSG00000000009"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>", "no RSEM gene results: .* found an HTML page"),
        ("gene_id\tFPKM\nENSG1\t1\n", r"columns with gene_id and TPM, found the header 'gene_id\\tFPKM'"),
        (f"{HEADER}\n", "an RSEM header without any row"),
        (rsem(9, "high", 2.5, 0, 7), "damaged RSEM gene results"),
        (rsem(9, 1, 2.5, 0, 7) + "ENSG0000", "damaged RSEM gene results"),
        (rsem(9, -1, 2.5, 0, 7), "TPM of gene ENSG00000000003 is -1; expected a number, 0 or more"),
        (rsem(9, "NA", 2.5, 0, 7), "TPM of gene ENSG00000000003 is nan"),
    ],
)
def test_files_that_are_damaged(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        first = read_rsem_genes(tmp_path / "a.tsv")
        RsemReader(first, first.genes).read(tmp_path / "a.tsv")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_rsem_genes(tmp_path / "none.tsv")


# ---- the way into a cohorts folder ----


def read(folder: Path) -> Source:
    return read_encode_raw(folder, InputOptions())


def test_a_raw_folder_becomes_a_source_and_a_cohort(tmp_path: Path, portal: Portal) -> None:
    portal.graph[1]["biosample_ontology"] = {"classification": "tissue", "term_name": "lung"}
    download_encode(tmp_path / "raw", portal.url, policy=QUICK)
    source = read(tmp_path / "raw")
    assert (source.label, source.data_access, source.values.annotation) == ("encode", "open", "GENCODE V29")
    samples = source.samples.set_index("sample_id")
    assert samples["patient_id"].tolist() == ["ENCSR000AAA", "ENCSR000AAA", "ENCSR000BBB"]
    assert samples["sample_type"].tolist() == ["normal", "normal", "cell_line"]
    assert [(item.sample_id, item.rule) for item in source.rejected] == [("ENCFF004AAA", "genome_annotation")]
    patients = source.clinical.patients.set_index("patient_id")
    assert patients.loc["ENCSR000BBB", "biosample_term"] == "K562"
    assert patients.loc["ENCSR000AAA", "biosample_term"] == ""
    assert patients["flags"].tolist() == ["no_survival;conflicting_label:biosample_term", "no_survival"]
    summary = write_cohorts(plan_cohorts([source]), tmp_path / "cohorts")
    assert summary["cohorts"][0] | {"n_samples": 3, "n_patients": 2, "n_normal": 2} == summary["cohorts"][0]
    cohorts = read_cohorts(tmp_path / "cohorts")
    assert cohorts.values.tolist() == [[1, 2.5], [2, 2.5], [3, 2.5]]


def test_a_file_without_a_biosample_counts_as_a_cell_line(
    tmp_path: Path, portal: Portal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="bulkrnabert")
    del portal.graph[0]["biosample_ontology"]
    download_encode(tmp_path / "raw", portal.url, policy=QUICK)
    assert read(tmp_path / "raw").samples["sample_type"].tolist() == ["cell_line", "normal", "cell_line"]
    assert "1 files without a biosample type count as cell lines, as ENCFF001AAA" in caplog.text


def test_a_plan_without_files(tmp_path: Path, portal: Portal) -> None:
    download_encode(tmp_path / "raw", portal.url, policy=QUICK)
    plan = json.loads((tmp_path / "raw/plan.json").read_text())
    (tmp_path / "raw/plan.json").write_text(json.dumps(plan | {"files": []}))
    with pytest.raises(DataError, match="the plan lists no file"):
        read(tmp_path / "raw")
