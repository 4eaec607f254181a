"""Which files of the GDC are chosen: each rule by hand, the Broad's choices, any order of the records."""

from __future__ import annotations

import copy
import csv
import hashlib
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkrnabert.config import preset_names, preset_path
from bulkrnabert.data.sources.gdc import GdcClient, PortalStatus
from bulkrnabert.data.sources.gdc_download import download
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_hits import array_of, read_file_record, sample_kind
from bulkrnabert.data.sources.gdc_plan import Plan, read_plan, safe_file_name, write_rejected
from bulkrnabert.data.sources.gdc_planning import make_plan
from bulkrnabert.data.sources.gdc_rules import DEFAULT_RULES, SelectionRules
from bulkrnabert.data.sources.gdc_selection import Selection, select_files
from bulkrnabert.data.sources.gdc_standin import serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError, DataError, PortalAnswerError

KINDS = {  # sample_type, tissue_type, tumor_descriptor, specimen_type
    "01": ("Primary Tumor", "Tumor", "Primary", "Solid Tissue"),
    "02": ("Recurrent Tumor", "Tumor", "Recurrence", "Solid Tissue"),
    "03": ("Primary Blood Derived Cancer - Peripheral Blood", "Tumor", "Primary", "Peripheral Blood NOS"),
    "06": ("Metastatic", "Tumor", "Metastatic", "Solid Tissue"),
    "10": ("Blood Derived Normal", "Normal", "Not Applicable", "Peripheral Blood NOS"),
    "11": ("Solid Tissue Normal", "Normal", "Not Applicable", "Solid Tissue"),
}
PRIMARY = "TCGA-ZZ-0001-01A-11R-A010-07"
FIREHOSE = SelectionRules.from_yaml(preset_path("selection", "firehose"))


def record(barcode: str, project: str = "TCGA-ZZZZ", **changes: Any) -> dict[str, Any]:
    """A /files record; `barcode` as TCGA-ZZ-0001-01A-11R-A001-07. `changes` go to the file, sample or portion."""
    digest = hashlib.md5(repr((barcode, changes)).encode()).hexdigest()
    file_id = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
    sample_type, tissue_type, descriptor, specimen = KINDS[barcode[13:15]]
    sample = {
        "submitter_id": barcode[:16],
        "sample_type": sample_type,
        "tissue_type": tissue_type,
        "tumor_descriptor": descriptor,
        "specimen_type": specimen,
        "preservation_method": changes.pop("preservation_method", "OCT"),
        "portions": [
            {"is_ffpe": changes.pop("is_ffpe", False), "analytes": [{"aliquots": [{"submitter_id": barcode}]}]}
        ],
    }
    case = {
        "case_id": f"case of {barcode[:12]}",
        "submitter_id": barcode[:12],
        "project": {"project_id": project},
        "samples": [sample],
    }
    own: dict[str, Any] = {
        "id": file_id,
        "file_id": file_id,
        "file_name": "x.tsv",
        "md5sum": "0" * 32,
        "file_size": 1,
        "state": "released",
        "access": "open",
        "platform": "Illumina",
    }
    return {**own, "cases": [case], **changes}


def sample_of(hit: dict[str, Any]) -> dict[str, Any]:
    return cast(dict[str, Any], hit["cases"][0]["samples"][0])


def chosen(selection: Selection) -> list[str]:
    return sorted(file.aliquot_id for file in selection.files)


def rejections(selection: Selection) -> dict[str, str]:
    return {file.aliquot_id: file.rule for file in selection.rejected}


def reason(selection: Selection) -> str:
    (only,) = selection.rejected
    return only.reason


# ---- one file ----


@pytest.mark.parametrize(
    ("loser", "changes", "rule", "why"),
    [
        ("TCGA-ZZ-0001-01A-11H-A001-07", {"is_ffpe": True}, "not_ffpe", "FFPE sample"),
        ("TCGA-ZZ-0001-01A-11H-A001-07", {"preservation_method": "FFPE"}, "not_ffpe", "FFPE sample"),
        ("TCGA-ZZ-0001-01A-11H-A001-07", {"access": "controlled"}, "open_access", "access 'controlled'"),
        ("TCGA-ZZ-0001-01A-11H-A001-07", {"access": None}, "open_access", "access ''"),
        ("TCGA-ZZ-0001-01A-11H-A001-07", {"state": "submitted"}, "released", "state 'submitted'"),
        (
            "TCGA-ZZ-0001-01A-11H-A001-07",
            {"annotations": [{"classification": "Redaction", "category": "Subject withdrew consent"}]},
            "not_redacted",
            "redaction: Subject withdrew consent",
        ),
        (
            "TCGA-ZZ-0001-11A-11R-A001-07",
            {},
            "sample_type",
            "sample type 'Solid Tissue Normal' (11); only tumours are wanted",
        ),
    ],
)
def test_a_file_that_is_not_wanted(loser: str, changes: dict[str, Any], rule: str, why: str) -> None:
    selection = select_files([record(loser, **changes), record(PRIMARY)], "rnaseq")
    assert chosen(selection) == [PRIMARY]
    assert rejections(selection) == {loser: rule}
    assert reason(selection) == why


def test_the_first_rule_that_objects_is_named() -> None:
    hit = record(PRIMARY, is_ffpe=True, access="controlled", state="submitted")
    assert rejections(select_files([hit], "rnaseq")) == {PRIMARY: "released"}


@pytest.mark.parametrize(
    "note",
    [{"classification": "Notification"}, {"classification": "Redaction", "status": "Rescinded"}],
)
def test_an_annotation_that_does_not_matter(note: dict[str, str]) -> None:
    assert chosen(select_files([record(PRIMARY, annotations=[note])], "rnaseq")) == [PRIMARY]


def test_rules_of_annotations() -> None:
    hits = [
        record(PRIMARY, annotations=[{"classification": "CenterNotification", "category": "Item flagged DNU"}]),
        record("TCGA-ZZ-0002-01A-11R-A010-07", annotations=[{"classification": "Redaction"}]),
    ]
    rules = SelectionRules(redactions="keep", annotation_categories=("Item flagged DNU",))
    selection = select_files(hits, "rnaseq", rules)
    assert chosen(selection) == ["TCGA-ZZ-0002-01A-11R-A010-07"]
    assert rejections(selection) == {PRIMARY: "not_annotated"}


def test_controlled_files_when_wanted() -> None:
    hit = record(PRIMARY, access="controlled")
    assert chosen(select_files([hit], "rnaseq", SelectionRules(access="all"))) == [PRIMARY]


@pytest.mark.parametrize(
    ("ffpe", "expected"),
    [
        ("exclude", ["TCGA-ZZ-0001-01B-11R-A010-07"]),
        ("prefer_frozen", ["TCGA-ZZ-0001-01B-11R-A010-07", "TCGA-ZZ-0002-01A-11R-A010-07"]),
        ("keep", [PRIMARY, "TCGA-ZZ-0002-01A-11R-A010-07"]),
    ],
)
def test_ffpe(ffpe: Any, expected: list[str]) -> None:
    hits = [
        record(PRIMARY, is_ffpe=True),
        record("TCGA-ZZ-0001-01B-11R-A010-07"),
        record("TCGA-ZZ-0002-01A-11R-A010-07", is_ffpe=True),
    ]
    assert chosen(select_files(hits, "rnaseq", SelectionRules(ffpe=ffpe))) == expected


def test_ffpe_where_the_portal_still_says_it_of_the_sample() -> None:
    hit = record(PRIMARY)
    sample_of(hit)["is_ffpe"] = True
    assert rejections(select_files([hit], "rnaseq")) == {PRIMARY: "not_ffpe"}


# ---- tissues ----


@pytest.mark.parametrize(
    ("project", "barcode", "is_primary"),
    [
        ("TCGA-BRCA", "TCGA-ZZ-0001-01A-11R-A010-07", True),
        ("TCGA-BRCA", "TCGA-ZZ-0001-06A-11R-A010-07", False),
        ("TCGA-LAML", "TCGA-ZZ-0001-03A-11R-A010-07", True),
        ("TCGA-LAML", "TCGA-ZZ-0001-01A-11R-A010-07", False),
        ("TCGA-SKCM", "TCGA-ZZ-0001-06A-11R-A010-07", False),
        ("TCGA-BRCA", "TCGA-ZZ-0001-02A-11R-A010-07", False),
        ("TCGA-BRCA", "TCGA-ZZ-0001-11A-11R-A010-07", False),
    ],
)
def test_primary_tumours(project: str, barcode: str, is_primary: bool) -> None:
    selection = select_files([record(barcode, project)], "rnaseq", SelectionRules(tissue="primary"))
    assert chosen(selection) == ([barcode] if is_primary else [])
    if not is_primary:
        assert f"of {project} are wanted" in reason(selection)


def test_metastases_of_melanoma_when_they_count() -> None:
    codes = {**DEFAULT_RULES.primary_codes, "TCGA-SKCM": ("01", "06")}
    rules = SelectionRules(tissue="primary", primary_codes=codes)
    hits = [
        record("TCGA-ZZ-0001-06A-11R-A010-07", "TCGA-SKCM"),
        record("TCGA-ZZ-0001-01A-11R-A277-07", "TCGA-SKCM"),
        record("TCGA-ZZ-0002-06A-11R-A010-07", "TCGA-SKCM"),
    ]
    selection = select_files(hits, "rnaseq", rules)
    assert chosen(selection) == ["TCGA-ZZ-0001-01A-11R-A277-07", "TCGA-ZZ-0002-06A-11R-A010-07"]
    assert reason(selection).endswith("is used for this patient's tumor: tissue 01 before 06")


def test_the_only_metastasis_of_a_patient_is_a_tumour() -> None:
    assert chosen(select_files([record("TCGA-ZZ-0002-06A-11R-A001-07")], "rnaseq")) == ["TCGA-ZZ-0002-06A-11R-A001-07"]


def test_normal_tissue_is_chosen_beside_the_tumour_when_wanted() -> None:
    barcodes = [PRIMARY, *(f"TCGA-ZZ-0001-{vial}-11R-A001-07" for vial in ("10A", "11A", "11B"))]
    selection = select_files([record(barcode) for barcode in barcodes], "rnaseq", SelectionRules(tissue="all"))
    assert chosen(selection) == [PRIMARY, "TCGA-ZZ-0001-11A-11R-A001-07"]
    assert set(rejections(selection).values()) == {"one_sample_a_patient"}


@pytest.mark.parametrize(
    ("sample", "barcode_code", "expected"),
    [
        (
            {"tissue_type": "Tumor", "tumor_descriptor": "Primary", "specimen_type": "Solid Tissue"},
            "",
            ("tumor", "01"),
        ),
        (
            {"tissue_type": "Tumor", "tumor_descriptor": "Primary", "specimen_type": "Bone Marrow NOS"},
            "",
            ("tumor", "09"),
        ),
        (
            {"tissue_type": "Tumor", "tumor_descriptor": "Metastatic", "specimen_type": "Solid Tissue"},
            "01",
            ("tumor", "06"),
        ),
        ({"tissue_type": "Normal", "specimen_type": "Peripheral Blood NOS"}, "", ("normal", "10")),
        # where a primary tumour is from, the barcode and the old name tell better than specimen_type
        (
            {"tissue_type": "Tumor", "tumor_descriptor": "Primary", "specimen_type": "Solid Tissue"},
            "03",
            ("tumor", "03"),
        ),
        (
            {
                "tissue_type": "Tumor",
                "tumor_descriptor": "Primary",
                "specimen_type": "Bone Marrow NOS",
                "sample_type": "Primary Blood Derived Cancer - Peripheral Blood",
            },
            "09",
            ("tumor", "03"),
        ),
        ({"tissue_type": "Normal", "specimen_type": "Solid Tissue"}, "10", ("normal", "10")),
        # the fields come before sample_type, and that before the barcode
        ({"tissue_type": "Normal", "sample_type": "Primary Tumor"}, "01", ("normal", "")),
        ({"tissue_type": "Not Reported", "sample_type": "Blood Derived Normal"}, "01", ("normal", "10")),
        ({"tissue_type": None, "sample_type": "Metastatic"}, "01", ("tumor", "06")),
        ({}, "11", ("normal", "11")),
        ({"sample_type": "Unknown"}, "03", ("tumor", "03")),
        ({"tissue_type": "Tumor"}, "06", ("tumor", "06")),
        ({"sample_type": "Control Analyte"}, "", ("unknown", "20")),
        ({"sample_type": "Tumor"}, "", ("tumor", "")),
        ({"sample_type": "Normal Adjacent Tissue"}, "", ("normal", "")),
        ({}, "", ("unknown", "")),
    ],
)
def test_what_a_sample_is(sample: dict[str, Any], barcode_code: str, expected: tuple[str, str]) -> None:
    assert sample_kind(sample, barcode_code) == expected


def test_a_sample_without_the_deprecated_type() -> None:
    hit = record("TCGA-ZZ-0001-03A-11R-A010-07", "TCGA-LAML")
    del sample_of(hit)["sample_type"]
    (file,) = select_files([hit], "rnaseq").files
    assert file.sample_type == "Primary Blood Derived Cancer - Peripheral Blood"


# ---- between files ----


@pytest.mark.parametrize(
    ("loser", "rule", "decided"),
    [
        ("TCGA-ZZ-0001-01A-11R-A277-07", "one_aliquot_a_sample", "plate A010 before A277"),
        ("TCGA-ZZ-0001-01A-12R-A010-07", "one_aliquot_a_sample", "portion 11 before 12"),
        ("TCGA-ZZ-0001-01A-11T-A001-07", "one_aliquot_a_sample", "analyte R before T"),
        ("TCGA-ZZ-0001-01B-11R-A001-07", "one_sample_a_patient", "vial A before B"),
        ("TCGA-ZZ-0001-06A-11H-A001-07", "one_sample_a_patient", "tissue 01 before 06"),
        ("TCGA-ZZ-0001-02A-11H-A001-07", "one_sample_a_patient", "tissue 01 before 02"),
        ("TCGA-ZZ-0001-01A-11R-A010-13", "one_aliquot_a_sample", "by the order of their ids"),
    ],
)
def test_one_tumour_a_patient(loser: str, rule: str, decided: str) -> None:
    hits = [record(loser), record(PRIMARY)]
    winner = hits[1]["file_id"]
    for order in (hits, hits[::-1]):
        selection = select_files(order, "rnaseq")
        assert chosen(selection) == [PRIMARY]
        assert rejections(selection) == {loser: rule}
        what = "sample" if rule == "one_aliquot_a_sample" else "patient's tumor"
        assert reason(selection) == f"{PRIMARY} (file {winner}) is used for this {what}: {decided}"


def test_the_analyte_comes_before_the_vial() -> None:
    hits = [record("TCGA-ZZ-0001-01A-11T-A010-07"), record("TCGA-ZZ-0001-01B-11H-A010-07")]
    assert chosen(select_files(hits, "rnaseq")) == ["TCGA-ZZ-0001-01B-11H-A010-07"]


@pytest.mark.parametrize(("key", "other"), [("vial", "01B-11R-A010"), ("portion", "01A-12R-A010")])
def test_the_highest_when_wanted(key: str, other: str) -> None:
    barcode = f"TCGA-ZZ-0001-{other}-07"
    hits = [record(PRIMARY), record(barcode)]
    assert chosen(select_files(hits, "rnaseq", SelectionRules.model_validate({key: "highest"}))) == [barcode]


def test_two_files_of_one_aliquot_with_one_name() -> None:
    hits = [record(PRIMARY), record(PRIMARY, version="2")]
    selection = select_files(hits, "rnaseq")
    assert len(selection.files) == len(selection.rejected) == 1
    assert selection.files[0].file_id == min(hit["file_id"] for hit in hits)
    assert selection == select_files(hits[::-1], "rnaseq")


def test_records_are_not_changed() -> None:
    hits = [record("TCGA-ZZ-0001-01B-11R-A001-07"), record(PRIMARY)]
    before = copy.deepcopy(hits)
    select_files(hits, "rnaseq")
    assert hits == before


BARCODES = [
    f"TCGA-ZZ-000{patient}-{vial}-{portion}-{plate}-07"
    for patient in (1, 2)
    for vial in ("01A", "01B", "06A", "11A")
    for portion in ("11R", "12T")
    for plate in ("A010", "A277")
]
MANY = [record(barcode, is_ffpe=barcode[15] == "B" and barcode[11] == "2") for barcode in BARCODES]


@settings(max_examples=40)
@given(
    hits=st.permutations(MANY),
    tissue=st.sampled_from(["primary", "tumor", "all"]),
    ffpe=st.sampled_from(["exclude", "prefer_frozen", "keep"]),
    plate=st.sampled_from(["lowest", "highest"]),
)
def test_the_choice_does_not_depend_on_the_order(
    hits: list[dict[str, Any]], tissue: Any, ffpe: Any, plate: Any
) -> None:
    rules = SelectionRules(tissue=tissue, ffpe=ffpe, plate=plate)
    selection = select_files(hits, "rnaseq", rules)
    assert selection == select_files(MANY, "rnaseq", rules)
    assert len(selection.files) == (4 if tissue == "all" else 2)
    assert len(selection.files) + len(selection.rejected) == len(MANY)


# ---- replicates as the Broad's Firehose chose them ----


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [  # H before R and T; the higher plate; D before G, W and X on the same plate, else the higher plate
        ("TCGA-A6-5656-01A-21R-2338-13", "TCGA-A6-5656-01A-21H-1838-13", 1),
        ("TCGA-A6-5656-01A-21H-1838-13", "TCGA-A6-5656-01A-21H-1900-13", 1),
        ("TCGA-A6-5656-01A-21H-1838-13", "TCGA-A6-5656-01A-21T-3900-13", 0),
        ("TCGA-43-2581-01A-01D-1522-08", "TCGA-43-2581-01A-01W-0877-08", 0),
        ("TCGA-43-2581-01A-01D-0877-08", "TCGA-43-2581-01A-01W-0877-08", 0),
        ("TCGA-06-0122-10A-01D-0000-01", "TCGA-06-0122-10A-01X-0289-01", 1),
        ("TCGA-37-4130-01A-01D-1097-01", "TCGA-37-4130-01A-01D-1969-01", 1),
        ("TCGA-37-4130-01A-01D-1969-01", "TCGA-37-4130-01B-01D-1969-01", 1),
    ],
)
def test_firehose_pairs(first: str, second: str, winner: int) -> None:
    hits = [record(barcode, platform="450") for barcode in (first, second)]
    modality: Any = "methylation" if first[19] in "DWX" else "rnaseq"
    selection = select_files(hits, modality, FIREHOSE.with_tissue("all"))
    assert chosen(selection) == [(first, second)[winner]]


def test_real_firehose_choices(shared: Path) -> None:
    """All 33 of them; with the lowest plate, our default, none comes out."""
    path = shared / "fixtures/gdc/gdctools/TCGA.filtered_samples.txt"
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    pairs = {(row["Removed Samples"], row["Chosen Sample"]) for row in rows}
    assert len(rows) == 33
    for removed, kept in sorted(pairs):
        hits = [record(removed, platform="450"), record(kept, platform="450")]
        modality: Any = "methylation" if removed[19] == "D" else "rnaseq"
        assert chosen(select_files(hits, modality, FIREHOSE.with_tissue("all"))) == [kept], removed
        assert chosen(select_files(hits, modality, SelectionRules(tissue="all"))) == [removed], removed


# ---- arrays ----


@pytest.mark.parametrize(
    ("platform", "array"),
    [
        ("Illumina Human Methylation 27", "27k"),
        ("Illumina Human Methylation 450", "450k"),
        ("Illumina Methylation Epic", "epic"),
        ("Illumina Methylation Epic v2", "epic_v2"),
        ("illumina human methylation 450", "450k"),
        ("HumanMethylation27", "27k"),
        ("HumanMethylation450 BeadChip", "450k"),
        ("Infinium MethylationEPIC v2.0", "epic_v2"),
        ("Infinium MethylationEPIC", "epic"),
        ("HM450", "450k"),
        ("450", "450k"),
        ("Illumina", None),
        ("Illumina HiSeq 2700", None),
        ("Affymetrix SNP 6.0", None),
        ("", None),
    ],
)
def test_the_array_of_a_platform(platform: str, array: str | None) -> None:
    assert array_of(platform) == array


def array_file(number: int, platform: str) -> dict[str, Any]:
    return record(f"TCGA-ZZ-000{number}-01A-11D-A001-05", platform=platform)


ARRAYS = [
    array_file(1, "Illumina Human Methylation 450"),
    array_file(2, "Illumina Human Methylation 27"),
    array_file(3, "HumanMethylation450"),
    array_file(4, "Illumina Methylation Epic v2"),
    array_file(5, "Illumina HiSeq"),
]


@pytest.mark.parametrize(
    ("array", "patients", "why"),
    [
        ("auto", [1, 3], "platform 'Illumina Human Methylation 27'; most files are of array 450k, and arrays are not"),
        ("27k", [2], "platform 'Illumina Human Methylation 450'; only array 27k is wanted"),
        ("epic_v2", [4], "only array epic_v2 is wanted"),
        ("epic", [], "only array epic is wanted"),
        ("all", [1, 2, 3, 4], "platform 'Illumina HiSeq'; it is no known array"),
    ],
)
def test_arrays(array: Any, patients: list[int], why: str) -> None:
    selection = select_files(ARRAYS, "methylation", SelectionRules(methylation_array=array))
    assert sorted(int(file.patient_id[-1]) for file in selection.files) == patients
    assert {file.rule for file in selection.rejected} == {"one_array"}
    assert any(why in file.reason for file in selection.rejected)


def test_mixed_arrays_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        select_files(ARRAYS, "methylation", SelectionRules(methylation_array="all"))
    assert "arrays are mixed: 2 files of 450k, 1 files of epic_v2, 1 files of 27k" in caplog.text
    caplog.clear()
    select_files(ARRAYS[:1], "methylation", SelectionRules(methylation_array="all"))
    assert not caplog.text


def test_one_patient_on_two_arrays() -> None:
    barcode = "TCGA-ZZ-0001-01A-11D-A001-05"
    hits = [record(barcode, platform="HumanMethylation27"), record(barcode, platform="HumanMethylation450")]
    selection = select_files(hits, "methylation", SelectionRules(methylation_array="all"))
    assert selection.files[0].platform == "HumanMethylation450"
    assert reason(selection).endswith("array 450k before 27k")


# ---- records that are not as they should be ----


def test_a_pooled_file_is_left_out() -> None:
    pooled = record(PRIMARY, "CPTAC-3")
    pooled["cases"].append(record("TCGA-ZZ-0002-01A-11R-A010-07")["cases"][0])
    selection = select_files([pooled], "rnaseq")
    assert rejections(selection) == {PRIMARY: "one_aliquot"}
    assert reason(selection) == "made from 2 cases, not one"


@pytest.mark.parametrize("level", ["cases", "samples", "aliquots"])
def test_an_expression_file_of_tcga_is_never_pooled(level: str) -> None:
    pooled = record(PRIMARY)
    portion = sample_of(pooled)["portions"][0]
    doubled = {"cases": pooled["cases"], "samples": pooled["cases"][0]["samples"], "aliquots": portion["analytes"]}[
        level
    ]
    doubled.append(copy.deepcopy(doubled[0]))
    with pytest.raises(PortalAnswerError, match=r"belongs to .* cannot be trusted") as caught:
        select_files([pooled], "rnaseq")
    assert PRIMARY in str(caught.value)
    assert rejections(select_files([pooled], "methylation")) == {PRIMARY: "one_aliquot"}


def test_a_portal_that_pools_files(tmp_path: Path) -> None:
    study = SyntheticStudy.create(seed=7, cohorts=1, patients_per_cohort=3, genes=200, probes=100)
    fault = Fault(fault="two_cases", path="/files", times=0)
    with serve(study, (fault,)) as portal, GdcClient(portal.url, n_retries=0) as client:
        with pytest.raises(PortalAnswerError, match="belongs to 2 cases"):
            download(client, tmp_path / "raw", ["TCGA-SYNA"], "rnaseq")
        assert not (tmp_path / "raw").exists()
        with pytest.raises(DataError, match=r"are left out .*by one_aliquot"):
            download(client, tmp_path / "raw", ["TCGA-SYNA"], "methylation")


@pytest.mark.parametrize("value", [None, [], "absent"])
@pytest.mark.parametrize(("key", "why"), [("cases", "no case is named"), ("samples", "no sample is named")])
def test_null_empty_and_absent_lists_are_the_same(key: str, value: object, why: str) -> None:
    hit = record(PRIMARY)
    home = hit if key == "cases" else hit["cases"][0]
    home[key] = value
    if value == "absent":
        del home[key]
    selection = select_files([hit], "rnaseq")
    assert [file.rule for file in selection.rejected] == ["one_aliquot"]
    assert reason(selection) == why


@pytest.mark.parametrize("value", [None, [], "absent"])
def test_no_portions(value: object) -> None:
    hit = record(PRIMARY)
    sample_of(hit)["portions"] = value
    if value == "absent":
        del sample_of(hit)["portions"]
    assert reason(select_files([hit], "rnaseq")) == "no aliquot is named"
    hit["associated_entities"] = [
        {"entity_type": "sample", "entity_submitter_id": PRIMARY[:16]},
        {"entity_type": "aliquot", "entity_submitter_id": PRIMARY},
    ]
    (file,) = select_files([hit], "rnaseq").files
    assert (file.aliquot_id, file.portion, file.analyte, file.plate, file.vial) == (PRIMARY, "11", "R", "A010", "A")


def test_barcodes_of_another_make() -> None:
    hit = record(PRIMARY, "HCMI-CMDC")
    hit["cases"][0]["submitter_id"] = "HCM-BROD-0871-C49"
    sample_of(hit)["submitter_id"] = "HCM-BROD-0871-C49-01A"
    sample_of(hit)["portions"][0]["analytes"][0]["aliquots"][0]["submitter_id"] = "HCM-BROD-0871-C49-01A-11R-A78L-41"
    planned = read_file_record(hit).planned
    assert (planned.sample_code, planned.vial, planned.analyte, planned.plate) == ("01", "A", "R", "A78L")
    sample_of(hit)["portions"][0]["analytes"][0]["aliquots"][0]["submitter_id"] = "GLSS_0001"
    planned = read_file_record(hit).planned
    assert (planned.sample_code, planned.vial, planned.analyte, planned.plate) == ("01", "A", "", "")


def test_a_size_in_quotes() -> None:
    hit = record(PRIMARY)
    assert read_file_record(hit | {"file_size": "12"}).planned.size == 12


def test_a_record_twice() -> None:
    with pytest.raises(PortalAnswerError, match="is listed 2 times"):
        select_files([record(PRIMARY), record(PRIMARY)], "rnaseq")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("md5sum", None),
        ("md5sum", "xyz"),
        ("file_id", "../../etc"),
        ("file_size", "12 B"),
        ("file_size", -1),
        ("file_size", True),
        ("file_name", 3),
    ],
)
def test_records_that_cannot_be_trusted(key: str, value: object) -> None:
    with pytest.raises(PortalAnswerError, match=key):
        select_files([record(PRIMARY) | {key: value}], "rnaseq")


@pytest.mark.parametrize("project", ["../../evil", "TCGA-YY", ""])
def test_files_of_a_project_that_nobody_asked_for(project: str) -> None:
    with pytest.raises(PortalAnswerError, match="which was not asked for"):
        make_plan(client_that_answers([record(PRIMARY, project)]), ["TCGA-ZZ"], "rnaseq", "tumor", "portal")


def client_that_answers(hits: list[dict[str, Any]]) -> GdcClient:
    answers = {"projects": [{"project_id": "TCGA-ZZ"}], "files": hits, "cases": []}
    client = SimpleNamespace(
        api="http://portal",
        status=lambda: PortalStatus("1.0", "8.5.0"),
        query=lambda endpoint, **_: answers[endpoint],
    )
    return cast(GdcClient, client)


# ---- rules and plans as files ----


def test_the_shipped_rules() -> None:
    assert preset_names("selection") == ["default", "firehose"]
    assert SelectionRules.from_yaml(preset_path("selection", "default")) == DEFAULT_RULES
    assert FIREHOSE.model_copy(update={"order": DEFAULT_RULES.order}) == SelectionRules(
        vial="highest", portion="highest", plate="highest"
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"primary_codes": {"TCGA-BRCA": ["01"]}}, "no entry `default`"),
        ({"primary_codes": {"default": ["1"]}}, "no sample type code"),
        ({"order": {"rnaseq": ["plate"]}}, "one entry for rnaseq and one for methylation"),
        ({"analytes": {"rnaseq": "HHR", "methylation": "D"}}, "names something twice"),
        ({"order": {"rnaseq": ["size"], "methylation": []}}, "`order.rnaseq.0`"),
        ({"ffpe": "maybe"}, "`ffpe`"),
        ({"tisue": "all"}, "`tisue`"),
    ],
)
def test_wrong_rules(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        SelectionRules.from_mapping(values, "rules.yaml")


def test_a_plan_says_how_it_was_made(tmp_path: Path) -> None:
    hits = [
        record(PRIMARY, "TCGA-ZZ", version="2", data_release="32.0 - 45.0"),
        record(f"{PRIMARY[:-7]}A277-07", "TCGA-ZZ"),
    ]
    rules = SelectionRules(ffpe="keep")
    plan = make_plan(client_that_answers(hits), ["tcga-zz"], "rnaseq", "all", "portal", rules).plan
    assert plan.requested == plan.projects == ("TCGA-ZZ",)
    assert plan.rules == rules.with_tissue("all")
    assert plan.filters is not None
    assert plan.filters["content"][0]["content"] == {"field": "cases.project.project_id", "value": ["TCGA-ZZ"]}
    assert (plan.api_tag, plan.sample_types) == ("8.5.0", "all")
    assert (plan.files[0].version, plan.files[0].releases, plan.files[0].tissue) == ("2", "32.0 - 45.0", "tumor")
    plan.save(tmp_path)
    assert read_plan(tmp_path) == plan
    write_rejected(tmp_path, plan)
    header, row = (line.split("\t") for line in (tmp_path / "rejected.tsv").read_text().splitlines())
    assert header == ["file_id", "file_name", "sample_id", "patient_id", "aliquot_id", "project_id", "rule", "reason"]
    assert row[2:5] == ["TCGA-ZZ-0001-01A", "TCGA-ZZ-0001", "TCGA-ZZ-0001-01A-11R-A277-07"]
    assert row[6] == "one_aliquot_a_sample"


def test_a_plan_of_an_earlier_version_is_read() -> None:
    file = {
        **dict.fromkeys(["file_id", "file_name", "md5", "project_id", "case_id", "patient_id", "sample_id"], "x"),
        **{"size": 1, "aliquot_id": "x", "sample_type": "Primary Tumor", "is_ffpe": False, "access": "open"},
    }
    plan = Plan.from_mapping(
        {
            **{"source": "gdc", "api": "x", "data_release": "1", "projects": ["TCGA-ZZ"], "modality": "rnaseq"},
            **{"sample_types": "tumor", "files": [file], "rejected": []},
        },
        "plan.json",
    )
    assert (plan.rules, plan.merged, plan.files[0].plate) == (None, {}, "")


@pytest.mark.parametrize(
    ("published", "safe"),
    [
        ("a-b_c.1.tsv", "a-b_c.1.tsv"),
        ("../../evil", "evil"),
        ("/etc/passwd", "passwd"),
        ("..\\evil", "evil"),
        (".hidden", "hidden"),
        ("..", "unnamed"),
        ("a b;c\n.tsv", "a_b_c_.tsv"),
        ("x" * 300 + ".tsv", "x" * 196 + ".tsv"),
    ],
)
def test_safe_file_name(published: str, safe: str) -> None:
    assert safe_file_name(published) == safe
