"""Progress: a bar on a terminal, an occasional line elsewhere, nothing on other ranks."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from bulkrnabert import logs

CODE = (
    "import logging, sys, time; from bulkrnabert import logs; logs.set_up_logging(); "
    "logs.SECONDS_BETWEEN_LINES = float(sys.argv[1]);\n"
    "for item in logs.progress([1, 2, 3, 4], what='embed', unit='sample'):\n"
    "    time.sleep(0.15); item == 2 and logging.getLogger('bulkrnabert.x').info('a line')"
)


def run(seconds: str, **environment: str) -> str:
    command = [sys.executable, "-c", CODE, seconds]
    source = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": source, **environment}
    )
    assert done.stdout == "" and "\r" not in done.stderr
    return done.stderr


def test_short_work_off_a_terminal_leaves_no_line() -> None:
    assert [line.split(": ", 1)[1] for line in run("300").splitlines()] == ["a line"]


def test_long_work_off_a_terminal_leaves_a_line_now_and_then() -> None:
    lines = [line for line in run("0.2").splitlines() if "embed: " in line]
    assert 1 <= len(lines) <= 4
    assert " of 4 sample, " in lines[0] and lines[0].endswith(" left") and "sample/s" in lines[0]


def test_other_ranks_show_nothing() -> None:
    assert run("0.01", RANK="1") == ""


def test_a_bar_and_lines_above_it_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    source = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", CODE, "300"], stderr=theirs, env={**os.environ, "PYTHONPATH": source}
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how a terminal says that its other side is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"embed: " in shown and b"sample/s" in shown and b" a line\r\n" in shown
    assert b"INFO" not in shown


def test_a_bar_of_its_own_counts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logs, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(logs, "shows_progress", lambda: False)
    monkeypatch.setattr(logging.getLogger("bulkrnabert"), "propagate", True)
    with caplog.at_level(logging.INFO, "bulkrnabert"), logs.progress_bar(10, what="read", unit="gene") as bar:
        bar.update(4)
        bar.update(6)
    assert bar.n == 10
    assert any(message.startswith("read: 10 of 10 gene, ") for message in caplog.messages)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:secret@host:5000/x", "at http://…@host:5000/x"),
        ("http://me:p@ss@host and https://host/@file", "http://…@host and https://host/@file"),
        ("me@host", "me@host"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert logs.hide_credentials(text) == shown
