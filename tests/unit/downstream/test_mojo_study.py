"""A model of two omics from its checkpoint to embeddings, fine-tuned models and predictions, whole or of one omic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import bulkrnabert as brb
from bulkrnabert import keys
from bulkrnabert.cli.embed import command as embed_command
from bulkrnabert.cli.finetune import command as finetune_command
from bulkrnabert.cli.predict import command as predict_command
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.splits import make_splits
from bulkrnabert.data.tables import CohortTableWriter, TableHeader, cohort_path, genes_path, read_cohorts
from bulkrnabert.data.tokenize import tokenize_omics
from bulkrnabert.data.tokenizer_file import write_tokenizers
from bulkrnabert.data.tokens import read_tokens, write_tokens
from bulkrnabert.downstream.attribution_gradients import require_bulkrnabert
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.downstream.pretrained import PretrainedModel, load
from bulkrnabert.errors import CheckpointError, ConfigError, DataError, VocabularyError
from bulkrnabert.models.mojo import Mojo, MojoConfig
from bulkrnabert.models.registry import save_network
from tests.unit.downstream.finetuning import Study, refusal, run

N, G, MASK = 40, 8, 65
GENES = [f"ENSG{number:011d}" for number in range(1, G + 1)]
# S00 to S31 have both, S32 to S35 expression alone, S36 to S39 methylation alone.
NAMES = [f"S{number:02d}" for number in range(N)]
WITH_RNASEQ, WITH_METHYLATION = NAMES[:36], NAMES[:32] + NAMES[36:]
QUICK = """cancer_type: {adapter: {kind: ia3}, max_epochs: 2, patience: 1, genes_per_step: 4, modality_dropout: 0.5,
  consistency_weight: 0.1}
survival: {adapter: {kind: none}, max_epochs: 2, patience: 1, modality_dropout: 0.5}
"""


@dataclass(frozen=True)
class MojoStudy:
    """Folders, and the values as files and frames."""

    folder: Path
    rnaseq: pd.DataFrame
    methylation: pd.DataFrame

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def tables(self) -> list[str]:
        return ["--table", f"{self.folder}/rnaseq.tsv", "--unit", "tpm", "--methylation", f"{self.folder}/beta.tsv"]

    def arguments(self) -> list[str]:
        folders = ["--cohorts", self.folder, "--splits", self.folder / "splits.tsv", "--device", "cpu"]
        return [str(part) for part in (*folders, "--checkpoint", self.checkpoint)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> MojoStudy:
    folder = tmp_path_factory.mktemp("mojo")
    rng = np.random.default_rng(0)
    is_b = np.arange(N) % 2 == 1
    tpm = pd.DataFrame(rng.gamma(2.0, 20.0, (N, G)) * np.where(is_b, 3.0, 0.4)[:, None], NAMES, GENES)
    beta = pd.DataFrame(np.clip(rng.random((N, G)) * 0.6 + 0.4 * is_b[:, None], 0, 1), NAMES, GENES)
    found = MojoStudy(folder, tpm.loc[WITH_RNASEQ], beta.loc[WITH_METHYLATION, GENES[::-1]])
    found.rnaseq.rename_axis("sample").to_csv(folder / "rnaseq.tsv", sep="\t")
    found.methylation.rename_axis("sample").to_csv(folder / "beta.tsv", sep="\t")
    samples = pd.DataFrame(
        {
            "sample_id": NAMES,
            "patient_id": [f"P{name[1:]}" for name in NAMES],
            "cohort": np.where(is_b, "B", "A"),
            "project_id": "",
            "sample_type": "tumor",
            "source": "own",
        }
    )
    for modality, unit, values in (("rnaseq", "tpm", found.rnaseq), ("methylation", "beta", found.methylation)):
        genes = GeneVocabulary.from_ids(values.columns)
        genes.to_tsv(genes_path(folder, modality))
        header = TableHeader(unit, modality, genes.sha256, "", "open")
        for cohort, rows in samples[samples["sample_id"].isin(values.index)].groupby("cohort"):
            with CohortTableWriter(cohort_path(folder, str(cohort), modality), header, G) as writer:
                writer.write(rows, values.loc[rows["sample_id"]].to_numpy(np.float32))
    clinical = samples[["patient_id", "cohort"]].assign(time_days=rng.integers(50, 900, N), event=1.0)
    clinical.to_csv(folder / "clinical.tsv", sep="\t", index=False)
    splits = make_splits(samples, pd.read_csv(folder / "clinical.tsv", sep="\t"), n_folds=2, n_repeats=1, seed=0)
    splits.frame.to_csv(folder / "splits.tsv", sep="\t", index=False, lineterminator="\n")
    cohorts = {omic: read_cohorts(folder, omic) for omic in ("rnaseq", "methylation")}
    tokens = tokenize_omics(cohorts, set(NAMES), "all", splits.sha256, 0)
    write_tokens(folder / "tokens", tokens)
    config = MojoConfig(
        n_genes=G,
        token_embed_dim=6,
        conv_embed_dim=8,
        embed_dim=8,
        n_downsamples=1,
        stem_kernel=3,
        init_gene_embed_dim=4,
        n_heads=2,
        ffn_embed_dim=8,
        n_layers=1,
    )
    save_network(found.checkpoint, Mojo(config, torch.Generator().manual_seed(0)))
    write_tokenizers(found.checkpoint / "tokenizer.json", tokens.tokenizers)
    (found.checkpoint / "genes.txt").write_text("".join(f"{gene}\n" for gene in tokens.gene_ids))
    (found.checkpoint / "provenance.json").write_text(json.dumps({"split_id": "all", "split_sha256": splits.sha256}))
    (folder / "task.yaml").write_text(QUICK)
    return found


@pytest.fixture
def model(study: MojoStudy) -> PretrainedModel:
    return load(study.checkpoint)


def test_it_loads_with_its_tokenizers(model: PretrainedModel) -> None:
    assert (model.name, model.omics) == ("mojo", ("rnaseq", "methylation"))
    assert model.tokenizer is model.tokenizers["rnaseq"] and model.tokenizers["methylation"].unit == "beta"
    ids = torch.randint(0, 64, (2, 2 * G))
    output = model({"rnaseq": ids[:, :G], "methylation": ids[:, G:]}, hidden_layers=(1,))
    assert output.logits["rnaseq"].shape[:2] == (2, G)
    assert_allclose(model(ids).logits["methylation"].detach(), output.logits["methylation"].detach(), atol=1e-6)


def test_tables_are_paired_by_sample_and_encoded_as_by_tokenize(study: MojoStudy, model: PretrainedModel) -> None:
    named = brb.encode_omics(model, {"rnaseq": (study.rnaseq, "tpm"), "methylation": (study.methylation, "beta")})
    assert list(named.sample_ids) == WITH_RNASEQ + NAMES[36:]
    tokens = read_tokens(study.folder / "tokens")
    order = pd.Index(tokens.samples["sample_id"]).get_indexer(pd.Index(named.sample_ids))
    off = named.token_ids != tokens.token_ids[order]
    assert off.mean() < 0.01, "cohort tables hold float32, which may move a value over an edge"
    assert (named.token_ids[32:36, G:] == MASK).all() and (named.token_ids[36:, :G] == MASK).all()
    assert_allclose(named.encoded.missing_share, [0.0] * 32 + [0.5] * 8)


def test_embed_in_a_notebook(study: MojoStudy, model: PretrainedModel) -> None:
    adata = anndata.AnnData(study.rnaseq.to_numpy(), study.rnaseq.index.to_frame(), pd.DataFrame(index=GENES))
    alone = brb.embed(model, adata, unit="tpm")
    ids = np.full((36, 2 * G), MASK, dtype=np.uint8)
    ids[:, :G] = model.tokenizer.encode(study.rnaseq.to_numpy(), "tpm")
    with torch.no_grad():
        assert_allclose(alone, model.network.sample_embedding(torch.from_numpy(ids)).numpy(), atol=1e-5)
    both = brb.embed(model, {"rnaseq": (adata, "tpm"), "methylation": (study.methylation, "beta")})
    assert both.shape == (40, 8)
    assert_allclose(both[32:36], alone[32:], atol=1e-5)
    assert not np.allclose(both[:32], alone[:32], atol=1e-3), "control: methylation counts"
    other = brb.embed(model, {"methylation": (study.methylation, "beta")})
    assert_allclose(both[36:], other[32:], atol=1e-5)


def test_refusals_of_embed(study: MojoStudy, model: PretrainedModel, finetune_study: Study) -> None:
    with pytest.raises(ConfigError, match="mojo model reads rnaseq and methylation and never saw protein"):
        brb.embed(model, {"protein": (study.rnaseq, "tpm")})
    expression_only = load(finetune_study.checkpoint("all"))
    with pytest.raises(ConfigError, match="bulkrnabert model reads rnaseq and never saw methylation"):
        brb.embed(expression_only, {"methylation": (study.methylation, "beta")})
    with pytest.raises(ConfigError, match="say what the values are"):
        brb.embed(model, study.rnaseq)
    with pytest.raises(ConfigError, match="leave `unit` out"):
        brb.embed(model, {"rnaseq": (study.rnaseq, "tpm")}, unit="tpm")
    with pytest.raises(ConfigError, match="no table is given"):
        brb.embed(model, {})
    renamed = study.methylation.rename(index=lambda name: f"{name}-01A")
    with pytest.raises(DataError, match=r"no sample is in all of the tables .*'S00'.*'S00-01A'.*one at a time"):
        brb.embed(model, {"rnaseq": (study.rnaseq, "tpm"), "methylation": (renamed, "beta")})
    twice = pd.concat([study.rnaseq, study.rnaseq])
    with pytest.raises(DataError, match="'S00' is in the rnaseq table more than once"):
        brb.embed(model, {"rnaseq": (twice, "tpm")})
    with pytest.raises(DataError, match=r"methylation table: values from .* are no `beta`"):
        brb.embed(model, {"methylation": (study.methylation * 2, "beta")})


def test_embed_command(study: MojoStudy, tmp_path: Path, finetune_study: Study) -> None:
    checkpoint = ["--checkpoint", study.checkpoint]
    assert run(embed_command, *checkpoint, *study.tables, "--out", tmp_path / "t.h5ad").exception is None
    table = anndata.read_h5ad(tmp_path / "t.h5ad")
    assert table.obsm["X_mojo"].shape == (40, 8)
    assert json.loads(table.uns["provenance"])["parameters"]["unit"] == {"rnaseq": "tpm", "methylation": "beta"}
    assert run(embed_command, *checkpoint, "--cohorts", study.folder, "--out", tmp_path / "c.h5ad").exception is None
    cohorts = anndata.read_h5ad(tmp_path / "c.h5ad")
    assert set(cohorts.obs["cohort"]) == {"A", "B"}
    assert_allclose(cohorts[table.obs_names].obsm["X_mojo"], table.obsm["X_mojo"], atol=0.05)
    out = ["--out", tmp_path / "m.h5ad"]
    assert run(embed_command, *checkpoint, *study.tables[4:], *out).exception is None
    assert list(anndata.read_h5ad(tmp_path / "m.h5ad").obs_names) == WITH_METHYLATION
    assert "--methylation-unit belongs" in refusal(
        embed_command, *checkpoint, *study.tables[:4], "--methylation-unit", "beta", *out
    )
    other = ["--checkpoint", finetune_study.checkpoint("all")]
    assert "never saw methylation" in refusal(embed_command, *other, *study.tables, *out)


@pytest.fixture(scope="module")
def finetuned(study: MojoStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finetuned") / "out"
    arguments = [*study.arguments(), "--tokens", study.folder / "tokens", "--task", "cancer_type"]
    config = ["--task-config", study.folder / "task.yaml", "--out", out]
    assert run(finetune_command, *arguments, *config).exception is None
    return out


def test_nobody_is_left_out_and_each_omic_is_judged_alone(finetuned: Path) -> None:
    frame = read_predictions(finetuned / "predictions.parquet").frame
    methods = ["MOJO, IA3 fine-tuning" + part for part in ("", ", RNA-seq alone", ", methylation alone")]
    assert sorted(set(frame["method"])) == sorted(methods)
    by_method = {name: part.set_index("sample_id").loc[NAMES] for name, part in frame.groupby("method")}
    assert all(len(part) == N for part in by_method.values())
    whole, rnaseq, methylation = (np.stack(by_method[name]["probabilities"].to_numpy()) for name in methods)
    assert_allclose(rnaseq[32:36], whole[32:36], atol=1e-6)
    assert_allclose(methylation[36:], whole[36:], atol=1e-6)
    assert np.abs(rnaseq[:32] - whole[:32]).max() > 1e-3, "control: methylation counts"
    of_fold = by_method[methods[1]]["fold"].to_numpy()[36:]
    for fold in set(of_fold):
        nothing = rnaseq[36:][of_fold == fold]
        # Nothing is known of them, so they are all alike.
        assert_allclose(nothing, nothing[:1].repeat(len(nothing), axis=0), atol=1e-6)


def test_predict_with_either_omic_or_both(study: MojoStudy, finetuned: Path, tmp_path: Path) -> None:
    model = load_finetuned(finetuned / "model")
    assert model.record.model == "mojo"
    card = (finetuned / "model" / "README.md").read_text()
    assert "\n# Fine-tuned MOJO" in card and "tpm (rnaseq) and beta (methylation)" in card
    arguments = ["--model", finetuned / "model", "--device", "cpu"]
    frames = {}
    for name, tables in (("both", study.tables), ("rnaseq", study.tables[:4]), ("beta", study.tables[4:])):
        out = tmp_path / f"{name}.parquet"
        assert run(predict_command, *arguments, *tables, "--out", out).exception is None
        frames[name] = pd.read_parquet(out).set_index("sample_id")
    assert [len(frame) for frame in frames.values()] == [40, 36, 36]
    column = "probability_A"
    assert_allclose(frames["rnaseq"].loc[NAMES[32:36], column], frames["both"].loc[NAMES[32:36], column], atol=1e-6)
    assert_allclose(frames["beta"].loc[NAMES[36:], column], frames["both"].loc[NAMES[36:], column], atol=1e-6)
    assert "give the new samples with --table" in refusal(predict_command, *arguments, "--out", tmp_path / "p.tsv")


def test_a_frozen_encoder_and_tokens_by_the_checkpoint(
    study: MojoStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = [*study.arguments(), "--task", "survival", "--fold", "r0f0"]
    config = ["--task-config", study.folder / "task.yaml", "--out", tmp_path / "out"]
    with caplog.at_level("INFO"):
        assert run(finetune_command, *arguments, *config).exception is None
    methods = set(read_predictions(tmp_path / "out" / "predictions.parquet").frame["method"])
    assert methods == {"MOJO, head only" + part for part in ("", ", RNA-seq alone", ", methylation alone")}
    assert "predictions with methylation alone are of samples without it" in caplog.text


def test_random_start_and_genes_per_step(study: MojoStudy, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = [*study.arguments(), "--tokens", study.folder / "tokens", "--task", "cancer_type", "--fold", "r0f0"]
    config = ["--task-config", study.folder / "task.yaml", "--start", "random", "--adapter", "full"]
    with caplog.at_level("INFO"):
        assert run(finetune_command, *arguments, *config, "--out", tmp_path / "out").exception is None
    assert "a mojo model reads all of its genes at once" in caplog.text
    assert load_finetuned(tmp_path / "out" / "model").record.start == "random"


def test_refusals_of_finetune(study: MojoStudy, finetune_study: Study, tmp_path: Path) -> None:
    (tmp_path / "panel.txt").write_text(f"{GENES[0]}\n")
    arguments = [*study.arguments(), "--task", "cancer_type", "--task-config", study.folder / "task.yaml"]
    out = ["--out", tmp_path / "out"]
    message = refusal(finetune_command, *arguments, "--panel", tmp_path / "panel.txt", *out)
    assert "a mojo model reads all of its genes at once: leave the gene panel out" in message
    mixed = [*arguments, "--checkpoint", finetune_study.checkpoint("all")]
    assert "give checkpoints of one" in refusal(finetune_command, *mixed, *out)
    foreign = [*finetune_study.arguments("all"), "--task", "cancer_type", "--task-config", study.folder / "task.yaml"]
    assert "modality_dropout is for models that read several omics" in refusal(finetune_command, *foreign, *out)


def test_files_that_do_not_belong_together(study: MojoStudy, finetune_study: Study, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "checkpoint"
    shutil.copytree(study.checkpoint, folder)
    shutil.copyfile(finetune_study.checkpoint("all") / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizers of rnaseq, but the model in config\.json reads rnaseq, m"):
        load(folder)


def test_attribution_is_for_bulkrnabert(model: PretrainedModel) -> None:
    with pytest.raises(ConfigError, match="attribution is for BulkRNABert, found Mojo"):
        require_bulkrnabert(model.network)


def test_absent_omics_are_masked(study: MojoStudy) -> None:
    tokens = read_tokens(study.folder / "tokens")
    by_name = pd.Series(range(N), index=tokens.samples[keys.SAMPLE_ID])
    assert_array_equal(tokens.token_ids[by_name["S33"], G:], [MASK] * G)


@pytest.mark.slow
def test_two_processes_give_the_same_model(study: MojoStudy, tmp_path: Path) -> None:
    arguments = [*study.arguments(), "--tokens", study.folder / "tokens", "--task", "cancer_type", "--fold", "r0f0"]
    for n_processes in (1, 2):
        config = ["--task-config", study.folder / "task.yaml", "--processes", n_processes, "--threads", "1"]
        assert run(finetune_command, *arguments, *config, "--out", tmp_path / str(n_processes)).exception is None
    frames = [read_predictions(tmp_path / str(number) / "predictions.parquet").frame for number in (1, 2)]
    found = [np.stack(frame["probabilities"].to_numpy()) for frame in frames]
    assert_allclose(found[0], found[1], atol=1e-4)


def test_one_omic_may_list_less_than_half_of_the_genes(study: MojoStudy) -> None:
    """With `--genes union` the model's genes may be those of one omic beside those of the other."""
    model = load(study.checkpoint)
    assert brb.embed(model, study.rnaseq[GENES[:3]], unit="tpm").shape[0] == len(WITH_RNASEQ)
    with pytest.raises(VocabularyError, match=r"1 of the model's 8 genes .* at least 25% are needed"):
        brb.embed(model, study.rnaseq[GENES[:1]], unit="tpm")
