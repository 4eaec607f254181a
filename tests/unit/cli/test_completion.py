"""Shell completion: the scripts are made, and bash's does what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkrnabert.cli import _run, program


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o nosort -F _bulkrnabert_completion bulkrnabert"),
        ("zsh", "compdef _bulkrnabert_completion bulkrnabert"),
        ("fish", "complete --no-files --command bulkrnabert"),
    ],
)
def test_the_script_of_each_shell(shell: str, line: str, tmp_path: Path) -> None:
    script = CliRunner().invoke(program, ["completion", shell]).output
    assert line in script and "_BULKRNABERT_COMPLETE" in script
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        assert subprocess.run([shell, "-n", tmp_path / "script"], check=False).returncode == 0


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["bulkrnabert", "impute-"], ["impute-benchmark"]),
        (["bulkrnabert", "split", "--pro"], ["--protocol"]),
        (["bulkrnabert", "split", "--protocol", "le"], ["leak-free"]),
    ],
)
def test_bash_completes(tmp_path: Path, typed: list[str], expected: list[str]) -> None:
    """The script is sourced in bash, and its function asked as the shell asks it."""
    program_file = tmp_path / "bulkrnabert"
    program_file.write_text(
        f"#!{sys.executable}\nfrom bulkrnabert.cli import main\nmain()\n",
    )
    program_file.chmod(0o755)
    words = " ".join(f"'{word}'" for word in typed)
    script = (
        f'eval "$(bulkrnabert completion bash)"; COMP_WORDS=({words}); COMP_CWORD={len(typed) - 1};'
        ' _bulkrnabert_completion bulkrnabert; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    source = str(Path(__file__).resolve().parents[3])
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": source}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected, done.stderr
