"""MOJO against forward passes of the published JAX reference, in every stage; an omic missing, an omic alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file
from torch.nn import functional

import bulkrnabert as brb
from bulkrnabert.cli.import_weights import command as import_weights
from bulkrnabert.models import mojo_layers
from bulkrnabert.models.import_mojo import import_mojo
from bulkrnabert.models.mojo import Mojo, MojoIntermediates, MojoOutput

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
LAYERS = (1, 2)
N_GENES = 116
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    folder = shared / "golden" / "mojo_seed0"
    if not folder.is_dir():
        pytest.skip("no golden vectors in the reference data folder")
    return folder


@pytest.fixture(scope="module")
def inputs(golden: Path) -> Arrays:
    return dict(np.load(golden / "inputs.npz"))


@pytest.fixture(scope="module")
def outputs(golden: Path) -> Arrays:
    return dict(np.load(golden / "outputs.npz"))


@pytest.fixture(scope="module", params=["params.joblib", "params.npz", "model.safetensors"])
def model(request: pytest.FixtureRequest, golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Mojo:
    params = golden / request.param
    if request.param == "model.safetensors":
        params = tmp_path_factory.mktemp("haiku") / request.param
        save_file(dict(np.load(golden / "params.npz")), params)
    return import_mojo(params, golden / "config.json").model


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def tokens(inputs: Arrays, prefix: str = "tokens", n_columns: int | None = None) -> dict[str, torch.Tensor]:
    return {omic: torch.from_numpy(inputs[f"{prefix}_{omic}"][:, :n_columns]) for omic in ("rnaseq", "methylation")}


def named(output: MojoOutput, stages: MojoIntermediates) -> Arrays:
    """Everything under the names of the golden files."""
    found = {f"omic_embeddings.{omic}": value for omic, value in stages.omic_embeddings.items()}
    found |= {f"logits.{omic}": value for omic, value in output.logits.items()}
    found |= {f"conv_tower_residuals.{number}": value for number, value in enumerate(stages.skips)}
    found |= {f"embeddings_{layer}": value for layer, value in output.hidden.items()}
    found |= {f"attention_map_layer_{layer}": value for layer, value in output.attention.items()}
    found |= {
        "embeddings": stages.embeddings,
        "embeddings_with_gene_embedding": stages.with_gene_embedding,
        "stem": stages.stem,
        "conv_tower": stages.conv_tower,
        "after_transformer_embedding": stages.transformer,
        "deconv_tower": stages.deconv_tower,
    }
    return {name: value.numpy() for name, value in found.items()}


def everything(model: Mojo, ids: dict[str, torch.Tensor]) -> Arrays:
    return named(model(ids, hidden_layers=LAYERS, attention_layers=LAYERS), model.intermediates(ids))


def test_every_stage_of_both_omics(model: Mojo, inputs: Arrays, outputs: Arrays) -> None:
    found = everything(model, tokens(inputs))
    expected = {name for name in outputs if not name.startswith(("missing_", "rnaonly_"))}
    assert set(found) == expected, "every listed output is compared"
    for name in expected:
        assert_allclose(found[name], outputs[name], **TOLERANCE, err_msg=name)


@pytest.mark.parametrize("prefix", ["missing", "rnaonly"])
def test_an_omic_masked_and_an_omic_left_out(model: Mojo, inputs: Arrays, outputs: Arrays, prefix: str) -> None:
    ids = tokens(inputs, "missing_tokens") if prefix == "missing" else {"rnaseq": tokens(inputs)["rnaseq"]}
    found = everything(model, ids)
    expected = {name for name in outputs if name.startswith(prefix)}
    assert len(expected) == 3
    for name in expected:
        assert_allclose(found[name.removeprefix(f"{prefix}_")], outputs[name], **TOLERANCE, err_msg=name)
        assert np.abs(outputs[name] - outputs[name.removeprefix(f"{prefix}_")]).max() > 1e-2, "the control"


def test_genes_alone_are_padded_as_published(model: Mojo, inputs: Arrays, outputs: Arrays) -> None:
    unpadded = tokens(inputs, n_columns=N_GENES)
    flat = torch.cat(list(unpadded.values()), dim=1)
    for ids in (unpadded, flat):
        output = model(ids, hidden_layers=(2,))
        assert_allclose(output.hidden[2], outputs["embeddings_2"], **TOLERANCE)
        for omic, logits in output.logits.items():
            assert_allclose(logits, outputs[f"logits.{omic}"][:, :N_GENES], **TOLERANCE)


def test_sample_embedding_is_the_mean_over_positions(model: Mojo, inputs: Arrays, outputs: Arrays) -> None:
    flat = torch.cat(list(tokens(inputs, n_columns=N_GENES).values()), dim=1)
    expected = outputs["after_transformer_embedding"].mean(axis=1)
    assert_allclose(model.sample_embedding(flat), expected, **TOLERANCE)


@pytest.mark.parametrize("broken", ["erf GELU in the towers", "no rotary positions"])
def test_control_a_wrong_detail_would_be_caught(
    model: Mojo, inputs: Arrays, outputs: Arrays, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "no rotary positions":
        monkeypatch.setattr(mojo_layers, "rotate", lambda x: x)
    else:
        exact = SimpleNamespace(
            **{name: getattr(functional, name) for name in ("silu", "scaled_dot_product_attention")}
        )
        exact.gelu = lambda x, approximate: functional.gelu(x)
        monkeypatch.setattr(mojo_layers, "functional", exact)
    with pytest.raises(AssertionError):
        assert_allclose(model(tokens(inputs)).logits["rnaseq"], outputs["logits.rnaseq"], **TOLERANCE)


def test_import_weights_makes_a_checkpoint_folder(
    golden: Path, tmp_path: Path, inputs: Arrays, outputs: Arrays
) -> None:
    arguments = ["--model", "mojo", "--params", str(golden / "params.joblib"), "--config", str(golden / "config.json")]
    arguments += ["--genes", str(golden / "genes.txt"), "--out", str(tmp_path / "checkpoint")]
    assert CliRunner().invoke(import_weights, arguments, catch_exceptions=False).exit_code == 0
    model = brb.load(tmp_path / "checkpoint")
    assert_allclose(model(tokens(inputs)).logits["methylation"], outputs["logits.methylation"], **TOLERANCE)
    for omic, values, unit in (("rnaseq", "raw_tpm", "tpm"), ("methylation", "methylation_beta", "beta")):
        expected = inputs[f"tokens_{omic}"][:, :N_GENES]
        assert_array_equal(model.tokenizers[omic].encode(inputs[values], unit=unit), expected)
        assert expected.max() == 64, "the golden ids show the overflow"
