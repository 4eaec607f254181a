"""Each task of GexBERT from its command, on a small study with untrained encoders of two folds and of all samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from bulkrnabert import keys
from bulkrnabert.cli import _run
from bulkrnabert.data.splits import Splits, make_splits
from bulkrnabert.data.tokenizer import BinnedTokenizer, Selection
from bulkrnabert.data.tokens import Tokens, write_tokens
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.evaluate.anchors import MEASURED, PANEL_GENES, RESTORED
from bulkrnabert.models.gexbert import GexBERT, GexBERTConfig
from bulkrnabert.models.registry import save_network

N_SAMPLES, N_GENES = 80, 24
GENES = tuple(f"ENSG{number:011d}" for number in range(1, N_GENES + 1))
SPLIT_IDS = ("r0f0", "r0f1", keys.ALL_SPLIT)


@dataclass(frozen=True)
class GexBERTStudy:
    """Folders and tables; tokens and checkpoints by `split_id`."""

    folder: Path
    splits: Splits
    values: pd.DataFrame

    def arguments(self, *split_ids: str) -> list[str]:
        found = ["--cohorts", str(self.folder), "--splits", str(self.folder / "splits.tsv"), "--device", "cpu"]
        return found + self.encoders(*split_ids)

    def encoders(self, *split_ids: str) -> list[str]:
        found: list[str] = []
        for name in split_ids:
            found += ["--checkpoint", str(self.checkpoint(name)), "--tokens", str(self.tokens(name))]
        return found

    def tokens(self, split_id: str) -> Path:
        return self.folder / f"tokens_{split_id}"

    def checkpoint(self, split_id: str) -> Path:
        return self.folder / f"checkpoint_{split_id}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> GexBERTStudy:
    """Two cohorts that differ in eight genes; patients live shorter the higher the last gene is."""
    folder = tmp_path_factory.mktemp("gexbert")
    rng = np.random.default_rng(0)
    is_b = np.arange(N_SAMPLES) % 2 == 1
    levels = rng.normal(4, 1, (N_SAMPLES, N_GENES))
    levels[:, :8] += np.where(is_b, 3.0, 0.0)[:, None]
    levels[:, 8:16] = levels[:, 16:24] + 0.2 * rng.normal(size=(N_SAMPLES, 8))
    names = [f"S{number:02d}" for number in range(N_SAMPLES)]
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: names,
            keys.PATIENT_ID: [f"P{name[1:]}" for name in names],
            keys.COHORT: np.where(is_b, "B", "A"),
            keys.SAMPLE_TYPE: keys.TUMOR,
        }
    )
    clinical = samples[[keys.PATIENT_ID, keys.COHORT]].assign(
        time_days=(3000 - 400 * levels[:, -1] + rng.uniform(0, 300, N_SAMPLES)).clip(10).round(),
        event=(rng.random(N_SAMPLES) < 0.8).astype(float),
    )
    splits = make_splits(samples, clinical, n_folds=2, n_repeats=1, seed=0)
    clinical.to_csv(folder / keys.CLINICAL_TSV, sep="\t", index=False)
    splits.frame.to_csv(folder / keys.SPLITS_TSV, sep="\t", index=False, lineterminator="\n")
    values = pd.DataFrame(np.exp2(levels), index=pd.Index(names, name="sample_id"), columns=list(GENES))
    found = GexBERTStudy(folder, splits, values)
    for number, split_id in enumerate(SPLIT_IDS):
        _write_encoder(found, split_id, number, samples)
    return found


def _write_encoder(study: GexBERTStudy, split_id: str, seed: int, samples: pd.DataFrame) -> None:
    training = study.splits.training_samples(split_id)
    is_training = samples[keys.SAMPLE_ID].isin(training).to_numpy()
    described = samples[[keys.SAMPLE_ID, keys.PATIENT_ID, keys.COHORT]].assign(
        part=np.where(is_training, keys.TRAIN, keys.HELD_OUT)
    )
    values = study.values.to_numpy()
    tokenizer = BinnedTokenizer.fit_standardised(Selection(values, np.flatnonzero(is_training)), "tpm")
    write_tokens(
        study.tokens(split_id),
        Tokens(
            described,
            tokenizer.encode(values, "tpm"),
            GENES,
            {keys.RNASEQ: tokenizer},
            split_id,
            study.splits.sha256,
            keys.GEXBERT,
            tokenizer.standardise(values, "tpm"),
        ),
    )
    config = GexBERTConfig(
        n_genes=N_GENES, embed_dim=16, n_heads=2, ffn_embed_dim=16, n_layers=1, summary_ffn_dim=16, max_known=12
    )
    network = GexBERT(config, torch.Generator().manual_seed(seed))
    folder = study.checkpoint(split_id)
    save_network(folder, network)
    tokenizer.save(folder / keys.TOKENIZER_JSON)
    (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in GENES))
    record = {"split_id": split_id, "split_sha256": study.splits.sha256}
    (folder / keys.PROVENANCE_JSON).write_text(json.dumps(record))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert _run(arguments) == 2
    return capsys.readouterr().err


class TestImpute:
    @pytest.fixture
    def gaps(self, study: GexBERTStudy) -> pd.DataFrame:
        """Ten samples with log2(tpm+1), a tenth missing, three genes not listed, one gene unknown to the model."""
        table = np.log2(study.values.iloc[:10, :-3] + 1)
        table = table.mask(np.random.default_rng(0).random(table.shape) < 0.1)
        return table.assign(ENSG00000099999=np.where(np.arange(10) == 3, np.nan, 1.5))

    def run(self, study: GexBERTStudy, table: Path, out: Path, unit: str = "log2(tpm+1)") -> int:
        checkpoint = str(study.checkpoint(keys.ALL_SPLIT))
        arguments = ["impute", "--checkpoint", checkpoint, "--table", str(table), "--unit", unit, "--device", "cpu"]
        return _run([*arguments, "--out", str(out)])

    @pytest.mark.parametrize("is_transposed", [False, True])
    def test_a_text_table(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path, is_transposed: bool) -> None:
        text = gaps.map(lambda value: "NA" if np.isnan(value) else f"{value:.9f}0")
        text.insert(0, "gender", "female")
        if is_transposed:
            text = text.drop(columns="gender").T.rename_axis("gene_id")
            text.insert(0, "symbol", "name")
        text.to_csv(tmp_path / "table.tsv", sep="\t")
        before = (tmp_path / "table.tsv").read_bytes()
        assert self.run(study, tmp_path / "table.tsv", tmp_path / "out.tsv") == 0
        assert (tmp_path / "table.tsv").read_bytes() == before
        out, flags, deviations = (
            pd.read_csv(tmp_path / name, sep="\t", index_col=0, dtype=str, keep_default_na=False)
            for name in ("out.tsv", "out.imputed.tsv", "out.sd.tsv")
        )
        own = pd.read_csv(tmp_path / "table.tsv", sep="\t", index_col=0, dtype=str, keep_default_na=False)
        kept = out.loc[own.index, own.columns]
        assert ((kept == own) | (own == "NA")).all(axis=None)
        extra = "symbol" if is_transposed else "gender"
        assert (out[extra].head(10) == own[extra].head(10)).all()
        out, own = out.drop(columns=extra), own.drop(columns=extra)
        if is_transposed:
            out, own, flags, deviations = out.T, own.T, flags.T, deviations.T
        assert list(out.columns) == [*own.columns, *GENES[-3:]]
        unknown = "ENSG00000099999"
        assert out.loc["S03", unknown] == "NA"
        expected = (own == "NA").drop(columns=unknown)
        assert (flags[expected.columns] == expected.astype(int).astype(str)).all(axis=None)
        assert (flags[list(GENES[-3:])] == "1").all(axis=None)
        assert (flags[unknown] == "0").all()
        assert ((deviations.loc[:, flags.columns] == "") == (flags == "0")).all(axis=None)
        numbers = out.drop(columns=unknown).astype(float)
        assert (numbers >= 0).all(axis=None)
        record = json.loads((tmp_path / "out.impute.json").read_text())
        assert record["n_imputed_in_table"] == int(expected.sum().sum())
        assert record["n_imputed_of_added_genes"] == 30
        assert record["n_left_missing"] == 1
        assert record["constant_genes"] == []

    def test_parquet_keeps_every_bit(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path) -> None:
        gaps.to_parquet(tmp_path / "table.parquet")
        assert self.run(study, tmp_path / "table.parquet", tmp_path / "out.parquet") == 0
        out = pd.read_parquet(tmp_path / "out.parquet")
        measured = gaps.notna()
        assert out.index.name == "sample_id"
        assert (out.dtypes == np.float64).all()
        assert np.array_equal(out[gaps.columns].to_numpy()[measured], gaps.to_numpy()[measured])
        assert out[list(GENES)].notna().all(axis=None)

    def test_restored_values_come_back_in_the_tables_unit(
        self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path
    ) -> None:
        found = []
        for unit, table in (("log2(tpm+1)", gaps), ("tpm", np.exp2(gaps) - 1)):
            table.to_csv(tmp_path / "table.csv")
            assert self.run(study, tmp_path / "table.csv", tmp_path / "out.csv", unit) == 0
            found.append(pd.read_csv(tmp_path / "out.csv", index_col=0)[list(GENES[-3:])])
        assert np.log2(found[1] + 1).to_numpy() == pytest.approx(found[0].to_numpy(), abs=1e-3)

    def test_a_sample_with_nothing_stays_as_it_is(
        self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        gaps.iloc[4] = np.nan
        gaps.to_csv(tmp_path / "table.csv")
        assert self.run(study, tmp_path / "table.csv", tmp_path / "out.csv") == 0
        assert pd.read_csv(tmp_path / "out.csv", index_col=0).loc["S04"].isna().all()
        record = json.loads((tmp_path / "out.impute.json").read_text())
        assert record["samples_left_out"] == ["S04"]

    def test_other_samples_change_nothing(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path) -> None:
        gaps.to_csv(tmp_path / "table.csv")
        gaps.iloc[:3].to_csv(tmp_path / "few.csv")
        assert self.run(study, tmp_path / "table.csv", tmp_path / "out.csv") == 0
        assert self.run(study, tmp_path / "few.csv", tmp_path / "few.out.csv") == 0
        many, few = (pd.read_csv(tmp_path / name, index_col=0) for name in ("out.csv", "few.out.csv"))
        assert few[list(GENES)].to_numpy() == pytest.approx(many[list(GENES)].head(3).to_numpy(), abs=1e-4)

    def test_bad_input(
        self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, out = tmp_path / "table.csv", tmp_path / "out.csv"

        def message(table: pd.DataFrame, unit: str = "log2(tpm+1)", out: Path = out) -> str:
            table.to_csv(path)
            assert self.run(study, path, out, unit) == 2
            return capsys.readouterr().err

        assert "no number in the table at all" in message(gaps * np.nan)
        strangers = gaps.rename(columns={name: name.replace("ENSG00000", "ENSG00077") for name in gaps.columns})
        assert "none of the model's 24 genes" in message(strangers)
        only_unknown = gaps.copy()
        only_unknown[[name for name in gaps if name in GENES]] = np.nan
        assert "no sample of the table has a value of any of the model's genes" in message(only_unknown)
        assert "become TPM by the sum over all genes" in message(np.exp2(gaps), "fpkm")
        assert "no way from one to the other" in message(gaps - gaps.mean(), "zscore")
        assert "expected a name that ends in .parquet, .tsv, .csv" in message(gaps, out=tmp_path / "out.xlsx")
        assert not out.exists()
        assert "would be written over the table itself" in message(gaps, out=path)

    def test_constant_genes_are_named(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path) -> None:
        gaps[GENES[2]] = 5.0
        gaps.to_csv(tmp_path / "table.csv")
        assert self.run(study, tmp_path / "table.csv", tmp_path / "out.csv") == 0
        assert json.loads((tmp_path / "out.impute.json").read_text())["constant_genes"] == [GENES[2]]

    def test_other_layouts(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path) -> None:
        import anndata

        lines = gaps.map(lambda value: "" if np.isnan(value) else f"{value:.7f}").to_csv(sep="\t", header=False)
        (tmp_path / "r.tsv").write_text("# made by R\n" + "\t".join(gaps.columns) + "\n" + lines)
        anndata.AnnData(gaps).write_h5ad(tmp_path / "a.h5ad")
        by_gene = gaps.T.map(lambda value: "" if np.isnan(value) else f"{value:.7f}")
        by_gene.insert(0, "Description", "d")
        header = f"#1.2\n{len(by_gene)}\t{by_gene.shape[1] - 1}\n"
        (tmp_path / "g.gct").write_text(header + by_gene.rename_axis("Name").to_csv(sep="\t"))
        measured = gaps.notna()
        for name in ("r.tsv", "a.h5ad", "g.gct"):
            assert self.run(study, tmp_path / name, tmp_path / "out.csv") == 0
            out = pd.read_csv(tmp_path / "out.csv", index_col=0, float_precision="round_trip")
            out = out.drop(columns="Description").T if name == "g.gct" else out
            out = out.loc[gaps.index, :].astype(float)
            expected = gaps if name == "a.h5ad" else gaps.map(lambda value: float(f"{value:.7f}"))
            assert np.array_equal(out[gaps.columns].to_numpy()[measured], expected.to_numpy()[measured])
            assert out[list(GENES)].notna().all(axis=None)

    def test_text_becomes_numbers_in_parquet(self, study: GexBERTStudy, gaps: pd.DataFrame, tmp_path: Path) -> None:
        gaps.assign(gender="female").to_csv(tmp_path / "table.csv", na_rep="NA")
        assert self.run(study, tmp_path / "table.csv", tmp_path / "out.parquet") == 0
        out = pd.read_parquet(tmp_path / "out.parquet")
        assert set(out["gender"]) == {"female"}
        assert (out.drop(columns="gender").dtypes == np.float64).all()
        measured = gaps.notna()
        assert np.array_equal(out[gaps.columns].to_numpy()[measured], gaps.to_numpy()[measured])

    def test_a_checkpoint_of_bulkrnabert(self, finetune_study: Any, tmp_path: Path) -> None:
        table = finetune_study.values.head(5).copy()
        table.iloc[1, 2] = np.nan
        table = table.iloc[:, :-1]
        table.to_csv(tmp_path / "table.csv")
        checkpoint = str(finetune_study.checkpoint(keys.ALL_SPLIT))
        arguments = ["impute", "--checkpoint", checkpoint, "--table", str(tmp_path / "table.csv"), "--unit", "tpm"]
        assert _run([*arguments, "--device", "cpu", "--out", str(tmp_path / "out.csv")]) == 0
        out = pd.read_csv(tmp_path / "out.csv", index_col=0, float_precision="round_trip")
        measured = table.notna()
        assert np.array_equal(out[table.columns].to_numpy()[measured], table.to_numpy()[measured])
        assert out.notna().all(axis=None)
        assert (out <= 10**3.5).all(axis=None)
        assert json.loads((tmp_path / "out.impute.json").read_text())["scale_of_deviations"] == "log10(tpm+1)"


class TestBenchmark:
    def test_numbers(self, study: GexBERTStudy, tmp_path: Path) -> None:
        out = tmp_path / "imputation.json"
        arguments = ["impute-benchmark", *study.encoders("r0f0"), "--rate", "0.3", "--rate", "0.6", "--resamples", "20"]
        assert _run([*arguments, "--pattern", "at_random", "--device", "cpu", "--out", str(out)]) == 0
        found = json.loads(out.read_text())
        assert (found["version"], found["split_id"], found["n_samples"]) == (1, "r0f0", 40)
        rows = pd.DataFrame(found["rows"])
        methods = [
            "GexBERT",
            "gene mean",
            "k nearest neighbours",
            "iterated ridge regression",
            "PCA (soft-impute)",
            "VAE",
        ]
        assert list(rows["method"].unique()) == methods
        assert rows.groupby("method")["role"].first().eq("model").sum() == 1
        rmse = rows[(rows["metric"] == "rmse") & (rows["rate"] == 0.3)].set_index("method")
        assert rmse.loc["iterated ridge regression", "value"] < rmse.loc["gene mean", "value"]
        assert (rmse["low"] <= rmse["value"]).all()
        assert (rmse["value"] <= rmse["high"]).all()
        assert {item["against"] for item in found["comparisons"]} == set(methods[1:])
        assert {item["holds"] for item in found["comparisons"]} <= {"ahead", "level", "behind", None}
        assert {item["level"] for item in found["calibration"]} == {0.5, 0.8, 0.95}

    def test_refusals(self, study: GexBERTStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        end = ["--out", str(tmp_path / "x.json"), "--device", "cpu"]
        message = refused(["impute-benchmark", *study.encoders(keys.ALL_SPLIT), *end], capsys)
        assert "split all holds nobody out" in message
        mixed = ["--checkpoint", str(study.checkpoint("r0f1")), "--tokens", str(study.tokens("r0f0"))]
        assert "other genes or bins than the checkpoint" in refused(["impute-benchmark", *mixed, *end], capsys)


class TestPanels:
    def test_numbers_and_a_model_that_predicts(self, study: GexBERTStudy, tmp_path: Path) -> None:
        config = tmp_path / "task.yaml"
        config.write_text(
            "cancer_type: {adapter: {kind: full}, max_epochs: 1}\n"
            "survival: {adapter: {kind: none}}\njoint: {adapter: {kind: none}}\n"
        )
        out = tmp_path / "panels"
        arguments = ["panels", *study.arguments("r0f0", "r0f1"), "--size", "4", "--chooser", "anova", "--chooser"]
        arguments += ["variance", "--baselines", "fast", "--resamples", "20", "--task-config", str(config)]
        assert _run([*arguments, "--out", str(out)]) == 0
        found = json.loads((out / "panels.json").read_text())
        rows = pd.DataFrame(found["rows"])
        assert set(rows["chooser"]) == {"anova", "variance"}
        assert set(rows["method"]) == {"GexBERT, full fine-tuning", "MLP", "logistic regression"}
        accuracy = rows[(rows["metric"] == "accuracy") & (rows["chooser"] == "anova")].set_index("method")["value"]
        assert accuracy["logistic regression"] > 0.9
        chosen = next(item for item in found["panels"] if item["chooser"] == "anova")
        assert {item["gene_id"] for item in chosen["genes"]} <= set(GENES[:8])
        assert len(found["comparisons"]) == 2 * 2 * 3
        predictions = read_predictions(out / "anova.4" / "predictions.parquet")
        assert len(predictions.frame) == 3 * N_SAMPLES
        model = load_finetuned(out / "anova.4" / "model")
        assert all(len(member.network.config.gene_idx or ()) == 4 for member in model.members)
        table = study.values.iloc[:6]
        wanted = sorted({gene for member in model.members for gene in member.network.config.gene_idx or ()})
        table.iloc[:, wanted].to_csv(tmp_path / "panel.csv")
        predicted = ["predict", "--model", str(out / "anova.4" / "model"), "--table", str(tmp_path / "panel.csv")]
        assert _run([*predicted, "--unit", "tpm", "--device", "cpu", "--out", str(tmp_path / "p.tsv")]) == 0
        assert len(pd.read_csv(tmp_path / "p.tsv", sep="\t")) == 6

    def test_the_preset_predicts_where_genes_of_the_panel_are_missing(
        self, study: GexBERTStudy, tmp_path: Path
    ) -> None:
        out = tmp_path / "panels"
        arguments = ["panels", *study.arguments("r0f0", "r0f1"), "--size", "8", "--baselines", "fast"]
        assert _run([*arguments, "--resamples", "20", "--out", str(out)]) == 0
        rows = pd.DataFrame(json.loads((out / "panels.json").read_text())["rows"])
        accuracy = rows[rows["metric"] == "accuracy"].set_index("method")["value"]
        assert accuracy["GexBERT, kernel head"] > 0.9
        table = study.values.iloc[::7]
        shuffled = table.iloc[:, ::-1].assign(ENSG00000099999=1.0)
        absent = shuffled.drop(columns=list(GENES[2:4])).copy()
        absent.iloc[0, -8] = np.nan
        found = {}
        for name, each in {"whole": table, "shuffled": shuffled, "absent": absent}.items():
            each.to_csv(tmp_path / f"{name}.csv")
            predict = ["predict", "--model", str(out / "anova.8" / "model"), "--table", str(tmp_path / f"{name}.csv")]
            end = ["--unit", "tpm", "--device", "cpu", "--out", str(tmp_path / f"{name}.tsv")]
            assert _run([*predict, *end]) == 0
            found[name] = pd.read_csv(tmp_path / f"{name}.tsv", sep="\t", index_col="sample_id")
        pd.testing.assert_frame_equal(found["whole"], found["shuffled"])
        assert np.isfinite(found["absent"].select_dtypes("number").to_numpy()).all()
        assert found["absent"]["missing_share"].max() > 0

    def test_refusals(self, study: GexBERTStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        start = ["panels", *study.arguments(keys.ALL_SPLIT), "--out", str(tmp_path / "panels")]
        assert "--size 64: the data has 24 genes" in refused([*start, "--size", "64"], capsys)
        assert "fewer than the smallest panel (64)" in refused(start, capsys)
        assert "--fold 'r0f7': choose of r0f0, r0f1" in refused([*start, "--fold", "r0f7"], capsys)
        assert "--chooser list and --genes FILE go together" in refused([*start, "--chooser", "list"], capsys)
        panel = tmp_path / "panel.txt"
        panel.write_text(f"{GENES[0]}\nENSG00000088888\n")
        message = refused([*start, "--chooser", "list", "--genes", str(panel)], capsys)
        assert "1 of 2 genes are not among the 24" in message


class TestAnchors:
    def test_the_prognostic_gene_is_an_anchor(self, study: GexBERTStudy, tmp_path: Path) -> None:
        panel = tmp_path / "panel.txt"
        panel.write_text("".join(f"{gene}\n" for gene in GENES[:8]))
        out = tmp_path / "anchors"
        arguments = ["anchors", *study.arguments("r0f0", "r0f1"), "--chooser", "list", "--genes", str(panel)]
        arguments += ["--anchors", "3", "--resamples", "20", "--scope", "pan", "--scope", "A"]
        assert _run([*arguments, "--out", str(out)]) == 0
        found = json.loads((out / "anchors.json").read_text())
        first = next(item for item in found["anchors"] if item["scope"] == "pan")
        assert first["gene_id"] in (GENES[-1], GENES[15])
        assert first["mean_statistic"] > 3
        rows = pd.DataFrame(found["rows"])
        pan = rows[(rows["scope"] == "pan") & (rows["metric"] == "c_index_within_weighted")].set_index("method")[
            "value"
        ]
        assert pan[MEASURED] > 0.75
        assert pan[PANEL_GENES] < 0.7
        assert set(rows[rows["metric"] == "c_index_cohort"]["scope_cohort"]) == {"A", "B"}
        assert set(rows[rows["scope"] == "A"]["metric"]) == {"c_index_pooled"}
        assert {item["method"] for item in found["comparisons"]} == {RESTORED, "panel and restored anchors"}
        assert len(read_predictions(out / "pan" / "predictions.parquet").frame) == 6 * N_SAMPLES

    def test_refusals(self, study: GexBERTStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        start = ["anchors", *study.arguments(keys.ALL_SPLIT), "--out", str(tmp_path / "anchors")]
        assert "leaves none to restore" in refused([*start, "--panel-size", "24"], capsys)
        assert "--chooser list and --genes FILE go together" in refused([*start, "--chooser", "list"], capsys)


class TestBiomarkers:
    def test_tables(self, study: GexBERTStudy, tmp_path: Path) -> None:
        gmt, attributions = tmp_path / "sets.gmt", tmp_path / "attributions.tsv"
        gmt.write_text("DIFFERENT\tx\t" + "\t".join(GENES[:8]) + "\nOTHER\tx\t" + "\t".join(GENES[8:16]) + "\n")
        pd.DataFrame({"class": ["A"] * N_GENES, "gene_id": GENES, "mean": np.arange(N_GENES, dtype=float)}).to_csv(
            attributions, sep="\t", index=False
        )
        out = tmp_path / "biomarkers"
        arguments = ["biomarkers", *study.encoders("r0f0", "r0f1"), "--gmt", str(gmt), "--attributions"]
        arguments += [str(attributions), "--samples", "4", "--top", "5", "--device", "cpu", "--out", str(out)]
        assert _run(arguments) == 0
        table = pd.read_csv(out / "biomarkers.tsv", sep="\t")
        assert len(table) == 2 * N_GENES
        of_b = table[table["class"] == "B"].set_index("gene_id")
        assert of_b["rank"].tolist() == list(range(1, N_GENES + 1))
        assert (of_b.loc[list(GENES[:8]), "t"] > 5).all()
        assert (of_b.loc[list(GENES[:8]), "q"] < 1e-3).all()
        assert of_b["excess"].is_monotonic_decreasing
        assert set(of_b["stability"]) <= {0.0, 0.5, 1.0}
        found = json.loads((out / "biomarkers.json").read_text())
        assert [item["class"] for item in found["stability"]] == ["A", "B"]
        withs = {(item["class"], item["with"]) for item in found["agreement"]}
        assert withs == {
            ("A", "differential expression"),
            ("A", "integrated gradients"),
            ("B", "differential expression"),
        }
        assert np.array(found["heatmap"]["values"]).shape == (2, len(found["heatmap"]["genes"]))
        assert set(pd.read_csv(out / "enrichment.tsv", sep="\t")["set"]) == {"DIFFERENT", "OTHER"}

    def test_refusals(self, study: GexBERTStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        start = ["biomarkers", *study.encoders("r0f0"), "--device", "cpu", "--out", str(tmp_path / "x")]
        other = ["--checkpoint", str(study.checkpoint("r0f1")), "--tokens", str(study.tokens("r0f0"))]
        assert "no tokens of its split r0f1 (given: r0f0)" in refused(["biomarkers", *other, *start[-4:]], capsys)
        assert "give --clinical" in refused([*start, "--label-column", "grade"], capsys)
        clinical = ["--clinical", str(study.folder / keys.CLINICAL_TSV)]
        assert "--label-column 'grade'" in refused([*start, "--label-column", "grade", *clinical], capsys)
        bad = tmp_path / "bad.tsv"
        bad.write_text("a\tb\n1\t2\n")
        assert "no column class, gene_id, mean" in refused([*start, "--attributions", str(bad)], capsys)
