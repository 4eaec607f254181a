"""A raw folder of methylation as a source: the same samples and rejections as the plan, and means of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bulkrnabert import keys
from bulkrnabert.cli import _run
from bulkrnabert.data.cohort_source import ROW, InputOptions
from bulkrnabert.data.methylation import MethylationValues, MissingRules
from bulkrnabert.data.methylation_raw import read_methylation_raw, share_arrays
from bulkrnabert.data.sources.gdc_plan import file_path, read_plan
from bulkrnabert.errors import DataError


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("raw")
    study = folder / "study.json"
    sizes = ["--cohorts", "1", "--patients-per-cohort", "13", "--genes", "200", "--probes", "100"]
    assert _run(["synth", "--out", str(study), *sizes]) == 0
    for modality in (keys.RNASEQ, keys.METHYLATION):
        out = folder / modality
        options = ["--projects", "TCGA-SYNA", "--modality", modality, "--out", str(out)]
        assert _run(["download", "--api", f"embedded:{study}", *options]) == 0
    first = next((folder / keys.METHYLATION).rglob("*level3betas.txt"))
    probes = [line.split("\t")[0] for line in first.read_text().splitlines() if line.startswith("cg")]
    rows = [f"{probe}\tGENE{number % 20}" for number, probe in enumerate(probes)]
    (folder / "map.tsv").write_text("\n".join(["probe_id\tsymbol", *rows]) + "\n")
    return {"folder": folder, "map": folder / "map.tsv", **{name: folder / name for name in ("rnaseq", "methylation")}}


def test_samples_and_values(raw: dict[str, Path]) -> None:
    source = read_methylation_raw(raw["methylation"], InputOptions(probe_annotation=raw["map"]))
    plan = read_plan(raw["methylation"])
    assert (source.modality, str(source.unit), source.data_access) == (keys.METHYLATION, "beta", "open")
    assert set(source.samples[keys.SAMPLE_ID]) == {file.sample_id for file in plan.files}
    assert {item.rule for item in source.rejected} == {file.rule for file in plan.rejected}
    rows = source.samples[ROW].tolist()
    found = np.concatenate(list(source.values.pieces(rows, source.values.genes)))
    links = pd.read_csv(raw["map"], sep="\t")
    for row, values in zip(rows, found, strict=True):
        betas = pd.read_csv(file_path(raw["methylation"], plan.files[row]), sep="\t", names=["probe_id", "beta"])
        means = links.merge(betas).groupby("symbol")["beta"].mean()
        np.testing.assert_allclose(values, means.reindex(list(source.values.genes.gene_ids)), rtol=1e-6)


def test_what_is_refused(raw: dict[str, Path]) -> None:
    with pytest.raises(DataError, match="give the probe-to-gene table of the array with --probe-annotation"):
        read_methylation_raw(raw["methylation"], InputOptions())
    with pytest.raises(DataError, match="modality 'rnaseq', expected 'methylation'"):
        read_methylation_raw(raw["rnaseq"], InputOptions(probe_annotation=raw["map"]))


def test_rules_reach_the_values(raw: dict[str, Path]) -> None:
    rules = MissingRules(max_missing_sample=0.0)
    source = read_methylation_raw(raw["methylation"], InputOptions(probe_annotation=raw["map"]), rules=rules)
    assert isinstance(source.values, MethylationValues)
    list(source.values.pieces([0], source.values.genes))
    assert list(source.values.refused) == [0]


def test_sources_share_their_probes(raw: dict[str, Path]) -> None:
    source = read_methylation_raw(raw["methylation"], InputOptions(probe_annotation=raw["map"]))
    assert share_arrays([source, source])[1].values is source.values
