"""GTEx: samples and why not, downloads from a bucket or own files, and the way into a cohorts folder."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.cohort_source import InputOptions, Source
from bulkrnabert.data.gtex_raw import cohort_of, read_gtex_raw
from bulkrnabert.data.preprocess import plan_cohorts, write_cohorts
from bulkrnabert.data.samplesheet import is_cohort_name
from bulkrnabert.data.sources import gtex
from bulkrnabert.data.sources.gtex import RELEASES, download_gtex
from bulkrnabert.data.sources.gtex_samples import donor_of, read_attributes, read_subjects
from bulkrnabert.data.sources.raw_plan import plan_source
from bulkrnabert.data.sources.transfer import TransferPolicy
from bulkrnabert.data.tables import read_cohorts
from bulkrnabert.errors import ConfigError, DataError, PortalError, VocabularyError

QUICK = TransferPolicy(n_workers=1, n_retries=2, backoff_s=0.001, idle_timeout_s=5)
LUNG_A, BRAIN_A, LUNG_B, CELLS_B = (
    "GTEX-1117F-0001-SM-A",
    "GTEX-1117F-0002-SM-B",
    "GTEX-ZZPU-0003-SM-C",
    "GTEX-ZZPU-0004-SM-D",
)
BRAIN = "Brain - Nucleus accumbens (basal ganglia)"
FIBROBLASTS = "Cells - Cultured fibroblasts"
ATTRIBUTES = "\n".join(
    [
        "SAMPID\tSMPTHNTS\tSMRIN\tSMTS\tSMTSD\tSMTSISCH\tSMAFRZE",
        f'{LUNG_A}\t2 pieces, "clean\t6.3\tLung\tLung\t1188\tRNASEQ',
        f"{BRAIN_A}\t\t5.1\tBrain\t{BRAIN}\t300\tRNASEQ",
        f"{LUNG_B}\t\t7.9\tLung\tLung\t12\tRNASEQ",
        f"{CELLS_B}\t\t\tSkin\t{FIBROBLASTS}\t\tRNASEQ",
        "GTEX-1117F-0005-SM-E\t\t8\tBlood\tWhole Blood\t\tWGS",
        "GTEX-1117F-0006-SM-F\t\t8\tLung\tLung\t\tRNASEQ",
        "",
    ]
)
SUBJECTS = "SUBJID\tSEX\tAGE\tDTHHRDY\nGTEX-1117F\t2\t60-69\t4\nGTEX-ZZPU\t1\t20-29\t\nGTEX-OTHER\t1\t20-29\t0\n"
NO_ATTRIBUTES = "GTEX-WXYZ-0009-SM-G"
TABLE = "\n".join(
    [
        "#1.2",
        "4\t5",
        "\t".join(["Name", "Description", LUNG_B, NO_ATTRIBUTES, CELLS_B, LUNG_A, BRAIN_A]),
        "ENSG00000141510.16\tTP53\t1\t99\t2\t3\t4",
        "ENSG00000000003.14\tTSPAN6\t10\t99\t20\t30\t40",
        "ENSG00000000005.5\tTNMD\t0.5\t99\t0\t0\t0.25",
        "ENSG00000182378.13_PAR_Y\tPLCXD1\t0\t99\t0\t0\t0",
        "",
    ]
)


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """The three files as a user has them."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "tpm.gct.gz").write_bytes(gzip.compress(TABLE.encode()))
    (folder / "attributes.txt").write_text(ATTRIBUTES)
    (folder / "subjects.txt").write_text(SUBJECTS)
    names = {"gct": "tpm.gct.gz", "attributes": "attributes.txt", "subjects": "subjects.txt"}
    return {role: str(folder / name) for role, name in names.items()}


class Bucket:
    """Serves three files as the bucket does, with `x-goog-hash` and ranges; keeps count."""

    def __init__(self, own: dict[str, str]) -> None:
        self.files = {f"/{role}/{Path(path).name}": Path(path).read_bytes() for role, path in own.items()}
        self.requests: list[tuple[str, str, str | None]] = []
        self.has_hash = True
        self.wrong_hash = False
        self.cut_once: set[str] = set()
        self.status: list[int] = []
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                bucket.requests.append((self.command, self.path, self.headers.get("Range")))
                body = bucket.files.get(self.path)
                status = bucket.status.pop(0) if bucket.status else 200 if body is not None else 404
                if body is None or status != 200:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                match = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
                start = int(match[1]) if match else 0
                self.send_response(206 if match else 200)
                if match:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(body) - start))
                self.send_header("ETag", '"1"')
                if bucket.has_hash:
                    content = b"other" if bucket.wrong_hash else body
                    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
                    self.send_header("x-goog-hash", "crc32c=AAAAAA==")
                    self.send_header("x-goog-hash", f"md5={md5}")
                self.end_headers()
                if with_body:
                    end = len(body)
                    if self.path in bucket.cut_once:
                        bucket.cut_once.remove(self.path)
                        end, self.close_connection = start + 40, True
                    self.wfile.write(body[start:end])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.addresses = {role: f"{self.url}/{role}/{Path(path).name}" for role, path in own.items()}


@pytest.fixture
def bucket(own: dict[str, str]) -> Iterator[Bucket]:
    served = Bucket(own)
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


def rules(folder: Path) -> dict[str, str]:
    return {item["sample_id"]: item["rule"] for item in json.loads((folder / "plan.json").read_text())["rejected"]}


def test_the_addresses_are_those_of_the_release() -> None:
    assert set(RELEASES) == {"v8", "v10"}
    for name, release in RELEASES.items():
        for url in (release.tpm, release.attributes, release.subjects):
            assert url.startswith(f"{gtex.BUCKET}/") and f"/{name}/" in url and f"_{name}_" in url
    assert (RELEASES["v8"].annotation, RELEASES["v10"].annotation) == ("GENCODE v26", "GENCODE v39")


def test_own_files_are_linked_and_every_sample_has_a_fate(tmp_path: Path, own: dict[str, str]) -> None:
    out = tmp_path / "raw"
    summary = download_gtex(out, "v8", **own)
    assert plan_source(out) == "gtex"
    assert (summary.n_fetched, summary.n_kept) == (0, 3)
    assert [sample.sample_id for sample in summary.plan.samples] == [LUNG_A, BRAIN_A, LUNG_B, CELLS_B]
    assert summary.plan.samples[0].model_dump() == {
        "sample_id": LUNG_A,
        "patient_id": "GTEX-1117F",
        "tissue": "Lung",
        "tissue_group": "Lung",
        "rin": "6.3",
        "ischemic_minutes": "1188",
    }
    assert rules(out) == {
        "GTEX-1117F-0005-SM-E": "rnaseq_freeze",
        "GTEX-1117F-0006-SM-F": "not_in_table",
        NO_ATTRIBUTES: "no_attributes",
    }
    target = out / "gene_tpm" / "tpm.gct.gz"
    assert target.samefile(own["gct"])
    manifest = pd.read_csv(out / "manifest.tsv", sep="\t")
    assert manifest.columns.tolist() == ["id", "filename", "md5", "size", "release"]
    assert dict(zip(manifest["id"], manifest["md5"], strict=True))["gene_tpm"] == (
        hashlib.md5(target.read_bytes()).hexdigest()
    )
    assert set(manifest["release"]) == {"GTEx v8"}


def test_own_files_are_copied_where_links_are_not_possible(
    tmp_path: Path, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out = tmp_path / "raw"
    download_gtex(out, "v8", **own)
    target = out / "gene_tpm" / "tpm.gct.gz"
    assert not target.samefile(own["gct"])
    first = target.stat().st_ino
    download_gtex(out, "v8", **own)
    assert target.stat().st_ino == first, "the same content is not copied again"


@pytest.mark.parametrize(
    ("options", "chosen", "left_out"),
    [
        ({"tissues": ["lung"]}, [LUNG_A, LUNG_B], {BRAIN_A: "tissue", CELLS_B: "tissue"}),
        ({"tissues": ["Brain", FIBROBLASTS]}, [BRAIN_A, CELLS_B], {LUNG_A: "tissue", LUNG_B: "tissue"}),
        ({"min_rin": 6.3}, [LUNG_A, LUNG_B], {BRAIN_A: "min_rin", CELLS_B: "min_rin"}),
    ],
)
def test_samples_by_tissue_and_integrity(
    tmp_path: Path, own: dict[str, str], options: dict[str, Any], chosen: list[str], left_out: dict[str, str]
) -> None:
    plan = download_gtex(tmp_path / "raw", **own, **options).plan
    assert [sample.sample_id for sample in plan.samples] == chosen
    assert left_out.items() <= rules(tmp_path / "raw").items()


def test_attributes_without_a_freeze_column_use_the_table(tmp_path: Path, own: dict[str, str]) -> None:
    Path(own["attributes"]).write_text(ATTRIBUTES.replace("SMAFRZE", "OTHER"))
    download_gtex(tmp_path / "raw", **own)
    assert rules(tmp_path / "raw")["GTEX-1117F-0005-SM-E"] == "not_in_table"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tissues": ["Lungs"]}, "no tissue 'Lungs' in this release; the nearest are Lung"),
        ({"tissues": ["accumbens"]}, rf"the nearest are .*{re.escape(BRAIN)}"),
        ({"tissues": ["Whole Blood"]}, r"no sample of GTEx v8 is left; rejected: .*4 by tissue.* Check --tissues"),
        ({"min_rin": 9.9}, "4 by min_rin"),
        ({"release": "v9"}, "no GTEx release 'v9' is known; choose one of v8, v10"),
    ],
)
def test_a_choice_that_leaves_nothing(
    tmp_path: Path, own: dict[str, str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        download_gtex(tmp_path / "raw", **{**own, **options})
    assert not (tmp_path / "raw" / "manifest.tsv").exists()


def test_integrity_cannot_be_asked_for_without_its_column(tmp_path: Path, own: dict[str, str]) -> None:
    Path(own["attributes"]).write_text(ATTRIBUTES.replace("SMRIN", "OTHER"))
    with pytest.raises(ConfigError, match="--min-rin: the sample attributes have no column SMRIN"):
        download_gtex(tmp_path / "raw", **own, min_rin=6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SAMPID\tTISSUE\nA\tB\n", "expected a GTEx table with the columns SAMPID, SMTSD; found SAMPID"),
        ("SAMPID\tSMTSD\n", "a header without rows"),
        ("SAMPID\tSMTSD\nA\tLung\nA\tLung\n", "SAMPID 'A' stands there twice"),
        ("<html></html>", "an HTML page, not a table"),
    ],
)
def test_attributes_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_attributes(tmp_path / "a.txt")


def test_a_table_that_pandas_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise pd.errors.ParserError("Buffer overflow caught")

    (tmp_path / "a.txt").write_text(ATTRIBUTES)
    monkeypatch.setattr(pd, "read_csv", refuse)
    with pytest.raises(DataError, match="no table separated by tabs: Buffer overflow caught"):
        read_attributes(tmp_path / "a.txt")


def test_subjects_need_their_ids(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("SEX\tAGE\n1\t20-29\n")
    with pytest.raises(DataError, match="with the columns SUBJID"):
        read_subjects(tmp_path / "s.txt")


def test_own_files_must_be_there(tmp_path: Path, own: dict[str, str]) -> None:
    with pytest.raises(DataError, match="no such file; check the path"):
        download_gtex(tmp_path / "raw", **{**own, "gct": str(tmp_path / "none.gct.gz")})
    with pytest.raises(DataError, match="is a folder, expected file"):
        download_gtex(tmp_path / "raw", **{**own, "gct": str(tmp_path)})


def test_a_folder_keeps_its_release_and_source(tmp_path: Path, own: dict[str, str]) -> None:
    out = tmp_path / "raw"
    download_gtex(out, "v8", **own)
    with pytest.raises(ConfigError, match="holds GTEx v8; choose another --out for v10"):
        download_gtex(out, "v10", **own)
    (out / "plan.json").write_text('{"source": "gdc"}')
    with pytest.raises(ConfigError, match="holds files of gdc; choose another --out for gtex"):
        download_gtex(out, "v8", **own)


def test_files_of_the_bucket_are_verified_and_not_fetched_twice(tmp_path: Path, bucket: Bucket) -> None:
    out = tmp_path / "raw"
    bucket.cut_once = {"/gct/tpm.gct.gz"}
    bucket.status = [503]
    summary = download_gtex(out, "v8", **bucket.addresses, policy=QUICK)
    assert summary.n_fetched == 3
    assert (out / "gene_tpm" / "tpm.gct.gz").read_bytes() == bucket.files["/gct/tpm.gct.gz"]
    assert ("GET", "/gct/tpm.gct.gz", "bytes=40-") in bucket.requests
    small = [path for method, path, _ in bucket.requests if method == "GET"]
    assert small[:2] == ["/attributes/attributes.txt", "/subjects/subjects.txt"], "the large file comes last"
    bucket.requests.clear()
    again = download_gtex(out, "v8", **bucket.addresses, policy=QUICK)
    assert again.n_fetched == 0 and again.plan == summary.plan
    assert {method for method, _, _ in bucket.requests} == {"HEAD"}


def test_a_wrong_tissue_is_said_before_the_table_is_fetched(tmp_path: Path, bucket: Bucket) -> None:
    with pytest.raises(ConfigError, match="no tissue 'Spleen'"):
        download_gtex(tmp_path / "raw", "v8", **bucket.addresses, tissues=["Spleen"], policy=QUICK)
    assert not [path for _, path, _ in bucket.requests if "gct" in path]


def test_a_server_without_hashes_is_believed_with_a_warning(
    tmp_path: Path, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.has_hash = False
    plan = download_gtex(tmp_path / "raw", "v8", **bucket.addresses, policy=QUICK).plan
    assert "announces no md5; only the size is verified" in caplog.text
    assert {file.md5 for file in plan.files} == {hashlib.md5(body).hexdigest() for body in bucket.files.values()}


def test_a_wrong_hash_is_never_accepted(tmp_path: Path, bucket: Bucket) -> None:
    bucket.wrong_hash = True
    with pytest.raises(PortalError, match=r"md5 .* instead of"):
        download_gtex(tmp_path / "raw", "v8", **bucket.addresses, policy=QUICK)
    assert not list((tmp_path / "raw" / "sample_attributes").glob("*.txt"))


def test_what_the_server_does_not_have(tmp_path: Path, bucket: Bucket) -> None:
    with pytest.raises(PortalError, match=r"none\.gct\.gz: answered 404; the file is not there"):
        download_gtex(tmp_path / "raw", **{**bucket.addresses, "gct": f"{bucket.url}/none.gct.gz"}, policy=QUICK)
    bucket.status = [503, 503, 503]
    with pytest.raises(PortalError, match="answered 503 after 3 tries; check the network"):
        download_gtex(tmp_path / "raw", **bucket.addresses, policy=QUICK)


def test_a_server_that_is_not_there(tmp_path: Path, own: dict[str, str]) -> None:
    with pytest.raises(PortalError, match="no answer"):
        download_gtex(tmp_path / "raw", **{**own, "attributes": "http://127.0.0.1:1/a.txt"}, policy=QUICK)


# ---- the way into a cohorts folder ----


def read(folder: Path, **options: Any) -> Source:
    return read_gtex_raw(folder, InputOptions(**options))


def test_a_raw_folder_becomes_a_source(tmp_path: Path, own: dict[str, str]) -> None:
    out = tmp_path / "raw"
    download_gtex(out, "v8", **own)
    source = read(out, endpoint="PFI", scratch_folder=tmp_path)
    assert (source.label, source.data_access, str(source.unit)) == ("gtex", "open", "tpm")
    samples = source.samples.set_index("sample_id")
    assert samples["patient_id"].to_dict() == {
        LUNG_A: "GTEX-1117F",
        BRAIN_A: "GTEX-1117F",
        LUNG_B: "GTEX-ZZPU",
        CELLS_B: "GTEX-ZZPU",
    }
    assert set(samples["cohort"]) == {"GTEX"}
    assert samples.loc[CELLS_B, "sample_type"] == "cell_line" and samples.loc[LUNG_A, "sample_type"] == "normal"
    assert samples.loc[BRAIN_A, "project_id"] == "GTEX-Brain_Nucleus_accumbens_basal_ganglia"
    assert source.values.genes.gene_ids == ("ENSG00000141510", "ENSG00000000003", "ENSG00000000005")
    assert source.values.genes.symbols == ("TP53", "TSPAN6", "TNMD")
    assert source.values.dropped == (("par_y", "ENSG00000182378.13_PAR_Y"),)
    assert source.values.annotation == "GENCODE v26"
    assert {item.rule for item in source.rejected} == {"rnaseq_freeze", "not_in_table", "no_attributes"}
    patients = source.clinical.patients.set_index("patient_id")
    assert patients["sex"].to_dict() == {"GTEX-1117F": "female", "GTEX-ZZPU": "male"}
    assert patients["age"].to_dict() == {"GTEX-1117F": "60-69", "GTEX-ZZPU": "20-29"}
    assert patients["time_days"].isna().all() and set(patients["tissue"]) == {""}
    assert set(patients["flags"]) == {"no_survival;conflicting_label:tissue"}


def test_values_go_into_the_cohorts_folder(tmp_path: Path, own: dict[str, str]) -> None:
    download_gtex(tmp_path / "raw", "v8", **own, cohorts="tissue")
    summary = write_cohorts(plan_cohorts([read(tmp_path / "raw", scratch_folder=tmp_path)]), tmp_path / "cohorts")
    assert [entry["cohort"] for entry in summary["cohorts"]] == [
        "GTEX-Brain_Nucleus_accumbens_basal_ganglia",
        "GTEX-Cells_Cultured_fibroblasts",
        "GTEX-Lung",
    ]
    assert summary["genes"]["dropped"][0] == {
        "rule": "par_y",
        "source": "gtex",
        "n": 1,
        "examples": ["ENSG00000182378.13_PAR_Y"],
    }
    cohorts = read_cohorts(tmp_path / "cohorts")
    assert cohorts.genes.gene_ids == ("ENSG00000000003", "ENSG00000000005", "ENSG00000141510")
    found = dict(zip(cohorts.samples["sample_id"], cohorts.values.tolist(), strict=True))
    assert found == {LUNG_A: [30, 0, 3], BRAIN_A: [40, 0.25, 4], LUNG_B: [10, 0.5, 1], CELLS_B: [20, 0, 2]}
    assert {path.name for path in tmp_path.iterdir()} == {"own", "raw", "cohorts"}, "nothing temporary is left"


def test_the_table_is_read_once_for_all_cohorts(
    tmp_path: Path, own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bulkrnabert.data import gtex_raw

    download_gtex(tmp_path / "raw", "v8", **own)
    values = read(tmp_path / "raw").values
    calls = []
    real = gtex_raw.extract_gct
    monkeypatch.setattr(gtex_raw, "extract_gct", lambda *given: calls.append(given) or real(*given))
    both = [np.concatenate(list(values.pieces(rows, values.genes))) for rows in ([0, 2], [1])]
    assert len(calls) == 1
    assert both[0].shape == (2, 3) and both[1].shape == (1, 3)
    list(values.pieces([0], values.genes.subset([1])))
    assert len(calls) == 2


def test_a_vocabulary_that_the_table_lacks(tmp_path: Path, own: dict[str, str]) -> None:
    download_gtex(tmp_path / "raw", "v8", **own)
    values = read(tmp_path / "raw").values
    unknown = type(values.genes).from_ids(["ENSG00000999999"])
    with pytest.raises(VocabularyError, match=r"1 genes of the vocabulary are not in .*ENSG00000999999"):
        list(values.pieces([0], unknown))


def test_another_release_is_noticed(tmp_path: Path, own: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    download_gtex(tmp_path / "raw", "v10", **own)
    read(tmp_path / "raw")
    assert "has ENSG00000141510.16, but v10 (GENCODE v39) has version 18 of this gene" in caplog.text


def test_raw_folders_that_cannot_be_read(tmp_path: Path, own: dict[str, str]) -> None:
    out = tmp_path / "raw"
    with pytest.raises(DataError, match=r"no plan\.json here"):
        read(tmp_path)
    download_gtex(out, "v8", **own)
    plan = json.loads((out / "plan.json").read_text())

    def with_plan(**changes: Any) -> None:
        (out / "plan.json").write_text(json.dumps({**plan, **changes}))

    with_plan(samples=[])
    with pytest.raises(DataError, match="the plan lists no sample"):
        read(out)
    with_plan(files=[file for file in plan["files"] if file["file_id"] != "gene_tpm"])
    with pytest.raises(DataError, match="the plan lists no file gene_tpm"):
        read(out)
    with_plan(samples=[{**plan["samples"][0], "sample_id": "GTEX-9-9"}])
    with pytest.raises(DataError, match="lacks 1 of the 1 planned samples, as GTEX-9-9"):
        read(out)
    with_plan(source="encode")
    with pytest.raises(DataError, match="not a download plan: `source`"):
        read(out)
    with_plan(source="geo")
    with pytest.raises(DataError, match="source 'geo'; expected one of gdc, gtex, encode"):
        plan_source(out)
    (out / "plan.json").write_text("[]")
    with pytest.raises(DataError, match="expected a JSON object, found list"):
        plan_source(out)
    with_plan()
    (out / "subject_phenotypes" / "subjects.txt").unlink()
    with pytest.raises(DataError, match=r"the planned file .*subjects.txt is not there"):
        read(out)
    (out / "subject_phenotypes" / "subjects.txt").write_text("short")
    with pytest.raises(DataError, match=f"5 bytes, the plan says {len(SUBJECTS)}"):
        read(out)


def test_subjects_of_another_release(tmp_path: Path, own: dict[str, str]) -> None:
    Path(own["subjects"]).write_text("SUBJID\tSEX\nGTEX-NONE\t1\n")
    download_gtex(tmp_path / "raw", "v8", **own)
    with pytest.raises(DataError, match="lists none of the 2 donors, as GTEX-"):
        read(tmp_path / "raw")


def test_names() -> None:
    assert donor_of("K-562-SM-2AXVE") == "K-562"
    assert cohort_of("Brain - Spinal cord (cervical c-1)", "tissue") == "GTEX-Brain_Spinal_cord_cervical_c_1"
    assert cohort_of("Lung", "one") == "GTEX" and cohort_of("", "tissue") == "GTEX"
    assert is_cohort_name(cohort_of(BRAIN, "tissue"))
