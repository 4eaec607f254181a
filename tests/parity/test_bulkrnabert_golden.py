"""The port against forward passes of the published JAX reference, through `import-weights` and `load`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional

import bulkrnabert as brb
from bulkrnabert.cli.import_weights import command as import_weights
from bulkrnabert.data.binning import linear_bins
from bulkrnabert.downstream.pretrained import PretrainedModel
from bulkrnabert.models import layers

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    folder = shared / "golden" / "bulkrnabert_seed0"
    if not folder.is_dir():
        pytest.skip("no golden vectors in the reference data folder")
    return folder


@pytest.fixture(scope="module")
def inputs(golden: Path) -> Arrays:
    return dict(np.load(golden / "inputs.npz"))


@pytest.fixture(scope="module")
def outputs(golden: Path) -> Arrays:
    return dict(np.load(golden / "outputs.npz"))


@pytest.fixture(scope="module", params=["params.joblib", "params.npz"])
def model(request: pytest.FixtureRequest, golden: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainedModel:
    checkpoint = tmp_path_factory.mktemp("imported") / "checkpoint"
    arguments = ["--model", "bulkrnabert", "--params", str(golden / request.param)]
    arguments += ["--config", str(golden / "config.json"), "--genes", str(golden / "genes.txt")]
    result = CliRunner().invoke(import_weights, [*arguments, "--out", str(checkpoint)], catch_exceptions=False)
    assert result.exit_code == 0
    return brb.load(checkpoint)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def test_logits_every_layer_and_attention(model: PretrainedModel, inputs: Arrays, outputs: Arrays) -> None:
    output = model(torch.from_numpy(inputs["tokens"]), hidden_layers=(1, 2), attention_layers=(1, 2))
    assert_allclose(output.logits, outputs["logits"], **TOLERANCE)
    for layer in (1, 2):
        assert_allclose(output.hidden[layer], outputs[f"embeddings_{layer}"], **TOLERANCE)
        assert_allclose(output.attention[layer], outputs[f"attention_map_layer_{layer}"], **TOLERANCE)


def test_sample_embedding_is_the_mean_over_genes(model: PretrainedModel, inputs: Arrays, outputs: Arrays) -> None:
    embedding = model.sample_embedding(torch.from_numpy(inputs["tokens"]))
    assert_allclose(embedding, outputs["embeddings_2"].mean(axis=1), **TOLERANCE)


def test_key_mask(model: PretrainedModel, inputs: Arrays, outputs: Arrays) -> None:
    mask = outputs["attention_mask"][:, 0, 0, :]
    assert not mask.all()
    output = model(
        torch.from_numpy(inputs["tokens"]),
        hidden_layers=(1, 2),
        attention_layers=(1, 2),
        key_mask=torch.from_numpy(mask),
    )
    assert_allclose(output.logits, outputs["keymask_logits"], **TOLERANCE)
    for layer in (1, 2):
        assert_allclose(output.hidden[layer], outputs[f"keymask_embeddings_{layer}"], **TOLERANCE)
        assert_allclose(output.attention[layer], outputs[f"keymask_attention_map_layer_{layer}"], **TOLERANCE)
    assert np.abs(outputs["keymask_logits"] - outputs["logits"]).max() > 1e-2


@pytest.mark.parametrize("variant", ["tokens_with_64", "tokens_with_mask65"])
def test_ids_beyond_the_table_are_clamped(
    model: PretrainedModel, inputs: Arrays, outputs: Arrays, variant: str
) -> None:
    assert inputs[variant].max() > 63
    output = model(torch.from_numpy(inputs[variant]), hidden_layers=(2,))
    assert_allclose(output.logits, outputs[f"logits_{variant}"], **TOLERANCE)
    if variant == "tokens_with_mask65":
        assert_allclose(output.hidden[2], outputs["embeddings_2_tokens_with_mask65"], **TOLERANCE)


def test_control_tanh_gelu_would_be_caught(
    model: PretrainedModel, inputs: Arrays, outputs: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    tanh = SimpleNamespace(
        gelu=lambda x: functional.gelu(x, approximate="tanh"),
        scaled_dot_product_attention=functional.scaled_dot_product_attention,
    )
    monkeypatch.setattr(layers, "functional", tanh)
    output = model(torch.from_numpy(inputs["tokens"]))
    with pytest.raises(AssertionError):
        assert_allclose(output.logits, outputs["logits"], **TOLERANCE)


def test_tokenizer_ids_of_tpm_and_of_its_logarithm(model: PretrainedModel, inputs: Arrays) -> None:
    assert_array_equal(model.tokenizer.encode(inputs["log10p1"], unit="log10(tpm+1)"), inputs["tokenizer_ids"])
    assert_array_equal(model.tokenizer.encode(inputs["raw_tpm"], unit="tpm"), inputs["tokenizer_ids"])
    assert inputs["tokenizer_ids"].max() == model.tokenizer.pad_id, "the golden ids show the overflow"


def test_bin_edges_to_the_last_ulp(inputs: Arrays) -> None:
    assert_array_equal(linear_bins(inputs["edge_values_normalised"], 64), inputs["edge_ids"])


def test_embed_from_a_shuffled_table(model: PretrainedModel, inputs: Arrays) -> None:
    order = np.random.default_rng(0).permutation(128)
    values = inputs["log10p1"].clip(max=9.0)  # the hand-placed 1e12 TPM is more than a logarithm of TPM can hold
    table = pd.DataFrame(values[:, order], columns=[f"{model.gene_ids[i]}.7" for i in order])
    embeddings = brb.embed(model, table, unit="log10(tpm+1)")
    expected = model.sample_embedding(torch.from_numpy(inputs["tokens_with_64"])).numpy()
    assert_allclose(embeddings, expected, **TOLERANCE)
