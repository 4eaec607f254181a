"""The synthetic study: true to its seed, in the portal's formats, with the signal that it claims."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_files import normalise_counts, star_counts_body
from bulkrnabert.data.synthetic_genes import GeneModel
from bulkrnabert.data.synthetic_patients import ODDITIES
from bulkrnabert.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=3, cohorts=3, patients_per_cohort=40, genes=400, probes=200)


def rows_of(body: bytes) -> list[list[str]]:
    return [line.split("\t") for line in body.decode().split("\n")[6:-1]]


def files_of(study: SyntheticStudy, modality: str):
    return [file for file in study.all_files.values() if file.modality == modality]


def odd(study: SyntheticStudy, name: str):
    return next(patient for patient in study.patients if name in patient.oddities)


def concordance(time_days: np.ndarray, is_dead: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C, by the definition."""
    earlier = (time_days[:, None] < time_days[None, :]) & is_dead[:, None]
    right = (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])
    return float((earlier * right).sum() / earlier.sum())


# ---- STAR files ----


def test_counts_become_tpm_and_fpkm_as_computed_by_hand() -> None:
    """One read a base in two coding genes and one lncRNA: TPM is even, FPKM counts coding reads only."""
    genes = GeneModel(
        row_ids=("ENSG00000900001.1", "ENSG00000900002.1", "ENSG00000900003.1", "ENSG00000900003.1_PAR_Y"),
        symbols=("A", "B", "C", "C"),
        gene_types=("protein_coding", "lncRNA", "protein_coding", "protein_coding"),
        lengths_bp=np.array([1000.0, 1000.0, 2000.0, 2000.0]),
        is_par_y=np.array([False, False, False, True]),
        is_autosomal=np.array([True, True, False, False]),
        baseline_log2=np.zeros(4),
        loadings=np.zeros((4, 1)),
        programmes=("none",),
        tumor_means=np.zeros((1, 1)),
        normal_means=np.zeros((1, 1)),
        log_hazard_coefficients=np.zeros(4),
        within_cohort_sd=np.ones(4),
    )

    class NoNoise:
        def normal(self, _mean, _sd, size=None):
            return 0.0 if size is None else np.zeros(size)

        def poisson(self, expected):
            return np.round(expected).astype(int)

        def binomial(self, counts, _share):
            return counts // 2

        def uniform(self, _low, _high, size):
            return np.zeros(size)

    body = star_counts_body(NoNoise(), genes, np.zeros(4))
    # 4 rows x 3,000 reads = 12,000 reads over 4,000 bases
    a, b, c, par = rows_of(body)
    assert a[3:] == ["3000", "1500", "1500", "333333.3333", "333333.3333", "1000000.0000"]
    assert b[3:7] == ["3000", "1500", "1500", "333333.3333"]
    assert c[3:7] == ["6000", "3000", "3000", "333333.3333"]
    assert par == ["ENSG00000900003.1_PAR_Y", "C", "protein_coding", "0", "0", "0", "0.0000", "0.0000", "0.0000"]


def test_formulas_are_those_of_the_gdc(shared: Path) -> None:
    """Against the expected output of the GDC's own unit test."""
    folder = shared / "fixtures/gdc/gdc_rnaseq_tool"
    given = pd.read_csv(folder / "test_set_1.annotated.tsv.gz", sep="\t").iloc[4:]
    expected = pd.read_csv(folder / "test_set_1.final.tsv.gz", sep="\t", comment="#").iloc[4:]
    ours = normalise_counts(
        given["unstranded"].to_numpy(),
        given["total_exon_length"].to_numpy(),
        (given["gene_type"] == "protein_coding").to_numpy(),
        given["chromosome"].str.fullmatch(r"chr\d+").to_numpy(),
    )
    np.testing.assert_allclose(ours.tpm, expected["tpm_unstranded"], rtol=1e-12)
    np.testing.assert_allclose(ours.fpkm, expected["fpkm_unstranded"], rtol=1e-12)
    np.testing.assert_allclose(ours.fpkm_uq, expected["fpkm_uq_unstranded"], rtol=1e-12)


def test_star_file_looks_like_the_real_one(study: SyntheticStudy, shared: Path) -> None:
    real = next((shared / "fixtures/gdc/star").glob("*06-2559*")).read_text().split("\n")
    ours = study.file_body(files_of(study, "rnaseq")[0].file_id).decode().split("\n")
    assert ours[:2] == real[:2]
    assert [line.split("\t")[0] for line in ours[2:6]] == [line.split("\t")[0] for line in real[2:6]]
    assert all(line.count("\t") == 8 and line.endswith("\t\t\t") for line in ours[2:6])
    assert all(line.count("\t") == 8 for line in ours[6:-1])
    assert ours[-1] == ""
    assert len(ours) - 7 == 400


def test_columns_of_a_star_file_agree_with_each_other(study: SyntheticStudy) -> None:
    for file in files_of(study, "rnaseq")[:5]:
        rows = rows_of(study.file_body(file.file_id))
        ids = [row[0] for row in rows]
        numbers = np.array([[float(cell) for cell in row[3:]] for row in rows])
        counts, first, second, tpm, fpkm, fpkm_uq = numbers.T
        assert ids == sorted(ids)
        assert tpm.sum() == pytest.approx(1e6, abs=0.1)
        np.testing.assert_array_equal(first + second, counts)
        well = tpm > 100
        assert np.ptp(tpm[well] / fpkm[well]) < 1e-3
        assert np.ptp(fpkm[well] / fpkm_uq[well]) < 1e-3
        per_base = counts / study.genes.lengths_bp
        np.testing.assert_allclose(tpm, per_base / per_base.sum() * 1e6, atol=1e-4)


def test_par_y_rows_are_zero_and_follow_their_gene(study: SyntheticStudy) -> None:
    rows = rows_of(study.file_body(files_of(study, "rnaseq")[0].file_id))
    par = [index for index, row in enumerate(rows) if row[0].endswith("_PAR_Y")]
    assert len(par) == 4
    for index in par:
        assert rows[index][0] == f"{rows[index - 1][0]}_PAR_Y"
        assert rows[index][1] == rows[index - 1][1]
        assert set(rows[index][3:]) == {"0", "0.0000"}


def test_values_are_spread_as_in_real_files(study: SyntheticStudy) -> None:
    tpm = np.array([[float(row[6]) for row in rows_of(study.file_body(f.file_id))] for f in files_of(study, "rnaseq")])
    assert 0.05 < (tpm == 0).mean() < 0.4
    assert np.quantile(tpm, 0.99) > 100 * np.median(tpm)


def test_genes_cannot_be_taken_for_real_ones(study: SyntheticStudy, shared: Path) -> None:
    import gzip

    with gzip.open(shared / "fixtures/gdc/genes/gencode_v36_gene_ids.txt.gz", "rt") as handle:
        real = {line.split(".")[0] for line in handle}
    ours = {row_id.split(".")[0] for row_id in study.genes.row_ids}
    assert not real & ours
    assert len(ours) == 396


# ---- methylation ----


def test_sesame_file(study: SyntheticStudy) -> None:
    file = next(file for file in files_of(study, "methylation") if not file.is_27k)
    rows = [line.split("\t") for line in study.file_body(file.file_id).decode().split("\n")[:-1]]
    assert [row[0] for row in rows] == sorted(study.probes.probe_ids)
    betas = [float(row[1]) for row in rows if row[1] != "NA"]
    assert all(0 < beta < 1 for beta in betas)
    never = study.probes.probe_ids[int(np.flatnonzero(study.probes.is_never_measured)[0])]
    assert [never, "NA"] in rows
    smaller = next(file for file in files_of(study, "methylation") if file.is_27k)
    probes_27k = {line.split("\t")[0] for line in study.file_body(smaller.file_id).decode().split("\n")[:-1]}
    assert 0 < len(probes_27k) < len(rows)
    assert probes_27k < {row[0] for row in rows}


def test_promoter_methylation_falls_where_expression_rises(study: SyntheticStudy) -> None:
    samples = [file for file in files_of(study, "methylation") if file.is_tumor and not file.is_27k]
    expression = {}
    for file in files_of(study, "rnaseq"):
        expression[file.sample_barcode] = np.array([float(row[6]) for row in rows_of(study.file_body(file.file_id))])
    both = [file for file in samples if file.sample_barcode in expression]
    log_tpm = np.log2(1 + np.array([expression[file.sample_barcode] for file in both]))
    betas = np.array(
        [
            [np.nan if line.endswith("NA") else float(line.split("\t")[1]) for line in body.split("\n")[:-1]]
            for body in (study.file_body(file.file_id).decode() for file in both)
        ]
    )
    correlations = []
    for probe in np.flatnonzero((study.probes.slopes < -0.4) & ~study.probes.is_never_measured):
        seen = ~np.isnan(betas[:, probe])
        correlations.append(np.corrcoef(betas[seen, probe], log_tpm[seen, study.probes.gene_rows[probe]])[0, 1])
    assert np.median(correlations) < -0.5


# ---- signal ----


def test_known_genes_predict_survival_within_cohorts() -> None:
    study = SyntheticStudy.create(seed=1, cohorts=3, patients_per_cohort=250, genes=300, oddities=False)
    c_indices = []
    for cohort in range(3):
        patients = [patient for patient in study.patients if patient.cohort_idx == cohort]
        outcomes = [study.outcome(patient) for patient in patients]
        time_days = np.array([outcome.time_days for outcome in outcomes])
        is_dead = np.array([outcome.is_dead for outcome in outcomes])
        risk = np.array([study.log_hazard(patient) for patient in patients])
        assert 0.3 < is_dead.mean() < 0.9
        c_indices.append(concordance(time_days, is_dead, risk))
        assert concordance(time_days, is_dead, np.random.default_rng(0).permutation(risk)) < 0.6
    assert all(0.64 < c_index < 0.80 for c_index in c_indices), c_indices


def test_cancer_type_is_readable_but_not_trivial() -> None:
    """Nearest mean in the activity of the cohorts' programmes, learnt on half of the tumours, tested on the others."""
    study = SyntheticStudy.create(seed=0, patients_per_cohort=40, genes=600, oddities=False)
    tumors = [file for file in files_of(study, "rnaseq") if file.vial == "01A"]
    tpm = np.array([[float(row[6]) for row in rows_of(study.file_body(file.file_id))] for file in tumors])
    log_tpm = np.log2(1 + tpm)
    cohorts = np.array([file.patient.cohort_idx for file in tumors])
    activity = log_tpm @ study.genes.loadings[:, :4] / np.abs(study.genes.loadings[:, :4]).sum(axis=0)
    is_train = np.arange(len(tumors)) % 2 == 0
    means = np.array([activity[is_train & (cohorts == cohort)].mean(axis=0) for cohort in range(4)])
    nearest = np.argmin(((activity[:, None] - means) ** 2).sum(axis=2), axis=1)
    assert (nearest == cohorts)[~is_train].mean() > 0.9


def test_truth_lists_what_drives_survival(study: SyntheticStudy) -> None:
    truth = study.truth
    rows = np.flatnonzero(study.genes.log_hazard_coefficients)
    assert len(truth["prognostic_genes"]) == len(rows) == 12
    drivers = set(truth["programmes"]["adverse"]) | set(truth["programmes"]["protective"])
    assert {gene["gene_id"] for gene in truth["prognostic_genes"]} <= drivers
    assert set(truth["median_survival_days"]) == {"TCGA-SYNA", "TCGA-SYNB", "TCGA-SYNC"}
    assert set(truth["oddities"]) == set(ODDITIES)


# ---- oddities ----


def test_every_oddity_has_its_patient(study: SyntheticStudy) -> None:
    assert {name for patient in study.patients for name in patient.oddities} == set(ODDITIES)
    clean = SyntheticStudy.create(seed=3, cohorts=3, patients_per_cohort=40, genes=400, probes=200, oddities=False)
    assert not any(patient.oddities for patient in clean.patients)


@pytest.mark.parametrize(
    ("oddity", "vital_status", "days_to_death", "last_follow_up"),
    [
        ("zero_time_alive", "Alive", None, 0),
        ("zero_time_dead", "Dead", 0, None),
        ("negative_time", "Alive", None, -31),
        ("dead_without_days_to_death", "Dead", None, None),
        ("vital_status_not_reported", "Not Reported", None, None),
    ],
)
def test_odd_survival(
    study: SyntheticStudy, oddity: str, vital_status: str, days_to_death: int | None, last_follow_up: int | None
) -> None:
    barcode = odd(study, oddity).barcode
    case = next(case for case in study.cases() if case["submitter_id"] == barcode)
    assert case["demographic"]["vital_status"] == vital_status
    assert case["demographic"]["days_to_death"] == days_to_death
    assert case["diagnoses"][0]["days_to_last_follow_up"] == last_follow_up
    assert "follow_ups" not in case


def test_odd_clinical_records(study: SyntheticStudy) -> None:
    cases = {case["submitter_id"]: case for case in study.cases()}
    bare = cases[odd(study, "no_clinical").barcode]
    assert not {"demographic", "diagnoses", "follow_ups"} & set(bare)
    alive = cases[odd(study, "alive_with_days_to_death").barcode]["demographic"]
    assert alive["vital_status"] == "Alive"
    assert alive["days_to_death"] > 0
    elsewhere = cases[odd(study, "follow_up_elsewhere").barcode]
    assert elsewhere["diagnoses"][0]["days_to_last_follow_up"] is None
    assert elsewhere["follow_ups"][-1]["days_to_follow_up"] > 0
    two = cases[odd(study, "two_diagnoses").barcode]["diagnoses"]
    assert [one["diagnosis_is_primary_disease"] for one in two] == [False, True]
    assert two[0]["days_to_last_follow_up"] == two[1]["days_to_last_follow_up"] + 500


def test_odd_samples(study: SyntheticStudy) -> None:
    def rnaseq_of(name: str):
        patient = odd(study, name)
        return [file for file in files_of(study, "rnaseq") if file.patient == patient and file.is_tumor]

    assert [file.aliquot.split("-")[5] for file in rnaseq_of("two_aliquots")] == ["A001", "A277"]
    assert [file.vial for file in rnaseq_of("two_vials")] == ["01A", "01B"]
    assert [file.is_ffpe for file in rnaseq_of("ffpe_vial")] == [False, True]
    assert [file.is_ffpe for file in rnaseq_of("ffpe_only")] == [True]
    assert [file.vial for file in rnaseq_of("metastatic")] == ["01A", "06A"]
    assert rnaseq_of("controlled_file")[0].access == "controlled"
    assert rnaseq_of("methylation_only") == []
    same_name = [file for file in files_of(study, "rnaseq") if file.patient == odd(study, "same_file_name")]
    assert len(same_name) == 2
    assert len({file.file_name for file in same_name}) == 1
    only_rna = odd(study, "rnaseq_only")
    assert not [file for file in files_of(study, "methylation") if file.patient == only_rna]


def test_withdrawn_and_replaced_files_have_a_history_but_are_not_listed(study: SyntheticStudy) -> None:
    listed = {record["file_id"] for record in study.files()}
    old = next(file for file in study.all_files.values() if file.change == "superseded")
    gone = next(file for file in study.all_files.values() if file.change == "redacted")
    assert old.file_id not in listed
    assert gone.file_id not in listed
    assert old.replaced_by in listed
    changes = [(one["uuid"], one["file_change"]) for one in study.history(old.file_id)]
    assert changes == [(old.file_id, "superseded"), (old.replaced_by, "released")]
    assert study.history(str(old.replaced_by)) == study.history(old.file_id)
    assert [one["file_change"] for one in study.history(gone.file_id)] == ["redacted"]
    assert study.history("nobody") == []


# ---- the seed decides ----


def test_everything_follows_from_the_seed(study: SyntheticStudy) -> None:
    again = SyntheticStudy.create(seed=3, cohorts=3, patients_per_cohort=40, genes=400, probes=200)
    ids = list(study.all_files)
    assert list(again.all_files) == ids
    # another order of asking, the same bodies
    bodies = {file_id: again.file_body(file_id) for file_id in reversed(ids[:20])}
    assert all(study.file_body(file_id) == bodies[file_id] for file_id in ids[:20])
    assert again.cases() == study.cases()
    other = SyntheticStudy.create(seed=4, cohorts=3, patients_per_cohort=40, genes=400, probes=200)
    assert not set(other.all_files) & set(ids)
    assert other.truth != study.truth


def test_md5_and_size_are_true(study: SyntheticStudy) -> None:
    record = study.with_integrity(study.files()[0])
    body = study.file_body(record["file_id"])
    assert record["md5sum"] == hashlib.md5(body).hexdigest()
    assert record["file_size"] == len(body)


def test_file_ids_are_unique_and_well_formed(study: SyntheticStudy) -> None:
    n_files = sum(1 for _ in study.all_files)
    assert n_files > 200
    assert all(len(file_id) == 36 and file_id[14] == "4" for file_id in study.all_files)
    assert study.all_files[next(iter(study.all_files))].file_name.split(".")[0] not in study.all_files


def test_saved_and_read_again(study: SyntheticStudy, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    study.save(path)
    again = SyntheticStudy.from_json(path)
    assert again.config == study.config
    assert again.truth == study.truth


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    with pytest.raises(DataError, match="cannot be read as a synthetic study"):
        SyntheticStudy.from_json(path)
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="expected a study made by `bulkrnabert synth`"):
        SyntheticStudy.from_json(path)


def test_a_study_of_another_version_of_the_program(study: SyntheticStudy, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    study.save(path)
    content = json.loads(path.read_text())
    content["truth"]["prognostic_genes"][0]["log_hazard_per_sd"] += 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="run `bulkrnabert synth` again"):
        SyntheticStudy.from_json(path)


def test_impossible_sizes_are_all_reported() -> None:
    with pytest.raises(ConfigError, match=r"2 problems") as caught:
        SyntheticStudy.create(cohorts=0, genes=10)
    assert "`cohorts`" in str(caught.value)
    assert "`genes`" in str(caught.value)
