"""`pretrain` as users run it: bad input, engines that agree, kill -9 and go on, time limit, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from click.testing import CliRunner

from bulkrnabert import keys
from bulkrnabert.cli.pretrain import command
from bulkrnabert.data.tokenizer import BinnedTokenizer
from bulkrnabert.data.tokens import Tokens, read_tokens, write_tokens
from bulkrnabert.errors import BulkRNABertError
from bulkrnabert.provenance import hash_patients

MODEL = {"embed_dim": 16, "init_gene_embed_dim": 8, "n_heads": 2, "ffn_embed_dim": 32, "n_layers": 1}
TRAIN = {
    "steps": 24,
    "global_batch_size": 8,
    "micro_batch_size": 2,
    "genes_per_step": 24,
    "learning_rate": 2e-3,
    "validate_every": 4,
    "checkpoint_every": 8,
}
TIMEOUT_S = 100
TORCH = ("--engine", "torch")
DEEPSPEED_1 = ("--engine", "deepspeed", "--zero-stage", "1")
DEEPSPEED_2 = ("--engine", "deepspeed", "--zero-stage", "2", "--processes", "2")
DEEPSPEED_3 = ("--engine", "deepspeed", "--zero-stage", "3", "--processes", "2")
ENGINES = [
    pytest.param(TORCH, id="torch"),
    pytest.param(DEEPSPEED_1, id="deepspeed", marks=pytest.mark.slow),
    pytest.param(DEEPSPEED_2, id="deepspeed-2", marks=pytest.mark.slow),
    pytest.param(DEEPSPEED_3, id="deepspeed-3", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokens folder (40 samples, 8 of them held out, 40 genes) and configurations."""
    folder = tmp_path_factory.mktemp("pretrain")
    rng = np.random.default_rng(0)
    samples = pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"S{row}" for row in range(40)],
            keys.PATIENT_ID: [f"P{row}" for row in range(40)],
            keys.COHORT: ["A"] * 20 + ["B"] * 20,
            keys.PART: [keys.HELD_OUT if row < 8 else keys.TRAIN for row in range(40)],
        }
    )
    tokens = Tokens(
        samples=samples,
        token_ids=(rng.integers(0, 60, 40) + rng.integers(0, 4, (40, 40))).astype(np.uint8),
        gene_ids=tuple(f"ENSG{gene:011d}" for gene in range(40)),
        tokenizers={"rnaseq": BinnedTokenizer(unit="tpm", edges_kind="log_linear", normalization_factor=5.0)},
        split_id="r0f0",
        split_sha256="ab" * 32,
    )
    write_tokens(folder / "tokens", tokens)
    (folder / "model.yaml").write_text(yaml.safe_dump(MODEL))
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    (folder / "train_whole.yaml").write_text(yaml.safe_dump({**TRAIN, "micro_batch_size": 8}))
    (folder / "train_long.yaml").write_text(yaml.safe_dump({**TRAIN, "steps": 100_000}))
    return folder


def arguments(inputs: Path, out: Path, *options: str, train: str = "train.yaml") -> list[str]:
    files = ["--model-config", str(inputs / "model.yaml"), "--train-config", str(inputs / train)]
    return ["--tokens", str(inputs / "tokens"), *files, "--device", "cpu", "--out", str(out), *options]


def start(inputs: Path, out: Path, *options: str, train: str = "train.yaml") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bulkrnabert.cli", "pretrain", *arguments(inputs, out, *options, train=train)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    _, messages = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == status, messages
    return messages


def steps_recorded(out: Path) -> int:
    path = out.with_name(f"{out.name}.state") / keys.RECORDS_JSONL
    return path.read_text().count('"kind": "train"') if path.is_file() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill_9(process: subprocess.Popen[str]) -> None:
    """End a command and everything that it started, at once."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    process.communicate(timeout=TIMEOUT_S)


def losses(out: Path) -> list[tuple[str, int, float]]:
    records = [json.loads(line) for line in (out / keys.RECORDS_JSONL).read_text().splitlines()]
    return [(record["kind"], record["step"], record["loss"]) for record in records]


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Checkpoint of a run that nothing disturbs; each kind of run is made once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made: dict[tuple[str, ...], Path] = {}

    def run(*options: str, train: str = "train.yaml") -> Path:
        key = (*options, train)
        if key not in made:
            made[key] = folder / str(len(made))
            finish(start(inputs, made[key], *options, train=train))
        return made[key]

    return run


def test_checkpoint_folder(undisturbed: Callable[..., Path]) -> None:
    out = undisturbed(*TORCH)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "genes.txt",
        "model.safetensors",
        "provenance.json",
        "records.jsonl",
        "tokenizer.json",
    ]
    provenance = json.loads((out / keys.PROVENANCE_JSON).read_text())
    assert provenance["split_id"] == "r0f0"
    assert provenance["split_sha256"] == "ab" * 32
    assert provenance["n_patients"] == 32
    assert provenance["patient_hashes"] == hash_patients(f"P{row}" for row in range(8, 40))
    assert provenance["metrics"]["step"] == 24
    records = [json.loads(line) for line in (out / keys.RECORDS_JSONL).read_text().splitlines()]
    assert [record["kind"] for record in records].count("train") == 24
    assert [record["step"] for record in records if record["kind"] == "validation"] == [0, 4, 8, 12, 16, 20, 24]
    assert records[-1]["kind"] == "summary"
    assert {"masked_accuracy", "baseline_accuracy", "spearman", "tokens_per_s", "flops_per_s"} <= set(records[-1])
    assert "| A | 12 |" in (out / keys.MODEL_CARD).read_text()
    assert not list(out.parent.glob(".*.part"))


def test_the_checkpoint_loads(undisturbed: Callable[..., Path]) -> None:
    from bulkrnabert.models.registry import load_network

    assert load_network(undisturbed(*TORCH)).config.n_genes == 40


@pytest.mark.parametrize(
    ("options", "train"),
    [
        pytest.param(TORCH, "train_whole.yaml", id="no accumulation"),
        pytest.param(DEEPSPEED_1, "train.yaml", id="deepspeed", marks=pytest.mark.slow),
        pytest.param((*DEEPSPEED_1, "--processes", "2"), "train.yaml", id="ZeRO 1 on 2", marks=pytest.mark.slow),
        pytest.param(DEEPSPEED_2, "train.yaml", id="ZeRO 2 on 2", marks=pytest.mark.slow),
        pytest.param(DEEPSPEED_3, "train.yaml", id="ZeRO 3 on 2", marks=pytest.mark.slow),
        pytest.param((*DEEPSPEED_3[:4], "--processes", "1"), "train.yaml", id="ZeRO 3 on 1", marks=pytest.mark.slow),
    ],
)
def test_every_way_to_run_gives_the_same_curve(
    undisturbed: Callable[..., Path], options: tuple[str, ...], train: str
) -> None:
    reference, found = losses(undisturbed(*TORCH)), losses(undisturbed(*options, train=train))
    assert [record[:2] for record in found] == [record[:2] for record in reference]
    assert [record[2] for record in found] == pytest.approx([record[2] for record in reference], abs=5e-6)


@pytest.mark.slow
def test_two_nodes_that_meet_over_the_network_give_the_same_curve(
    inputs: Path, undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    """As `srun torchrun` starts them: an agent a node, rendezvous by c10d, one folder that both see."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "out"
    agent = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--rdzv-id",
        "two",
    ]
    agent += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "-m", "bulkrnabert.cli", "pretrain"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    nodes = [
        subprocess.Popen(
            [*agent, *arguments(inputs, out, "--engine", "deepspeed", "--zero-stage", "1")],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(2)
    ]
    messages = "".join(finish(node) for node in nodes)
    assert "deepspeed, 2 x cpu" in messages
    expected = [record[2] for record in losses(undisturbed(*TORCH))]
    assert [record[2] for record in losses(out)] == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("options", ENGINES)
def test_killed_and_resumed_gives_the_same_weights(
    inputs: Path, undisturbed: Callable[..., Path], tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    process = start(inputs, out, *options)
    wait_for(lambda: steps_recorded(out) >= 11, process)  # past the checkpoint at step 8, before the one at 16
    kill_9(process)
    assert not out.exists()
    messages = finish(start(inputs, out, *options))
    assert "going on from step" in messages
    assert (out / keys.WEIGHTS).read_bytes() == (undisturbed(*options) / keys.WEIGHTS).read_bytes()
    assert losses(out) == losses(undisturbed(*options))


def test_another_seed_gives_other_weights(inputs: Path, undisturbed: Callable[..., Path]) -> None:
    """The control of the test above."""
    first, second = undisturbed(*TORCH), undisturbed(*TORCH, "--seed", "1")
    assert (first / keys.WEIGHTS).read_bytes() != (second / keys.WEIGHTS).read_bytes()


@pytest.mark.slow
def test_a_state_goes_on_with_another_engine_and_from_a_copy(
    inputs: Path, undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    process = start(inputs, tmp_path / "first", *DEEPSPEED_2)
    wait_for(lambda: steps_recorded(tmp_path / "first") >= 10, process)
    kill_9(process)
    shutil.copytree(tmp_path / "first.state", tmp_path / "copy")
    out = tmp_path / "second"
    messages = finish(start(inputs, out, *TORCH, "--checkpoint-dir", str(tmp_path / "copy")))
    assert "written by deepspeed, 2 x cpu" in messages
    expected = [record[2] for record in losses(undisturbed(*TORCH))]
    assert [record[2] for record in losses(out)] == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("options", [ENGINES[0], ENGINES[2]])
def test_time_limit_checkpoints_and_ends_with_75(inputs: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    messages = finish(start(inputs, out, *options, "--time-limit", "1", train="train_long.yaml"), status=75)
    assert "(the time limit is near)" in messages
    assert messages.count("Error:") == 1
    assert not out.exists()
    assert steps_recorded(out) >= 1
    pointer = json.loads((tmp_path / "out.state" / "pointer.json").read_text())
    assert pointer["last"] == f"step_{steps_recorded(out)}"


@pytest.mark.parametrize("options", [ENGINES[0], ENGINES[2]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_checkpoint_and_end_with_75(
    inputs: Path, tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = start(inputs, out, *options, train="train_long.yaml")
    wait_for(lambda: steps_recorded(out) >= 2, process)
    process.send_signal(number)
    messages = finish(process, status=75)
    assert "run the same command again" in messages
    assert (tmp_path / "out.state" / "pointer.json").is_file()


@pytest.mark.slow
def test_workers_end_when_their_launcher_is_killed(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(inputs, out, *DEEPSPEED_2, train="train_long.yaml")
    wait_for(lambda: steps_recorded(out) >= 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3  # torchrun and two workers
    process.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    process.communicate(timeout=TIMEOUT_S)


@pytest.mark.slow
def test_the_exit_status_survives_torchrun(inputs: Path, tmp_path: Path) -> None:
    """A learning rate that makes the loss overflow: our own fault, status 1, one message, no checkpoint folder."""
    wild = {**TRAIN, "learning_rate": 1e30, "weight_decay": 0.0}
    (tmp_path / "wild.yaml").write_text(yaml.safe_dump(wild))
    out = tmp_path / "out"
    messages = finish(start(inputs, out, *DEEPSPEED_2, train=str(tmp_path / "wild.yaml")), status=1)
    assert "Error: the" in messages
    assert messages.count("Error:") == 1
    assert not out.exists()


def test_torchrun_started_by_the_user(inputs: Path, undisturbed: Callable[..., Path], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]
    options = arguments(inputs, tmp_path / "out", "--engine", "torch")
    subprocess.run(
        [*torchrun, "-m", "bulkrnabert.cli", "pretrain", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    assert (tmp_path / "out" / keys.WEIGHTS).read_bytes() == (undisturbed(*TORCH) / keys.WEIGHTS).read_bytes()


def refuse(*options: str) -> BulkRNABertError:
    result = CliRunner().invoke(command, list(options))
    assert isinstance(result.exception, BulkRNABertError), result.output
    return result.exception


def test_two_processes_need_deepspeed(inputs: Path, tmp_path: Path) -> None:
    error = refuse(*arguments(inputs, tmp_path / "out", "--engine", "torch", "--processes", "2"))
    assert error.exit_code == 2
    assert "use --engine deepspeed" in str(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--processes", "3"), "not a multiple of micro_batch_size 2 x 3 processes"),
        (("--time-limit", "soon"), "expected seconds, HH:MM:SS"),
        (("--tokens", "nowhere"), "cannot be read as Parquet"),
        (("--train-config", "nowhere.yaml"), "cannot be read as YAML"),
    ],
)
def test_bad_input_is_found_before_anything_is_started(
    inputs: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    error = refuse(*arguments(inputs, tmp_path / "out", *options))
    assert error.exit_code == 2
    assert message in str(error)
    assert not list(tmp_path.iterdir())


def test_wrong_model_configurations(inputs: Path, tmp_path: Path) -> None:
    for change, message in (
        ({"n_bins": 32}, "n_bins 32, the tokenizer has 64"),
        ({"n_embedding_rows": 64}, "n_embedding_rows 64, expected at least 66"),
        ({"n_genes": 12}, "says n_genes 12, the gene list has 40"),
    ):
        (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**MODEL, **change}))
        error = refuse(*arguments(inputs, tmp_path / "out"), "--model-config", str(tmp_path / "wrong.yaml"))
        assert message in str(error)


def test_a_training_token_that_is_no_bin_is_named(inputs: Path, tmp_path: Path) -> None:
    tokens = read_tokens(inputs / "tokens")
    token_ids = tokens.token_ids.copy()
    token_ids[0, 0] = token_ids[12, 5] = keys.PAD_ID  # the first is held out, and not read
    token_ids[13, 0] = keys.MASK_ID  # missing
    write_tokens(tmp_path / "tokens", replace(tokens, token_ids=token_ids))
    error = refuse(*arguments(inputs, tmp_path / "out"), "--tokens", str(tmp_path / "tokens"))
    assert "1 tokens" in str(error)
    assert "the first is 64 at sample S12, gene ENSG00000000005" in str(error)


def test_the_model_is_that_of_the_tokens(inputs: Path, tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens", replace(read_tokens(inputs / "tokens"), model="bert"))
    error = refuse(*arguments(inputs, tmp_path / "out"), "--tokens", str(tmp_path / "tokens"))
    assert error.exit_code == 2
    assert "made for a model 'bert' that cannot be pretrained: choose one of bulkrnabert" in str(error)


def test_folders_that_cannot_be_made(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be made" in str(refuse(*arguments(inputs, tmp_path / "file" / "out")))
    options = ("--checkpoint-dir", str(tmp_path / "file"))
    assert "cannot be made" in str(refuse(*arguments(inputs, tmp_path / "out", *options)))


def test_out_is_not_taken_from_somebody_else(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    (tmp_path / "file").touch()
    assert "something else than a checkpoint" in str(refuse(*arguments(inputs, tmp_path / "thesis")))
    assert "is a file" in str(refuse(*arguments(inputs, tmp_path / "file")))


def test_a_state_of_another_run_is_refused(inputs: Path, undisturbed: Callable[..., Path]) -> None:
    out = undisturbed(*TORCH)
    error = refuse(*arguments(inputs, out, "--seed", "7"))
    assert error.exit_code == 2
    assert "seed (saved 0, now 7)" in str(error)


def test_help_is_quick_and_teaches() -> None:
    code = "import sys; from bulkrnabert.cli.pretrain import command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    text = CliRunner().invoke(command, ["--help"]).output
    for word in ("tiny", "HH:MM:SS", "status 75", "default: 1"):
        assert word in text
    assert "launch-folder" not in text


def test_a_dry_run_writes_nothing(inputs: Path, tmp_path: Path) -> None:
    given = arguments(inputs, tmp_path / "deep" / "out", "--steps", "7", "--dry-run", "--json")
    result = CliRunner().invoke(command, given, catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["n_samples"] + found["n_validation_samples"] == 32 and found["n_genes"] == 40
    assert (found["first_step"], found["steps"], found["out"]) == (0, 7, None)
    assert found["next"].startswith("memory and time: bulkrnabert plan --preset small --genes 40 --samples ")
    assert not list(tmp_path.iterdir())
