"""Fine-tuning on a gene panel: a file's, or one that is chosen in each fold's training part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.testing import assert_close

from bulkrnabert.cli.finetune import command as finetune_command
from bulkrnabert.cli.predict import command as predict_command
from bulkrnabert.data.sources.files import read_expression
from bulkrnabert.downstream.attribute import attribute_table
from bulkrnabert.downstream.attribution_study import AttributeRequest
from bulkrnabert.downstream.finetune import StartEmbeddings, finish_fold, search_fold
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.downstream.fold_encoders import FoldEncoder, chosen_panel
from bulkrnabert.downstream.predict import predict_table
from bulkrnabert.downstream.predictions import read_predictions
from bulkrnabert.errors import ConfigError, DataError, VocabularyError
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork
from bulkrnabert.models.heads import HeadConfig
from tests.unit.downstream.finetuning import CPU, Study, make, pairs, refusal, run, settings

PANEL = [15, 3, 12, 10, 19, 0]


def genes_of(study: Study, numbers: list[int] = PANEL) -> list[str]:
    return [str(study.values.columns[number]) for number in numbers]


@pytest.fixture(scope="module")
def panel_file(finetune_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panel") / "panel.txt"
    path.write_text("".join(f"{gene}\n" for gene in genes_of(finetune_study)))
    return path


@pytest.fixture(scope="module")
def on_panel(
    finetune_study: Study, config_file: Path, panel_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("on_panel") / "out"
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--panel", panel_file]
    assert run(finetune_command, *arguments, "--task-config", config_file, "--out", out).exception is None
    return out


def network_of(config: dict[str, Any]) -> FinetunedNetwork:
    encoder = BulkRNABert(
        BulkRNABertConfig(
            n_genes=8,
            embed_dim=8,
            init_gene_embed_dim=4,
            n_heads=2,
            ffn_embed_dim=8,
            n_layers=1,
            has_bin_statistics=True,
        ),
        torch.Generator().manual_seed(0),
    )
    encoder.set_bin_statistics(torch.arange(8.0), torch.ones(8))
    head = HeadConfig(n_inputs=16, n_outputs=2, hidden=())
    return FinetunedNetwork(
        encoder, FinetunedConfig(adapter=AdapterConfig(kind="none"), pooling="marker", heads={"task": head}, **config)
    ).eval()


def test_a_panel_is_a_subset_in_its_order() -> None:
    ids = torch.randint(0, 64, (3, 8), generator=torch.Generator().manual_seed(1))
    on_panel, whole = network_of({"gene_idx": (5, 0, 2)}), network_of({})
    assert_close(on_panel.pooled(ids[:, [5, 0, 2]]), whole.pooled(ids[:, [5, 0, 2]], torch.tensor([5, 0, 2])))
    assert_close(
        on_panel.pooled(ids[:, [2, 5]], torch.tensor([2, 0])), whole.pooled(ids[:, [2, 5]], torch.tensor([2, 5]))
    )
    assert "panel" not in on_panel.own_tensors()
    for wrong in ((5, 5), (8,), (-1,)):
        with pytest.raises(ConfigError, match="names each gene once, as a number below 8"):
            network_of({"gene_idx": wrong})


def test_the_panel_alone_is_read(on_panel: Path, finetune_study: Study, tmp_path: Path) -> None:
    model = load_finetuned(on_panel / "model")
    assert model.members[0].inputs.gene_ids == tuple(genes_of(finetune_study))
    assert json.loads((on_panel / "model" / "config.json").read_text())["members"][0]["network"]["gene_idx"] == PANEL
    assert "Reads a panel of 6 genes" in (on_panel / "model" / "README.md").read_text()
    own = read_predictions(on_panel / "predictions.parquet").frame
    assert set(own["method"]) == {"BulkRNABert, IA3 fine-tuning on 6 genes"}
    small = tmp_path / "small.tsv"
    finetune_study.values[genes_of(finetune_study)].to_csv(small, sep="\t")
    result = run(
        predict_command, "--model", on_panel / "model", "--table", small, "--unit", "tpm", "--out", tmp_path / "p.tsv"
    )
    assert result.exception is None
    frame = pd.read_csv(tmp_path / "p.tsv", sep="\t").set_index("sample_id")
    assert (frame["missing_share"] == 0).all()
    expected = np.stack(own["probabilities"].to_numpy())[:, 0]
    assert_allclose(frame.loc[own["sample_id"], "probability_A"], expected, atol=1e-5)
    whole = predict_table(model, read_expression(finetune_study.table), "tpm", None, CPU).set_index("sample_id")
    assert_allclose(whole["probability_A"], frame["probability_A"], atol=1e-5)
    few = finetune_study.values[genes_of(finetune_study, [15, 3, 1, 2, 4, 5, 6])]
    few.to_csv(small, sep="\t")
    with pytest.raises(VocabularyError, match="2 of the model's 6 genes"):
        predict_table(model, read_expression(small), "tpm", None, CPU)


def test_refusals_of_a_panel(finetune_study: Study, config_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "panel.txt"
    arguments = [*finetune_study.arguments("r0f0"), "--fold", "r0f0", "--task", "cancer_type", "--panel", path]
    config = ["--task-config", config_file, "--out", tmp_path / "out"]
    path.write_text("".join(f"{gene}\n" for gene in [*genes_of(finetune_study), "ENSG00000000777"]))
    message = refusal(finetune_command, *arguments, *config)
    assert "panel.txt: 1 of 7 genes are not among the 20 of the checkpoint" in message and "ENSG00000000777" in message
    path.write_text("\n")
    assert "panel.txt" in refusal(finetune_command, *arguments, *config)
    encoder = pairs(finetune_study, make(finetune_study, "cancer_type"), "all")["r0f0"]
    with pytest.raises(ConfigError, match=r"a panel of 21 genes, but the checkpoint .* has 20"):
        chosen_panel(lambda _encoder, _rows: list(range(21)), encoder, np.arange(3))
    with pytest.raises(ConfigError, match="a panel of 0 genes"):
        chosen_panel(lambda _encoder, _rows: [], encoder, np.arange(3))


def test_a_panel_is_chosen_in_the_training_part(finetune_study: Study) -> None:
    job = make(finetune_study, "cancer_type")
    fold, encoder = job.folds[0], pairs(finetune_study, job, "r0f0", "r0f1")["r0f0"]
    seen: list[np.ndarray] = []

    def choose(given: FoldEncoder, rows: np.ndarray) -> list[int]:
        assert given is encoder
        seen.append(rows)
        return [1, 11, 12]

    chosen = replace(settings(max_epochs=1, genes_per_step=2), panel_chooser=choose, panel_name="3 genes (made up)")
    starts = StartEmbeddings(chosen)
    done = finish_fold(job, fold, encoder, search_fold(job, fold, encoder, chosen, starts), starts)
    assert_array_equal(np.concatenate(seen), fold.train)
    assert done.network.config.gene_idx == (1, 11, 12)
    assert done.settings.method == "BulkRNABert, IA3 fine-tuning on 3 genes (made up)"


def test_attribution_of_a_panel(on_panel: Path, finetune_study: Study, tmp_path: Path) -> None:
    for method in ("ig", "attention"):
        request = AttributeRequest(
            model=on_panel / "model",
            checkpoint=None,
            table=finetune_study.table,
            unit="tpm",
            out=tmp_path / method,
            method=method,
            n_samples=4,
            n_steps=16,
        )
        attribute_table(request)
        table = pd.read_csv(tmp_path / method / "attributions.tsv", sep="\t")
        assert set(table["gene_id"]) == set(genes_of(finetune_study))
    samples = pd.read_csv(tmp_path / "ig" / "samples.tsv", sep="\t")
    assert (samples["relative_delta"] < 0.05).all()


def test_tokens_of_another_kind_of_model_are_refused(finetune_study: Study) -> None:
    from bulkrnabert.data.tokens import read_tokens
    from bulkrnabert.downstream.fold_encoders import pair_encoders
    from bulkrnabert.downstream.pretrained import load

    tokens = replace(read_tokens(finetune_study.tokens("all")), model="gexbert")
    model = (finetune_study.checkpoint("all"), load(finetune_study.checkpoint("all")))
    with pytest.raises(DataError, match=r"tokens for a gexbert model, but the checkpoint .* is of bulkrnabert"):
        pair_encoders(make(finetune_study, "cancer_type"), [model], [(finetune_study.tokens("all"), tokens)])
