"""The TCGA-CDR: its forms, what is out and why, and what becomes of the GDC's own survival."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest

from bulkrnabert.data.clinical import PATIENT_COLUMNS, Clinical
from bulkrnabert.data.sources.tcga_cdr_file import CDR_FILE, CdrFile, download_cdr
from bulkrnabert.data.sources.transfer import TransferError, TransferPolicy, open_session
from bulkrnabert.data.survival_endpoints import SurvivalPolicy, survival_account
from bulkrnabert.data.tcga_cdr import Cdr, apply_cdr, read_cdr
from bulkrnabert.errors import DataError

NAN = math.nan
HEADER = ",bcr_patient_barcode,type,vital_status,OS,OS.time,DSS,DSS.time,DFI,DFI.time,PFI,PFI.time,Redaction"
ROWS = [
    "1,TCGA-AA-0001,BRCA,Dead,1,100,1,100,#N/A,#N/A,1,50,",
    "2,TCGA-AA-0002,BRCA,Alive,0,900,0,900,0,900,0,900,",
    "3,TCGA-AA-0003,PAAD,Alive,0,20,0,20,1,30,1,40,[Not Available]",
    "4,TCGA-AA-0004,PAAD,Dead,1,0,#N/A,0,,,1,0,",
    "5,TCGA-AA-0005,BRCA,Dead,1,700,1,700,,,1,600,Redacted",
    "6,TCGA-AA-0006,BRCA,[Not Available],[Not Available],#N/A,,,,,,,",
]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "cdr.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture
def cdr(sheet: Path) -> Cdr:
    return read_cdr(sheet)


def gdc(*rows: tuple[str, float, float, str]) -> Clinical:
    """Patients as the GDC has them: id, days, event, flags."""
    records = [(name, "TCGA-BRCA", days, event, "OS", "cases.json: OS", flags) for name, days, event, flags in rows]
    patients = pd.DataFrame(records, columns=list(PATIENT_COLUMNS)).assign(sex="female")
    return Clinical(patients, {}, frozenset(), has_cohorts=True, source="cases.json")


def all_patients() -> Clinical:
    return gdc(
        ("TCGA-AA-0001", 100.0, 1.0, "follow_up_after_death"),
        ("TCGA-AA-0002", 1200.0, 0.0, "conflicting_label:stage"),
        ("TCGA-AA-0003", 21.0, 0.0, ""),
        ("TCGA-AA-0004", NAN, NAN, "zero_time"),
        ("TCGA-AA-0005", 700.0, 1.0, ""),
        ("TCGA-AA-0006", NAN, NAN, "unknown_vital_status"),
        ("TCGA-AA-0007", 5.0, 0.0, ""),
        ("C3L-00001", 44.0, 1.0, ""),
    )


def test_the_sheet(cdr: Cdr, caplog: pytest.LogCaptureFixture) -> None:
    assert cdr.endpoints == ("OS", "PFI", "DSS", "DFI")
    assert len(cdr.patients) == 6
    assert cdr.patients["TCGA-AA-0001"].values["OS"] == (100.0, 1.0)
    assert math.isnan(cdr.patients["TCGA-AA-0001"].values["DFI"][0])
    assert [name for name, patient in cdr.patients.items() if patient.is_redacted] == ["TCGA-AA-0005"]
    assert cdr.after_os == {"PFI": ("TCGA-AA-0003",), "DFI": ("TCGA-AA-0003",)}


def test_what_is_read_is_logged(sheet: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_cdr(sheet)
    assert "6 patients (OS: 5, PFI: 5, DSS: 4, DFI: 2), 1 redacted, 0 with rows that disagree" in caplog.text
    assert "PFI lasts longer than OS for 1 patients: TCGA-AA-0003" in caplog.text


def test_os_replaces_what_the_gdc_says(cdr: Cdr, caplog: pytest.LogCaptureFixture) -> None:
    before = all_patients()
    untouched = before.patients.copy()
    with caplog.at_level(logging.INFO):
        clinical = apply_cdr(before, cdr, "OS")
    pd.testing.assert_frame_equal(before.patients, untouched)
    table = clinical.patients.set_index("patient_id")
    columns = ["time_days", "event", "flags"]
    assert table.loc["TCGA-AA-0001", columns].tolist() == [100, 1, ""]
    assert table.loc["TCGA-AA-0002", columns].tolist() == [900, 0, "conflicting_label:stage;differs_from_gdc"]
    assert table.loc["TCGA-AA-0003", columns].tolist() == [20, 0, ""]  # a day apart is the same
    assert table["time_days"].isna().tolist() == [False, False, False, True, True, True, True, False]
    assert table["flags"].tolist()[3:7] == ["zero_time", "redacted", "no_survival", "not_in_cdr"]
    assert set(table["endpoint_source"][:7]) == {"TCGA-CDR (Liu 2018)"}
    assert table.loc["TCGA-AA-0002", ["gdc_OS", "gdc_OS.time", "OS.time", "PFI.time"]].tolist() == [
        *("0", "1200", "900", "900")
    ]
    assert table.loc["TCGA-AA-0005", ["OS", "OS.time", "PFI"]].tolist() == ["", "", ""]
    assert table.loc["C3L-00001", ["time_days", "endpoint_source", "OS"]].tolist() == [44, "cases.json: OS", ""]
    assert "OS of 3 of 7 TCGA patients is taken from the TCGA-CDR (Liu 2018)" in caplog.text
    assert "for 1 of 3 patients that have both, as TCGA-AA-0002" in caplog.text
    assert "0 have it here only, 2 there only" in caplog.text


def test_a_change_of_status_is_a_difference(cdr: Cdr) -> None:
    clinical = apply_cdr(gdc(("TCGA-AA-0001", 100.0, 0.0, "")), cdr, "OS")
    assert clinical.patients["flags"].tolist() == ["differs_from_gdc"]


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("PFI", {"TCGA-AA-0001": "", "TCGA-AA-0002": "conflicting_label:stage", "TCGA-AA-0003": "pfi_after_os"}),
        ("DFI", {"TCGA-AA-0002": "conflicting_label:stage", "TCGA-AA-0003": "dfi_after_os"}),
        (
            "DSS",
            {
                "TCGA-AA-0001": "dss_approximate",
                "TCGA-AA-0002": "dss_approximate;conflicting_label:stage",
                "TCGA-AA-0003": "",
            },
        ),
    ],
)
def test_other_endpoints(cdr: Cdr, endpoint: str, expected: dict[str, str]) -> None:
    table = apply_cdr(all_patients(), cdr, endpoint).patients.set_index("patient_id")
    usable = table[table["time_days"].notna()]
    assert usable["flags"].to_dict() == expected
    assert set(table["endpoint"]) == {endpoint}
    assert table.loc["C3L-00001", "flags"] == "no_survival"


def test_the_account_says_what_is_used(cdr: Cdr) -> None:
    clinical = apply_cdr(all_patients(), cdr, "OS", SurvivalPolicy(zero_time="half_day"))
    account = survival_account(clinical.patients)
    used = account.cohorts[account.cohorts["used"] == 1].iloc[0]
    assert "TCGA-CDR (Liu 2018)" in used["endpoint_source"]
    assert (used["n_usable"], used["n_differ"]) == (5, 1)
    assert set(account.cohorts["endpoint"]) == {"OS", "PFI", "DSS", "DFI"}
    of_redacted = account.excluded[account.excluded["patient_id"] == "TCGA-AA-0005"]
    assert of_redacted["reason"].tolist() == ["redacted"] * 4


def test_a_table_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "samples.tsv"
    path.write_text(
        "sample\tcancer type abbreviation\tOS\tOS.time\tPFI\tPFI.time\n"
        "TCGA-AA-0001-01\tLAML\t1.0\t100.0\t1\t50\n"
        "TCGA-AA-0001-03\tLAML\t1\t100\t0\t50\n"
        "TCGA-AA-0002-01\tLAML\t\t\t1\t7\n"
        "TCGA-AA-0002-11\tLAML\t0\t9\t1\t7\n"
    )
    found = read_cdr(path)
    assert found.endpoints == ("OS", "PFI")
    assert found.patients["TCGA-AA-0001"].values["OS"] == (100.0, 1.0)
    assert found.patients["TCGA-AA-0001"].conflicts == {"PFI"}
    assert found.patients["TCGA-AA-0002"].values["OS"] == (9.0, 0.0)
    table = apply_cdr(gdc(("TCGA-AA-0001", 1.0, 1.0, "")), found, "PFI").patients
    assert table["flags"].tolist() == ["conflicting_rows"]
    with pytest.raises(DataError, match="has OS, PFI, not DSS"):
        apply_cdr(gdc(("TCGA-AA-0001", 1.0, 1.0, "")), found, "DSS")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,OS,OS.time\nx,1,2\n", "expected a column `bcr_patient_barcode` or `patient_id`"),
        ("patient_id,age\nTCGA-AA-0001,3\n", r"none of OS, PFI, DSS, DFI with its `\.time` column"),
        ("patient_id,OS,OS.time\nP1,1,2\n", "holds no TCGA barcode .* found 'P1'"),
        ("patient_id,OS,OS.time\n,1,2\nTCGA-AA-0001,1,3\n", "row 2 has no `patient_id`"),
        ("patient_id,OS,OS.time\nTCGA-AA-0001,2,2\n", r"row 2, column `OS`: '2', expected 1 \(event\) or 0"),
        (
            "patient_id,OS,OS.time\nTCGA-AA-0001,1,long\n",
            r"row 2, column `OS\.time`: 'long', expected a number of days",
        ),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cdr.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_cdr(path)


def test_another_study_is_refused(cdr: Cdr) -> None:
    with pytest.raises(DataError, match=r"has none of the 1 TCGA patients of cases\.json, as TCGA-BB-0001"):
        apply_cdr(gdc(("TCGA-BB-0001", 1.0, 1.0, "")), cdr, "OS")
    alone = apply_cdr(gdc(("C3L-00001", 1.0, 1.0, "")), cdr, "OS")
    assert alone.patients["time_days"].tolist() == [1.0]


def test_a_workbook_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ImportError("Missing optional dependency 'openpyxl'.")

    monkeypatch.setattr(pd, "read_excel", refuse)
    with pytest.raises(DataError, match=r"save the sheet 'TCGA-CDR' as CSV or TSV .* `pip install openpyxl`"):
        read_cdr(tmp_path / CDR_FILE.name)


def test_a_workbook(tmp_path: Path, sheet: Path) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    path = tmp_path / CDR_FILE.name
    frame = pd.read_csv(sheet, keep_default_na=False)
    with pd.ExcelWriter(path) as workbook:
        frame.assign(OS=0).to_excel(workbook, sheet_name="ExtraEndpoints", index=False)
        frame.to_excel(workbook, sheet_name="TCGA-CDR", index=False)
    assert read_cdr(path).patients.keys() == read_cdr(sheet).patients.keys()
    assert repr(read_cdr(path).patients) == repr(read_cdr(sheet).patients)
    frame.to_excel(path, sheet_name="another")
    with pytest.raises(DataError, match="no workbook with a sheet 'TCGA-CDR'"):
        read_cdr(path)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match="no workbook with a sheet 'TCGA-CDR'"):
        read_cdr(path)


BODY = b"a workbook"
PUBLISHED = CdrFile("some-id", "table.xlsx", len(BODY), hashlib.md5(BODY).hexdigest())


@pytest.fixture
def portal() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path == f"/data/{PUBLISHED.file_id}"
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_download(portal: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = TransferPolicy(n_retries=0)
    with open_session(1, use_environment=False) as session, caplog.at_level(logging.INFO):
        path = download_cdr(session, tmp_path / "cdr", portal, policy, PUBLISHED)
        assert path.read_bytes() == BODY
        assert "TCGA-CDR fetched" in caplog.text
        download_cdr(session, tmp_path / "cdr", portal, policy, PUBLISHED)
        assert "TCGA-CDR was there" in caplog.text
        with pytest.raises(TransferError):
            download_cdr(session, tmp_path / "other", portal, policy)


@pytest.fixture(scope="module")
def real(shared: Path) -> Cdr:
    return read_cdr(shared / "data" / "ref" / "tcga_cdr_samples.csv.gz")


def test_the_real_table(real: Cdr) -> None:
    assert len(real.patients) == 11_081
    assert not any(patient.conflicts for patient in real.patients.values())
    published = {"TCGA-15-1444", "TCGA-BR-8380", "TCGA-EO-A3AY", "TCGA-UY-A9PE", "TCGA-OL-A97C"}
    assert published <= set(real.after_os["PFI"])
    assert len(real.after_os["PFI"]) == 11


def test_overall_survival_agrees_with_published_labels(real: Cdr, shared: Path) -> None:
    """MultiSurv's labels give time in years of 365 days."""
    labels = pd.read_csv(shared / "data" / "ref" / "multisurv_os_labels.tsv.gz", sep="\t")
    names = [str(name) for name in labels["submitter_id"] if name in real.patients]
    ours = apply_cdr(gdc(*[(name, NAN, NAN, "no_survival") for name in names]), real, "OS").patients
    both = ours.merge(labels, left_on="patient_id", right_on="submitter_id", suffixes=("", "_theirs"))
    both = both[both["time_days"].notna()]
    assert len(both) > 10_000
    same = (both["event"] == both["event_theirs"]) & ((both["time_days"] - 365 * both["time"]).abs() <= 1)
    assert same.mean() > 0.95
    wrong_year = (both["time_days"] - 365.25 * both["time"]).abs() <= 1
    assert wrong_year.mean() < 0.9
