"""The program itself: help that teaches, exit statuses, one message without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bulkrnabert import cli
from bulkrnabert.cli import _run, program

STAGES = program.list_commands(None)  # type: ignore[arg-type]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bulkrnabert.cli", *arguments]
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[3]))
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_help(stage: str) -> None:
    result = CliRunner().invoke(program, [stage, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "completion"])
def test_every_stage_has_its_script(stage: str, repository: Path) -> None:
    script = repository / "bin" / f"brb-{stage}"
    assert os.access(script, os.X_OK)
    assert f'run_stage("{stage}")' in script.read_text()


def test_bad_input_is_one_message_and_status_2(tmp_path: Path) -> None:
    finished = run("split", "--cohorts", str(tmp_path / "none"), "--out", str(tmp_path / "splits"))
    assert finished.returncode == 2
    assert "Error: " in finished.stderr and "Traceback" not in finished.stderr
    assert not (tmp_path / "splits").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("preprocess", "--table", "t.tsv", "--unit", "tpm", "--cohort", "A", "--out", "file/out"),
        ("split", "--cohorts", "none", "--out", "file/out"),
        ("tokenize", "--cohorts", "none", "--splits", "none", "--out", "file/out"),
        ("download", "--projects", "TCGA-X", "--api", "http://127.0.0.1:1", "--retries", "0", "--out", "file/raw"),
        ("embed", "--checkpoint", "none", "--cohorts", "none", "--out", "file/out.h5ad"),
        ("probe", "--cohorts", "x", "--splits", "x", "--embeddings", "x", "--task", "survival", "--out", "file/p"),
        ("evaluate", "--cohorts", "x", "--splits", "x", "--predictions", "x", "--out", "file/out"),
        ("pretrain", "--tokens", "x", "--out", "file/out"),
        ("synth", "--out", "file/study.json"),
        ("fingerprint", "split", "--out", "file/code.json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_out_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    (tmp_path / "t.tsv").write_text("gene_id\tS1\tS2\nTP53\t1.5\t200\n")
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert _run(list(arguments)) == 2
    error = capsys.readouterr().err
    assert "Error: file" in error and "cannot be" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "t.tsv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("split", "--cohorts", "x", "--out", "y", "--seed", "-1"), "-1 is not in the range x>=0"),
        (("fingerprint", "no-such-stage"), "no stage named 'no-such-stage'"),
        (
            ("evaluate", "--cohorts", "x", "--splits", "x", "--predictions", "x", "--out", "y", "--bootstrap", "0"),
            "x>=1",
        ),
    ],
)
def test_wrong_values_are_status_2(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(list(arguments)) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_cannot_be_opened_is_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "main", lambda **_: (tmp_path / "none.tsv").read_text())
    assert _run(["split"]) == 2
    assert "none.tsv: No such file or directory; check the path" in capsys.readouterr().err


def test_an_unknown_option_is_status_2() -> None:
    finished = run("split", "--no-such-option")
    assert finished.returncode == 2 and "No such option" in finished.stderr


def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    finished = run("--verbose", "split", "--cohorts", str(tmp_path / "none"), "--out", str(tmp_path / "splits"))
    assert finished.returncode == 2 and "Traceback" in finished.stderr


def test_version() -> None:
    finished = run("--version")
    assert finished.returncode == 0 and finished.stdout.startswith("bulkrnabert, version ")


def test_stages_are_listed_in_the_order_of_the_road() -> None:
    assert sorted(STAGES) == sorted(set(STAGES)) and set(STAGES) == set(cli.STAGES)
    listed = CliRunner().invoke(program, ["--help"]).output
    titles = [listed.index(f"\n{title}:\n") for title in cli.GROUPS]
    assert titles == sorted(titles)
    places = [listed.index(f"\n  {stage} ") for stage in STAGES]
    assert places == sorted(places)
    assert STAGES[0] == "download" and STAGES.index("predict") < STAGES.index("evaluate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["splt"], "No such command 'splt'. Did you mean 'split'?"),
        (["embeded"], "No such command 'embeded'. Did you mean 'embed'?"),
        (["nothing-like-it"], "No such command 'nothing-like-it'."),
        (["split", "--cohort", "c"], "'--cohorts'"),
        (["split", "--protocol", "leekfree"], "is not one of 'leak-free'"),
    ],
)
def test_what_is_misspelt_is_suggested(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and message in shown.err and "Traceback" not in shown.err
    assert shown.err.count("Error: ") == 1


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        ("download", "; run the same command again to go on"),
        ("pretrain", "; run the same command again to go on"),
        ("preprocess", "; nothing was written"),
        ("split", ""),
    ],
)
def test_an_interrupt_says_what_to_do(
    stage: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**_: object) -> None:
        raise click.exceptions.Abort

    monkeypatch.setattr(program, "main", interrupt)
    assert _run(["--verbose", stage]) == 130
    assert capsys.readouterr().err == f"Error: interrupted{advice}\n"


def test_the_help_of_download_is_in_groups() -> None:
    listed = CliRunner().invoke(program, ["download", "--help"]).output
    titles = ["What to fetch:", "The plan:", "The transfer:", "GTEx:", "ENCODE:", "Other:", "Examples:"]
    places = [listed.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert listed.split("\nOther:\n")[1].split()[0] == "--json"


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from bulkrnabert.cli import _run; assert _run(['--help']) == 0; "
        "sys.exit(bool({'torch', 'numpy', 'pandas', 'tqdm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
