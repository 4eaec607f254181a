"""The synthetic study's larger and odder worlds: rarer oddities, full-size files, annotation, GTEx-like tables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.annotation import read_annotation
from bulkrnabert.data.probe_positions import find_genes_of_probes, read_probe_positions
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_annotation import write_annotation
from bulkrnabert.data.synthetic_gtex import write_gtex
from bulkrnabert.data.synthetic_patients import MORE_ODDITIES, ODDITIES, Patient, SyntheticFile
from bulkrnabert.errors import ConfigError


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=6, cohorts=3, patients_per_cohort=12, genes=300, probes=400, more_oddities=True)


def odd(study: SyntheticStudy, name: str) -> Patient:
    return next(patient for patient in study.patients if name in patient.oddities)


def files_of(study: SyntheticStudy, name: str, modality: str) -> list[SyntheticFile]:
    patient = odd(study, name)
    return [file for file in study.all_files.values() if file.patient == patient and file.modality == modality]


def case_of(study: SyntheticStudy, name: str) -> dict:
    barcode = odd(study, name).barcode
    return next(case for case in study.cases() if case["submitter_id"] == barcode)


def betas_of(study: SyntheticStudy, file: SyntheticFile) -> dict[str, str]:
    return dict(line.split("\t") for line in study.file_body(file.file_id).decode().splitlines())


# ---- more oddities ----


def test_a_small_world_has_every_oddity(study: SyntheticStudy) -> None:
    assert set(study.truth["oddities"]) == {*ODDITIES, *MORE_ODDITIES}
    only_more = SyntheticStudy.create(seed=6, oddities=False, more_oddities=True)
    assert set(only_more.truth["oddities"]) == set(MORE_ODDITIES)


def test_the_switches_change_nothing_when_off(study: SyntheticStudy, tmp_path: Path) -> None:
    """Those who have the same oddities have the same files, and a study file without the switches is as before."""
    plain = SyntheticStudy.create(seed=6, cohorts=3, patients_per_cohort=12, genes=300, probes=400)
    odder = {name for patient in study.patients if patient.oddities & set(MORE_ODDITIES) for name in [patient.barcode]}
    shared_ids = [file_id for file_id, file in plain.all_files.items() if file.patient.barcode not in odder]
    assert len(shared_ids) > 20
    assert all(plain.file_body(file_id) == study.file_body(file_id) for file_id in shared_ids)
    for world, has_switch in ((plain, False), (study, True)):
        world.save(tmp_path / "study.json")
        assert ("more_oddities" in json.loads((tmp_path / "study.json").read_text())) is has_switch
        assert SyntheticStudy.from_json(tmp_path / "study.json").config == world.config


def test_blood_and_recurrence(study: SyntheticStudy) -> None:
    assert {file.vial for file in files_of(study, "blood_tumor", "rnaseq") if file.is_tumor} == {"03A"}
    assert {"01A", "02A"} <= {file.vial for file in files_of(study, "recurrent", "rnaseq")}
    samples = {
        sample["submitter_id"]: sample
        for record in study.files()
        for sample in record["cases"][0]["samples"]
        if "sample_type" in sample
    }
    blood = samples[f"{odd(study, 'blood_tumor').barcode}-03A"]
    assert blood["sample_type"] == "Primary Blood Derived Cancer - Peripheral Blood"
    assert (blood["tissue_type"], blood["specimen_type"]) == ("Tumor", "Peripheral Blood NOS")
    assert samples[f"{odd(study, 'recurrent').barcode}-02A"]["tumor_descriptor"] == "Recurrence"


def test_a_sample_may_lack_the_deprecated_type(study: SyntheticStudy) -> None:
    case_id = odd(study, "no_sample_type").case_id
    own = [record for record in study.files() if record["cases"][0]["case_id"] == case_id]
    assert own
    for record in own:
        sample = record["cases"][0]["samples"][0]
        assert "sample_type" not in sample
        assert sample["tissue_type"] in ("Tumor", "Normal")


def test_other_arrays(study: SyntheticStudy) -> None:
    platforms = {record["file_id"]: record["platform"] for record in study.files()}
    rows = {}
    for oddity, platform in (
        ("smaller_array", "Illumina Human Methylation 27"),
        ("two_vials", "Illumina Human Methylation 450"),
        ("epic_array", "Illumina Methylation Epic"),
        ("epic_v2_array", "Illumina Methylation Epic v2"),
    ):
        file = files_of(study, oddity, "methylation")[0]
        assert platforms[file.file_id] == platform
        rows[oddity] = list(betas_of(study, file))
        assert rows[oddity] == sorted(rows[oddity])
        assert rows[oddity] == study.probe_table(file.array)["probe_id"].tolist()
    assert len(rows["smaller_array"]) < len(rows["two_vials"]) == 400 < len(rows["epic_array"]) == 712
    assert len(rows["epic_v2_array"]) == 765
    assert len(set(rows["epic_array"]) & set(rows["two_vials"])) > 300
    assert all(probe.partition("_")[2] in ("TC21", "BC11") for probe in rows["epic_v2_array"])
    bare = [probe.partition("_")[0] for probe in rows["epic_v2_array"]]
    assert len(bare) - len(set(bare)) == 7
    assert len(set(bare) & set(rows["two_vials"])) > 300


def test_many_failed_probes(study: SyntheticStudy) -> None:
    betas = betas_of(study, files_of(study, "many_failed_probes", "methylation")[0])
    assert 0.25 < np.mean([beta == "NA" for beta in betas.values()]) < 0.40


def test_more_clinical_contradictions(study: SyntheticStudy) -> None:
    null = case_of(study, "null_groups")
    assert (null["demographic"], null["diagnoses"], null["follow_ups"]) == (None, None, None)
    before, after = case_of(study, "dead_with_follow_up"), case_of(study, "follow_up_after_death")
    for case, days_after in ((before, -1), (after, 30)):
        assert case["demographic"]["vital_status"] == "Dead"
        visit = case["follow_ups"][0]["days_to_follow_up"]
        assert visit - case["demographic"]["days_to_death"] == days_after
    empty = case_of(study, "empty_lists")
    assert (empty["demographic"]["vital_status"], empty["demographic"]["days_to_death"]) == ("Dead", None)
    assert empty["follow_ups"] == []
    assert empty["diagnoses"][0]["days_to_last_follow_up"] > 0
    primary, other = case_of(study, "follow_up_of_other_diagnosis")["diagnoses"]
    assert (primary["diagnosis_is_primary_disease"], primary["days_to_last_follow_up"]) == (True, None)
    assert not other["diagnosis_is_primary_disease"]
    assert other["days_to_last_follow_up"] > 0


def test_flagged_aliquot(study: SyntheticStudy) -> None:
    notes = {note["category"]: note for note in study.annotations()}
    flagged = notes["Item flagged DNU"]
    assert flagged["entity_type"] == "aliquot"
    entities = {
        entity["entity_id"]: entity["entity_submitter_id"]
        for record in study.files()
        for entity in record["associated_entities"]
    }
    assert entities[flagged["entity_id"]] == flagged["entity_submitter_id"]
    assert "Subject withdrew consent" in notes
    noted = [record for record in study.files() if flagged in record.get("annotations", [])]
    assert [record["associated_entities"][0]["entity_id"] for record in noted] == [flagged["entity_id"]]


# ---- files as large as real ones ----


@pytest.fixture(scope="module")
def full() -> SyntheticStudy:
    return SyntheticStudy.create(seed=2, cohorts=1, patients_per_cohort=1, full_rows=True, oddities=False)


def test_full_star_file(full: SyntheticStudy) -> None:
    file = next(file for file in full.all_files.values() if file.modality == "rnaseq")
    lines = full.file_body(file.file_id).decode().split("\n")
    assert len(lines) - 1 == 60_666
    ids = [line.split("\t")[0] for line in lines[6:-1]]
    assert sum(row_id.endswith("_PAR_Y") for row_id in ids) == 44
    assert len({row_id.split(".")[0] for row_id in ids}) == 60_616
    assert ids == sorted(ids)
    assert 4_000_000 < sum(len(line) + 1 for line in lines) - 1 < 4_600_000
    assert sum(float(line.split("\t")[6]) for line in lines[6:-1]) == pytest.approx(1e6, abs=1)


def test_full_methylation_files(full: SyntheticStudy) -> None:
    assert len(full.probes.probe_ids) == 486_427
    assert len(full.probes_of("27k").probe_ids) == int(full.probes.is_on_27k.sum()) == 27_578
    file = next(file for file in full.all_files.values() if file.modality == "methylation")
    assert full.file_body(file.file_id).count(b"\n") == 486_427


def test_full_rows_leave_no_choice_of_sizes() -> None:
    assert SyntheticStudy.create(full_rows=True).config.genes == 60_660
    assert SyntheticStudy.create(full_rows=True, genes=60_660).config.probes == 486_427
    with pytest.raises(ConfigError, match="full_rows means 486427 probes: leave `probes` out"):
        SyntheticStudy.create(full_rows=True, probes=1000)


# ---- where genes and probes lie ----


def test_gene_table(study: SyntheticStudy) -> None:
    table = study.gene_table()
    assert list(table) == ["gene_id", "symbol", "gene_type", "length", "chrom", "start", "end", "strand"]
    assert tuple(table["gene_id"]) == study.genes.row_ids
    assert ((table["end"] - table["start"] + 1) >= table["length"]).all()
    assert set(table["strand"]) == {"+", "-"}
    for _, genes in table.groupby("chrom"):
        ordered = genes.sort_values("start")
        assert (ordered["start"].to_numpy()[1:] - ordered["end"].to_numpy()[:-1] > 10_000).all()
    copies = table[table["gene_id"].str.endswith("_PAR_Y")]
    originals = table[table["gene_id"].isin(copies["gene_id"].str.removesuffix("_PAR_Y"))]
    assert set(copies["chrom"]) == {"chrY"}
    assert set(originals["chrom"]) == {"chrX"}
    assert copies["strand"].tolist() == originals["strand"].tolist()
    autosomal = table["chrom"].isin([f"chr{number}" for number in range(1, 23)])
    assert autosomal.tolist() == study.genes.is_autosomal.tolist()
    pd.testing.assert_frame_equal(table, study.gene_table())


def test_probe_table(study: SyntheticStudy) -> None:
    table = study.probe_table()
    genes = study.gene_table().assign(bare=lambda frame: frame["gene_id"].str.split(".").str[0])
    genes = genes[~genes["gene_id"].str.endswith("_PAR_Y")].set_index("bare")
    for row in table.itertuples():
        if not row.gene_id:
            assert row.probe_id.startswith("rs")
            assert pd.isna(row.distance_to_tss)
            continue
        gene = genes.loc[row.gene_id]
        tss = gene["start"] if gene["strand"] == "+" else gene["end"]
        assert (row.position - tss) * (1 if gene["strand"] == "+" else -1) == row.distance_to_tss
        assert (row.chrom, row.strand, row.symbol) == (gene["chrom"], gene["strand"], gene["symbol"])
        is_inside = gene["start"] <= row.position <= gene["end"]
        assert {
            "promoter": abs(row.distance_to_tss) <= 1500,
            "body": is_inside and row.distance_to_tss > 1500,
            "distal": row.distance_to_tss < -1500,
        }[row.region]
    slopes = study.probes.slopes
    assert slopes[(table["region"] == "promoter").to_numpy()].max() < -0.4
    assert set(table["region"]) == {"promoter", "body", "distal", ""}


def test_a_site_has_one_place_on_every_array(study: SyntheticStudy) -> None:
    places: dict[str, set[tuple[str, int]]] = {}
    for array in ("27k", "450k", "epic", "epic_v2"):
        for row in study.probe_table(array).itertuples():
            places.setdefault(row.probe_id.partition("_")[0], set()).add((row.chrom, row.position))
    assert all(len(found) == 1 for found in places.values())


def test_the_tables_are_read_as_real_ones(study: SyntheticStudy, tmp_path: Path) -> None:
    probes = study.probe_table()
    write_annotation(tmp_path / "new", study.gene_table(), probes)
    genes = read_annotation(tmp_path / "new" / "genes.annotation.tsv")
    found = find_genes_of_probes(read_probe_positions(tmp_path / "new" / "probes.annotation.tsv"), genes).table
    expected = probes[probes["region"].isin(["promoter", "body"])]
    assert dict(zip(found.iloc[:, 0], found["gene_id"], strict=True)) == dict(
        zip(expected["probe_id"], expected["gene_id"], strict=True)
    )


# ---- GTEx ----


def test_gtex_like_tables(study: SyntheticStudy, tmp_path: Path) -> None:
    files = write_gtex(tmp_path / "gtex", 6, study.genes, 5)
    again = write_gtex(tmp_path / "again", 6, study.genes, 5)
    assert files.tpm.read_bytes() == again.tpm.read_bytes()
    tables = {}
    for name, path in (("tpm", files.tpm), ("reads", files.reads)):
        with gzip.open(path, "rt") as handle:
            assert handle.readline() == "#1.2\n"
            n_genes, n_samples = (int(number) for number in handle.readline().split())
            tables[name] = pd.read_csv(handle, sep="\t")
        assert tables[name].shape == (n_genes, n_samples + 2)
    tpm, reads = tables["tpm"], tables["reads"]
    assert list(tpm)[:2] == ["Name", "Description"]
    assert list(tpm) == list(reads)
    np.testing.assert_allclose(tpm.iloc[:, 2:].sum(), 1e6, rtol=1e-4)
    assert all(reads.dtypes.iloc[2:] == np.int64)

    ours = {row_id.split(".")[0]: row_id for row_id in study.genes.row_ids if not row_id.endswith("_PAR_Y")}
    theirs = {row_id.split(".")[0]: row_id for row_id in tpm["Name"] if not row_id.endswith("_PAR_Y")}
    common = set(ours) & set(theirs)
    assert 0.9 < len(common) / len(ours) < 1
    assert len(set(theirs) - common) == 5
    assert not any(ours[gene] == theirs[gene] for gene in common)

    samples = pd.read_csv(files.samples, sep="\t")
    subjects = pd.read_csv(files.subjects, sep="\t")
    sequenced = samples[samples["SMAFRZE"] == "RNASEQ"]
    assert sequenced["SAMPID"].tolist() == list(tpm)[2:]
    assert len(sequenced) == 10 < len(samples)
    donors = samples["SAMPID"].str.split("-").str[:2].str.join("-")
    assert set(donors) == set(subjects["SUBJID"])
    assert set(subjects["SEX"]) <= {1, 2}
    assert {"SMRIN", "SMTS", "SMTSD", "SMTSISCH"} <= set(samples)
    # Tissues differ as the normal samples of the cohorts do.
    rows = [study.genes.row_ids.index(ours[gene]) for gene in sorted(common)]
    level = np.log2(1 + tpm.set_index(tpm["Name"].str.split(".").str[0]).loc[sorted(common)].iloc[:, 2:])
    level = level.loc[~level.index.duplicated()]
    baseline = np.corrcoef(level.mean(axis=1), study.genes.baseline_log2[rows])[0, 1]
    assert baseline > 0.8


# ---- signal ----


def test_methylation_of_genes_knows_the_cancer_type_and_follows_expression() -> None:
    study = SyntheticStudy.create(seed=1, cohorts=3, patients_per_cohort=20, genes=300, probes=400, oddities=False)
    tumors = [file for file in study.all_files.values() if file.modality == "methylation" and file.vial == "01A"]
    betas = np.array([[np.nan if b == "NA" else float(b) for b in betas_of(study, file).values()] for file in tumors])
    betas = np.where(np.isnan(betas), np.nanmean(np.nan_to_num(betas, nan=0.5), axis=0), betas)
    cohorts = np.array([file.patient.cohort_idx for file in tumors])
    table = study.probe_table()
    near = (table["region"] == "promoter").to_numpy() & ~study.probes.is_never_measured
    by_chance = np.random.default_rng(0).permutation(cohorts)
    assert np.quantile(explained_share(betas[:, near], cohorts), 0.9) > 0.4
    assert np.quantile(explained_share(betas[:, near], by_chance), 0.9) < 0.2


def explained_share(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Share of each column's variance that lies between the groups."""
    within = sum(((values[groups == one] - values[groups == one].mean(axis=0)) ** 2).sum(axis=0) for one in set(groups))
    return 1 - within / ((values - values.mean(axis=0)) ** 2).sum(axis=0)
