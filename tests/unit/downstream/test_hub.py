"""Models on a hub: the real huggingface_hub against a stand-in on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard, constants
from numpy.testing import assert_array_equal

import bulkrnabert as brb
from bulkrnabert.cli.push import command
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.errors import BulkRNABertError, CheckpointError, ConfigError, PortalError
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.registry import save_network
from bulkrnabert.provenance import sha256_file
from tests.unit.downstream.hub_standin import Hub, Repository, serve_hub

CONFIG = BulkRNABertConfig(
    n_genes=3, embed_dim=8, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=1, n_embedding_rows=66
)
TOKEN = "hf_thistokenissecret"
FILES = {"config.json", "model.safetensors", "tokenizer.json", "genes.txt", "provenance.json", "README.md"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_network(folder, BulkRNABert(CONFIG, torch.Generator().manual_seed(0)))
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.0).save(folder / "tokenizer.json")
    (folder / "genes.txt").write_text("ENSG1\nENSG2\nENSG3\n")
    state_access(folder, "open")
    return folder


def state_access(folder: Path, access: str | None) -> None:
    record = {"split_id": "r0f0", "patient_hashes": ["ab", "cd"], **({"data_access": access} if access else {})}
    (folder / "provenance.json").write_text(json.dumps(record))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve_hub() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.endpoint)
        template = served.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield served


def test_saved_is_loaded_again(folder: Path, tmp_path: Path) -> None:
    model = brb.load(folder)
    for _ in range(2):
        model.save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == FILES
    again = type(model).from_pretrained(tmp_path / "saved")
    assert again.weights_sha256 == model.weights_sha256
    assert again.provenance == model.provenance and again.gene_ids == model.gene_ids
    assert again.tokenizers == model.tokenizers
    described = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert described["library_name"] == "bulkrnabert" and described["model_type"] == "bulkrnabert"
    assert described["architectures"] == ["BulkRNABert"]


def test_weights_that_were_changed_are_said_to_be(folder: Path, tmp_path: Path) -> None:
    model = brb.load(folder)
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    model.save_pretrained(tmp_path / "saved")
    assert brb.load(tmp_path / "saved").provenance["changed_from_weights_sha256"] == model.weights_sha256


def test_something_else_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.docx").write_text("precious")
    with pytest.raises(ConfigError, match=r"holds thesis\.docx"):
        brb.load(folder).save_pretrained(tmp_path / "thesis")


def test_pushed_and_loaded_by_commit(folder: Path, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "moments.safetensors").write_text("x")
    (folder / "weights.pt").write_text("a pickle")
    with caplog.at_level("DEBUG", logger="bulkrnabert"):
        done = brb.load(folder).push_to_hub("owner/name", licence="cc-by-4.0")
    assert hub.repositories["owner/name"].private
    files = hub.files("owner/name")
    assert set(files) == FILES | {".gitattributes"}
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.library_name) == ("cc-by-4.0", "bulkrnabert")
    assert json.loads(files["config.json"])["library_name"] == "bulkrnabert"
    assert json.loads(files["provenance.json"])["patient_hashes"] == ["ab", "cd"]
    assert hub.tokens <= {f"Bearer {TOKEN}", ""} and TOKEN not in caplog.text and TOKEN not in done.url

    first = brb.load("owner/name", revision=done.commit)
    assert first.source == f"owner/name@{done.commit}"
    assert first.weights_sha256 == sha256_file(folder / "model.safetensors")
    hub.repositories["owner/name"].commit("main", {"genes.txt": b"ENSG4\nENSG5\nENSG6\n"})
    assert brb.load("owner/name", revision=done.commit).gene_ids == ("ENSG1", "ENSG2", "ENSG3")
    with caplog.at_level("INFO"):
        assert brb.load("owner/name").gene_ids == ("ENSG4", "ENSG5", "ENSG6")
    assert f'revision="{hub.repositories["owner/name"].refs["main"]}" gives the same files later' in caplog.text


def test_only_known_files_are_fetched(folder: Path, hub: Hub) -> None:
    hub.repositories["owner/name"] = Repository(False)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["owner/name"].commit(
        "main", {**files, "model.py": b"import os", "pytorch_model.bin": b"pickle", "members/x/a.py": b""}
    )
    model = brb.load("owner/name")
    assert model.folder is not None
    assert {path.name for path in model.folder.iterdir()} <= FILES
    assert not [line for line in hub.asked if "model.py" in line or "pytorch_model" in line or "a.py" in line]


def test_a_folder_wins_over_a_hub_id(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    folder.rename(tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert brb.load("owner/name").source == "owner/name"
    assert hub.asked == []
    with pytest.raises(ConfigError, match=r"is a folder here, which has no revision 'v1'"):
        brb.load("owner/name", revision="v1")


def test_neither_folder_nor_model(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"no such checkpoint folder here.*no such model, or one that"):
        brb.load("owner/name")
    with pytest.raises(CheckpointError, match=r"no such checkpoint folder; expected a folder.*or a hub id as owner"):
        brb.load("not/a/hub/id")
    hub.repositories["owner/name"] = Repository(False)
    hub.repositories["owner/name"].commit("main", {"README.md": b""})
    with pytest.raises(CheckpointError, match=r"it has no revision 'v9'"):
        brb.load("owner/name", revision="v9")
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        brb.load("owner/name")


def test_a_hub_that_does_not_answer(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 403
    with pytest.raises(ConfigError, match=r"the hub refuses \(403\); log in with the right to write"):
        brb.load(folder).push_to_hub("owner/name")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(PortalError, match="does not answer"):
        brb.load("owner/name")
    with pytest.raises(PortalError, match="does not answer"):
        brb.load(folder).push_to_hub("owner/name")


OFFLINE = """
import sys
from bulkrnabert.downstream.hub import locate
print(locate("owner/name", sys.argv[1] or None).source)
"""


def test_endpoint_of_the_environment_and_offline_from_the_cache(folder: Path, hub: Hub, tmp_path: Path) -> None:
    done = brb.load(folder).push_to_hub("owner/name")
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}

    def source(revision: str, **more: str) -> str:
        arguments = [sys.executable, "-c", OFFLINE, revision]
        return subprocess.run(
            arguments, env={**environment, **more}, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert source("") == f"owner/name@{done.commit}"
    n_asked = len(hub.asked)
    assert source("", HF_HUB_OFFLINE="1") == f"owner/name@{done.commit}"
    assert len(hub.asked) == n_asked


@pytest.mark.parametrize("access", ["controlled", "secret"])
def test_controlled_data_do_not_leave(folder: Path, hub: Hub, access: str) -> None:
    state_access(folder, access)
    with pytest.raises(CheckpointError, match=rf"access class {access}; what is made from controlled data"):
        brb.load(folder).push_to_hub("owner/name", data_access="open")
    assert hub.asked == []


def test_the_access_class_is_stated(folder: Path, hub: Hub) -> None:
    state_access(folder, None)
    with pytest.raises(ConfigError, match="do not say whether it was made from open data: say so with --data-access"):
        brb.load(folder).push_to_hub("owner/name")
    assert hub.asked == []
    brb.load(folder).push_to_hub("owner/name", data_access="local")
    record = json.loads(hub.files("owner/name")["provenance.json"])
    assert record["data_access"] == "local" and record["patient_hashes"] is None
    state_access(folder, "local")
    with pytest.raises(ConfigError, match="made from data of class local, not open"):
        brb.load(folder).push_to_hub("owner/name", data_access="open")


def test_a_private_model_never_lands_in_a_public_repository(folder: Path, hub: Hub) -> None:
    hub.repositories["owner/name"] = Repository(False)
    hub.repositories["owner/name"].commit("main", {"README.md": b""})
    with pytest.raises(ConfigError, match="is a public repository, and the model would be seen by all"):
        brb.load(folder).push_to_hub("owner/name")
    assert set(hub.files("owner/name")) == {"README.md"}
    brb.load(folder).push_to_hub("owner/name", private=False, branch="next")
    assert set(hub.files("owner/name")) == {"README.md"}
    assert set(hub.files("owner/name", "next")) == FILES


def test_without_huggingface_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"huggingface_hub is not installed; `pip install 'bulkrnabert\[hub\]'`"):
        brb.load("owner/name")
    assert brb.load(folder).gene_ids == ("ENSG1", "ENSG2", "ENSG3")


def test_a_fine_tuned_model_there_and_back(classifier: Path, hub: Hub, tmp_path: Path) -> None:
    model = brb.load_finetuned(classifier / "model")
    done = model.push_to_hub("owner/tuned", data_access="open")
    again = brb.load_finetuned("owner/tuned", revision=done.commit)
    assert again.record == model.record and again.source == f"owner/tuned@{done.commit}"
    again.save_pretrained(tmp_path / "saved")
    saved = brb.load_finetuned(tmp_path / "saved")
    first, other = (one.members[0].network.own_tensors() for one in (model, saved))
    assert all(bool((first[name] == other[name]).all()) for name in first)
    assert json.loads(hub.files("owner/tuned")["config.json"])["architectures"] == ["FinetunedBulkRNABert"]
    with pytest.raises(CheckpointError, match="a fine-tuned model, not an encoder: load it with `load_finetuned`"):
        brb.load("owner/tuned")


def run(*arguments: object) -> BulkRNABertError | str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if isinstance(result.exception, BulkRNABertError):
        return result.exception
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_push_command(folder: Path, hub: Hub) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "state.json").write_text("{}")
    assert str(run("--model", folder, "--to", "owner/name", "--dry-run")).split() == sorted(
        path.name for path in folder.iterdir() if path.is_file()
    )
    assert hub.asked == []
    output = run("--model", folder, "--to", "owner/name", "--public", "--json")
    assert json.loads(str(output))["commit"] == hub.repositories["owner/name"].refs["main"]
    assert not hub.repositories["owner/name"].private
    assert_array_equal(sorted(hub.files("owner/name")), sorted({*FILES, ".gitattributes"}))
    assert "no config.json, so no model; training state" in str(run("--model", folder / "state", "--to", "a/b",
                                                                     "--data-access", "open"))  # fmt: skip
    assert "expected a hub id as owner/name" in str(run("--model", folder, "--to", "name"))
