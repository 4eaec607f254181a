"""`attribute` from a model's folder and a table to files, as the command line runs it."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_allclose
from safetensors.torch import save_file

from bulkrnabert import keys
from bulkrnabert.cli import _run
from bulkrnabert.data.genes import GeneVocabulary
from bulkrnabert.data.tables import SAMPLE_COLUMNS, CohortTableWriter, TableHeader, cohort_path, genes_path
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.downstream.attribution_table import choose_samples
from bulkrnabert.downstream.finetuned_folder import load_finetuned
from bulkrnabert.models.adapters import AdapterConfig
from bulkrnabert.models.bulkrnabert import BulkRNABert, BulkRNABertConfig
from bulkrnabert.models.finetuned import FinetunedConfig, FinetunedNetwork
from bulkrnabert.models.heads import HeadConfig
from bulkrnabert.models.registry import load_network, save_network
from bulkrnabert.provenance import sha256_file, write_json

GENE_IDS = [f"ENSG{number:011d}" for number in range(1, 13)]
CONFIG = BulkRNABertConfig(
    n_genes=12, embed_dim=16, init_gene_embed_dim=4, n_heads=2, ffn_embed_dim=8, n_layers=2, has_bin_statistics=True
)
CLASSES = ("A", "B")
VALUES = np.random.default_rng(0).gamma(0.5, 200.0, size=(9, 12))


def write_encoder(folder: Path, seed: int, gene_ids: list[str] = GENE_IDS) -> None:
    config = CONFIG.model_copy(update={"n_genes": len(gene_ids)})
    encoder = BulkRNABert(config, torch.Generator().manual_seed(seed))
    encoder.set_bin_statistics(torch.full((len(gene_ids),), 20.0), torch.ones(len(gene_ids)))
    save_network(folder, encoder)
    BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=3.5).save(folder / keys.TOKENIZER_JSON)
    (folder / keys.GENES_TXT).write_text("".join(f"{gene}\n" for gene in gene_ids))


def write_model(
    folder: Path, tasks: tuple[str, ...] = ("cancer_type",), gene_lists: tuple[list[str], ...] = ()
) -> Path:
    """A fine-tuned model of two members with random heads."""
    members = []
    for number in range(2):
        own = Path("members") / f"r0f{number}"
        write_encoder(folder / own / "encoder", number, gene_lists[number] if gene_lists else GENE_IDS)
        heads = {
            task: HeadConfig(n_inputs=32, n_outputs=2 if task == "cancer_type" else 1, hidden=(4,)) for task in tasks
        }
        config = FinetunedConfig(adapter=AdapterConfig(kind="none"), pooling="marker", heads=heads)
        network = FinetunedNetwork(load_network(folder / own / "encoder"), config)
        generator = torch.Generator().manual_seed(10 + number)
        with torch.no_grad():
            for parameter in network.heads.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        metadata = {"encoder_sha256": sha256_file(folder / own / "encoder" / keys.WEIGHTS)}
        save_file(
            {name: tensor.contiguous() for name, tensor in network.own_tensors().items()},
            folder / own / "adapter.safetensors",
            metadata=metadata,
        )
        files = [own / "encoder" / name for name in ("config.json", "model.safetensors", "tokenizer.json", "genes.txt")]
        files.append(own / "adapter.safetensors")
        if keys.SURVIVAL in tasks:
            hazard = {"log_hazard": 0.0, "cumulative_hazard": [1.0]}
            write_json(
                folder / own / "baseline.json",
                {"at_days": 1.0, "grid_days": [1.0], "strata": {"A": hazard}, "pooled": hazard, "n_without_events": 0},
            )
            files.append(own / "baseline.json")
        members.append(
            {
                "split_id": f"r0f{number}",
                "encoder": (own / "encoder").as_posix(),
                "sha256": {path.as_posix(): sha256_file(folder / path) for path in files},
                "network": config.model_dump(mode="json"),
                "n_samples": 10,
                "training_patients_sha256": "0" * 64,
                "best_epoch": 1,
                "inner_loss": [1.0, 0.5],
            }
        )
    record = {
        "model": "bulkrnabert",
        "kind": "finetuned",
        "version": 1,
        "method": "head only",
        "scope": "pan",
        "start": "pretrained",
        "seed": 0,
        "split_sha256": "1" * 64,
        "tasks": [{"name": task, "classes": CLASSES if task == "cancer_type" else ()} for task in tasks],
        "members": members,
    }
    write_json(folder / keys.CONFIG_JSON, record)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame = pd.DataFrame(VALUES.T, index=GENE_IDS, columns=[f"S{number}" for number in range(9)])
    frame.insert(0, "symbol", [f"GENE{number}" for number in range(12)])
    frame.index.name = "gene_id"
    frame.to_csv(tmp_path / "table.tsv", sep="\t")
    return tmp_path / "table.tsv"


def attribute(*arguments: str | Path) -> int:
    return _run(["attribute", "--unit", "tpm", *map(str, arguments)])


def test_files_of_a_run(model: Path, table: Path, tmp_path: Path) -> None:
    gmt = tmp_path / "sets.gmt"
    gmt.write_text("SET\tabout\t" + "\t".join(f"GENE{number}" for number in range(6)) + "\n")
    out = tmp_path / "out"
    arguments = ("--model", model, "--table", table, "--gmt", gmt, "--top", "3", "--per-sample", "--out")
    assert attribute(*arguments, out) == 0
    genes = pd.read_csv(out / "attributions.tsv", sep="\t")
    assert list(genes.columns) == [
        *("class", "layer", "gene_id", "symbol", "mean", "mean_abs", "sd", "rank", "stability", "n_samples")
    ]
    assert set(genes["class"]) <= set(CLASSES) and (genes.groupby("class").size() == 12).all()
    assert dict(zip(genes["gene_id"], genes["symbol"], strict=True))[GENE_IDS[4]] == "GENE4"
    samples = pd.read_csv(out / "samples.tsv", sep="\t")
    assert len(samples) == 2 * 9 and samples["relative_delta"].max() < 0.05
    # The rows of the per-sample file are the members' mean, so their mean is the table's.
    stored = pq.read_table(out / "attributions.parquet")
    values = np.stack(stored["values"].to_pylist())
    first = genes["class"].iloc[0]
    rows = np.array(stored["class"].to_pylist()) == first
    of_class = genes[genes["class"] == first].set_index("gene_id").loc[(out / "genes.txt").read_text().split()]
    assert_allclose(values[rows].mean(axis=0), of_class["mean"], rtol=1e-4, atol=1e-6)
    summary = json.loads((out / "attribution.json").read_text())
    assert summary["baseline"] == ["mean"] and summary["members"] == ["r0f0", "r0f1"]
    assert summary["gene_sets"]["n_sets_tested"] == 1
    assert {group["class"]: group["n_samples"] for group in summary["groups"]} == dict(
        samples.drop_duplicates("sample_id")["class"].value_counts()
    )
    assert pd.read_csv(out / "enrichment.tsv", sep="\t")["set"].tolist() == ["SET"] * len(summary["groups"])
    again = tmp_path / "again"
    assert attribute(*arguments, again) == 0
    for name in ("attributions.tsv", "samples.tsv", "enrichment.tsv", "attribution.json"):
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_classes_are_the_predicted_ones(model: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert attribute("--model", model, "--table", table, "--steps", "2", "--out", out) == 0
    samples = pd.read_csv(out / "samples.tsv", sep="\t").drop_duplicates("sample_id")
    loaded = load_finetuned(model)
    probabilities = []
    for member in loaded.members:
        ids = torch.from_numpy(member.encoder.tokenizer.encode(VALUES))
        probabilities.append(member.network(ids)["cancer_type"].softmax(dim=1).detach().numpy())
    expected = np.array(CLASSES)[np.mean(probabilities, axis=0).argmax(axis=1)]
    assert samples["class"].tolist() == expected.tolist()
    counts = samples["class"].value_counts()
    one = counts.index[0]
    assert attribute("--model", model, "--table", table, "--class", one, "--steps", "2", "--out", out) == 0
    assert len(pd.read_csv(out / "samples.tsv", sep="\t")) == 2 * counts.iloc[0]


def test_attention_of_an_encoder_by_cohort(tmp_path: Path) -> None:
    write_encoder(tmp_path / "encoder", 0)
    obs = pd.DataFrame({"cohort": ["X"] * 5 + ["Y"] * 4}, index=[f"S{number}" for number in range(9)])
    anndata.AnnData(VALUES, obs=obs, var=pd.DataFrame(index=GENE_IDS)).write_h5ad(tmp_path / "table.h5ad")
    arguments = (
        "--checkpoint",
        tmp_path / "encoder",
        "--table",
        tmp_path / "table.h5ad",
        "--layer",
        "1",
        "--layer",
        "2",
    )
    assert attribute(*arguments, "--out", tmp_path / "out") == 0
    genes = pd.read_csv(tmp_path / "out" / "attributions.tsv", sep="\t")
    assert genes.groupby(["class", "layer"]).size().to_dict() == dict.fromkeys(
        [("X", 1), ("X", 2), ("Y", 1), ("Y", 2)], 12
    )
    assert_allclose(genes.groupby(["class", "layer"])["mean"].mean(), 1.0, rtol=1e-4)
    network = load_network(tmp_path / "encoder")
    tokenizer = BinnedTokenizer.load(tmp_path / "encoder" / keys.TOKENIZER_JSON)
    weights = network(torch.from_numpy(tokenizer.encode(VALUES[:5])), attention_layers=(2,)).attention[2]
    expected = 12 * weights.mean(dim=(0, 1, 2)).detach().numpy()
    found = genes[(genes["class"] == "X") & (genes["layer"] == 2)].set_index("gene_id").loc[GENE_IDS, "mean"]
    assert_allclose(found, expected, rtol=1e-4)


def test_genes_that_a_member_lacks_are_left_out(table: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", gene_lists=(GENE_IDS, GENE_IDS[:1:-1]))
    assert attribute("--model", model, "--table", table, "--steps", "4", "--out", tmp_path / "out") == 0
    genes = pd.read_csv(tmp_path / "out" / "attributions.tsv", sep="\t")
    assert set(genes["gene_id"]) == set(GENE_IDS[2:])


def test_survival_is_one_group_without_cohorts(table: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", tasks=("cancer_type", "survival"))
    arguments = ("--model", model, "--table", table, "--steps", "8", "--out", tmp_path / "out")
    assert attribute(*arguments, "--task", "survival", "--samples", "4") == 0
    genes = pd.read_csv(tmp_path / "out" / "attributions.tsv", sep="\t")
    assert set(genes["class"]) == {"all"} and set(genes["n_samples"]) == {4}


def test_samples_are_drawn_evenly() -> None:
    groups = np.array(["A"] * 90 + ["B"] * 3 + ["C"] * 7, dtype=object)
    rows = choose_samples(groups, 15, np.random.default_rng(0))
    assert pd.Series(groups[rows]).value_counts().to_dict() == {"A": 6, "C": 6, "B": 3}
    assert (np.diff(rows) > 0).all()
    assert choose_samples(groups, None, np.random.default_rng(0)).tolist() == list(range(100))
    assert choose_samples(groups, 500, np.random.default_rng(0)).tolist() == list(range(100))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give either --model, of `finetune`, or --checkpoint"),
        (("--checkpoint", "encoder", "--method", "ig"), "a pretrained encoder predicts nothing to attribute"),
        (("--checkpoint", "encoder", "--class", "A"), "--task and --class belong to --model"),
        (("--checkpoint", "encoder", "--layer", "3"), "there is no layer 3"),
        (("--checkpoint", "encoder", "--baseline", "zero"), "--baseline belongs to --method ig"),
        (("--model", "MODEL", "--layer", "1"), "--layer belongs to --method attention"),
        (("--model", "MODEL", "--class", "Z"), "has no class 'Z': its classes are A, B"),
        (("--model", "MODEL", "--task", "survival"), "has no task 'survival', only cancer_type"),
        (("--model", "MODEL", "--gmt", "none.gmt"), "none.gmt: cannot be read as text"),
    ],
)
def test_bad_requests(
    arguments: tuple[str, ...],
    message: str,
    model: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_encoder(tmp_path / "encoder", 0)
    given = [str(model) if item == "MODEL" else item for item in arguments]
    assert attribute("--table", table, "--out", "out", *given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_tasks_need_a_choice_and_foreign_folders_stay(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", tasks=("cancer_type", "survival"))
    assert attribute("--model", model, "--table", table, "--out", tmp_path / "out") == 2
    assert "has the tasks cancer_type, survival: choose one with --task" in capsys.readouterr().err
    assert attribute("--model", model, "--table", table, "--task", "survival", "--out", model) == 2
    assert "holds something else than attributions" in capsys.readouterr().err
    assert (model / keys.CONFIG_JSON).is_file()


@pytest.fixture
def cohorts(tmp_path: Path) -> Path:
    """The samples of `table` as two cohorts, S0 to S5 and S6 to S8."""
    folder = tmp_path / "cohorts"
    folder.mkdir()
    symbols = tuple(f"GENE{number}" for number in range(12))
    genes = GeneVocabulary(tuple(GENE_IDS), symbols, ("protein_coding",) * 12)
    genes.to_tsv(genes_path(folder))
    header = TableHeader("tpm", keys.RNASEQ, genes.sha256, "", "open")
    for name, rows in (("COAD", range(6)), ("LUAD", range(6, 9))):
        samples = pd.DataFrame({column: [f"S{row}" for row in rows] for column in SAMPLE_COLUMNS})
        with CohortTableWriter(cohort_path(folder, name), header, 12) as writer:
            writer.write(samples.assign(**{keys.COHORT: name}), VALUES[list(rows)].astype(np.float32))
    return folder


def test_cohorts_say_the_same_as_their_table(model: Path, table: Path, cohorts: Path, tmp_path: Path) -> None:
    assert attribute("--model", model, "--table", table, "--out", tmp_path / "table") == 0
    assert _run(["attribute", "--model", str(model), "--cohorts", str(cohorts), "--out", str(tmp_path / "out")]) == 0
    for name in ("attributions.tsv", "samples.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "table" / name).read_bytes()
    record = json.loads((tmp_path / "out" / "attribution.json").read_text())
    assert record["kind"] == "attribution" and record["enrichment"] == []


def test_samples_are_drawn_evenly_over_cohorts(model: Path, cohorts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["attribute", "--model", str(model), "--cohorts", str(cohorts), "--samples", "4", "--out", str(out)]
    assert _run(arguments) == 0
    explained = set(pd.read_csv(out / "samples.tsv", sep="\t")["sample_id"])
    assert len(explained) == 4 and len(explained & {"S6", "S7", "S8"}) == 2


@pytest.mark.parametrize("given", [["--unit", "tpm"], ["--table", "x.tsv"], ["--table", "x.tsv", "--cohorts", "c"], []])
def test_a_table_with_its_unit_or_cohorts(model: Path, given: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["attribute", "--model", str(model), "--out", "nowhere", *given]) == 2
    assert "give either --table with its --unit, or --cohorts" in capfd.readouterr().err
