"""Manifests: their forms, and the plan that fetches what one lists."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bulkrnabert.data.sources import gdc_manifest
from bulkrnabert.data.sources.gdc import GdcClient
from bulkrnabert.data.sources.gdc_download import download, download_plan
from bulkrnabert.data.sources.gdc_manifest import ManifestFile, plan_from_manifest, read_manifest
from bulkrnabert.data.sources.gdc_plan import Plan, read_plan
from bulkrnabert.data.sources.gdc_rules import DEFAULT_RULES
from bulkrnabert.data.sources.gdc_standin import serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import DataError

HEADER = "id\tfilename\tmd5\tsize\tstate"
ID = "fe16b2d3-17b0-4e24-ab31-62d2e951b3a2"
OTHER_ID = "f11aa62e-5d67-4e49-8f64-5ed663a3b424"
MD5 = "967a3efd89a8d709df7170d3be032580"


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=7, cohorts=2, patients_per_cohort=13, genes=200, probes=100)


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "gdc_manifest.txt"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


# ---- reading ----


def test_a_manifest(tmp_path: Path) -> None:
    path = write(tmp_path, f"{ID}\tx.tsv\t{MD5}\t4225986\treleased", f"{OTHER_ID.upper()}\ty.tsv\t{MD5.upper()}\t1\t")
    assert read_manifest(path) == (
        ManifestFile(ID, "x.tsv", MD5, 4225986, "released"),
        ManifestFile(OTHER_ID, "y.tsv", MD5, 1),
    )


def test_the_head_of_a_real_manifest(shared: Path) -> None:
    files = read_manifest(shared / "fixtures/gdc/manifests/star_counts_manifest_head300.tsv")
    assert len(files) == 300
    assert {file.state for file in files} == {"released"}
    assert all(file.file_name.endswith(".rna_seq.augmented_star_gene_counts.tsv") for file in files)
    assert all(4.15e6 < file.size < 4.30e6 for file in files)


def test_a_real_mapping_between_releases(shared: Path) -> None:
    files = read_manifest(shared / "fixtures/gdc/manifests/GCv36_TCGA-CHOL.rna_meth.tsv")
    assert len(files) == 225
    assert Counter(file.new_id is None for file in files) == {True: 181, False: 44}
    assert all(file.new_id is None for file in files if file.file_name.endswith((".FPKM.txt.gz", ".gdc_hg38.txt")))


def test_a_real_list_that_is_no_manifest(shared: Path) -> None:
    with pytest.raises(DataError, match="no column id, filename, md5, size in project_id, workflow"):
        read_manifest(shared / "fixtures/gdc/manifests/Removed_Aliquots.tcga_rna_meth.tsv")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"x\tx.tsv\t{MD5}\t1\treleased", "line 2: id 'x'; expected a UUID"),
        (f"{ID}\tx.tsv\tabc\t1\treleased", "line 2: md5 'abc' of"),
        (f"{ID}\tx.tsv\t{MD5}\t-1\treleased", "line 2: size '-1' of"),
        (f"{ID}\tx.tsv\t{MD5}", "line 2: size '' of"),
    ],
)
def test_lines_that_are_no_files(tmp_path: Path, line: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_manifest(write(tmp_path, line))


def test_a_file_twice_and_no_file_at_all(tmp_path: Path) -> None:
    line = f"{ID}\tx.tsv\t{MD5}\t1\treleased"
    with pytest.raises(DataError, match=f"line 3: file {ID} is listed before"):
        read_manifest(write(tmp_path, line, line))
    with pytest.raises(DataError, match="lists no file"):
        read_manifest(write(tmp_path))


# ---- planning ----


def listed(study: SyntheticStudy, modality: str = "rnaseq") -> list[ManifestFile]:
    kind = {"rnaseq": "RNA-Seq", "methylation": "Methylation Array"}[modality]
    records = [study.with_integrity(record) for record in study.files() if record["experimental_strategy"] == kind]
    return [
        ManifestFile(record["file_id"], record["file_name"], record["md5sum"], record["file_size"])
        for record in records
        if record["access"] == "open" and not record.get("annotations")
    ]


def plan_of(study: SyntheticStudy, manifest: list[ManifestFile], **options: Any) -> Plan:
    with serve(study) as portal, GdcClient(portal.url, n_retries=0) as client:
        return plan_from_manifest(client, manifest, options.pop("modality", "rnaseq"), "portal", **options)


def test_every_file_of_a_manifest_is_planned(study: SyntheticStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = listed(study)
    plan = plan_of(study, manifest)
    assert [file.file_id for file in plan.files] == sorted(file.file_id for file in manifest)
    assert (plan.rejected, plan.rules, plan.projects) == ((), None, ("TCGA-SYNA", "TCGA-SYNB"))
    monkeypatch.setattr(gdc_manifest, "IDS_A_REQUEST", 7)
    assert plan_of(study, manifest[::-1]) == plan


def test_the_rules_when_wanted(study: SyntheticStudy) -> None:
    plan = plan_of(study, listed(study), rules=DEFAULT_RULES)
    assert plan.rejected
    assert len({file.patient_id for file in plan.files}) == len(plan.files)


def test_a_manifest_is_fetched(study: SyntheticStudy, tmp_path: Path) -> None:
    with serve(study) as portal, GdcClient(portal.url) as client:
        download(client, tmp_path / "a", ["TCGA-SYNA"], "rnaseq")
        manifest = read_manifest(tmp_path / "a/manifest.tsv")
        plan = plan_from_manifest(client, manifest, "rnaseq", "portal")
        summary = download_plan(client, tmp_path / "b", plan)
        assert summary.n_fetched == len(manifest)
        assert download_plan(client, tmp_path / "b", plan).n_kept == len(manifest)
    assert read_plan(tmp_path / "b") == plan
    assert (tmp_path / "a/manifest.tsv").read_bytes() == (tmp_path / "b/manifest.tsv").read_bytes()


def test_files_that_the_portal_does_not_have_are_named(study: SyntheticStudy) -> None:
    old = next(file for file in study.all_files.values() if file.change == "superseded" and file.modality == "rnaseq")
    manifest = [
        *listed(study)[:2],
        ManifestFile(old.file_id, "old.tsv", MD5, 1),
        ManifestFile(ID, "never.tsv", MD5, 1),
        ManifestFile(OTHER_ID, "mapped.tsv", MD5, 1, new_id=ID),
    ]
    with pytest.raises(DataError) as caught:
        plan_of(study, manifest)
    message = str(caught.value)
    latest = study.history(old.file_id)[-1]["uuid"]
    assert "manifest: 3 problems" in message
    assert f"{old.file_id} (old.tsv): superseded, replaced by {latest}" in message
    assert f"{ID} (never.tsv): not at the portal" in message
    assert f"{OTHER_ID} (mapped.tsv): not at the portal; replaced by {ID}" in message


def test_files_of_another_kind_and_of_another_content(study: SyntheticStudy) -> None:
    good = listed(study)[0]
    methylation = listed(study, "methylation")[0]
    with pytest.raises(DataError, match=rf"{methylation.file_id} .*data_category 'DNA Methylation'; expected rnaseq"):
        plan_of(study, [good, methylation])
    with pytest.raises(DataError, match=rf"md5 {MD5} and {good.size} bytes in the manifest, {good.md5} and"):
        plan_of(study, [ManifestFile(good.file_id, good.file_name, MD5, good.size)])
    assert plan_of(study, [methylation], modality="methylation").modality == "methylation"


def test_rules_that_leave_nothing(study: SyntheticStudy) -> None:
    odd = study.truth["oddities"]["ffpe_only"]
    records = {record["file_id"]: record for record in study.files()}
    manifest = [file for file in listed(study) if records[file.file_id]["cases"][0]["submitter_id"] == odd]
    with pytest.raises(DataError, match="the rules leave out all"):
        plan_of(study, manifest, rules=DEFAULT_RULES)
