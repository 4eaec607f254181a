"""The log of what left: every line is held by the next, and one process at a time writes it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from bulkrnabert.errors import DataError
from bulkrnabert.evaluate.audit import FIRST, append_audit, check_audit


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    for number in range(3):
        append_audit(path, "export", {"number": number})
    return path


def test_the_log_shows_that_it_was_changed(log: Path) -> None:
    assert check_audit(log) != FIRST
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0].replace('"number": 0', '"number": 9'), *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=r"line 2: does not follow.* give another file with --audit"):
        append_audit(log, "export", {})
    log.write_text("\n".join([lines[0], lines[2]]) + "\n")
    with pytest.raises(DataError, match="line 2: does not follow"):
        check_audit(log)
    log.write_text("nonsense\n")
    with pytest.raises(DataError, match="line 1: is no line of an audit log"):
        check_audit(log)
    log.write_text("\n".join(lines))
    with pytest.raises(DataError, match="line 3: is cut off"):
        append_audit(log, "export", {})


def test_only_the_hash_shows_that_the_end_is_missing(log: Path) -> None:
    kept = append_audit(log, "export", {"number": 3})
    lines = log.read_text().splitlines()
    assert check_audit(log) == kept == hashlib.sha256(lines[-1].encode()).hexdigest()
    log.write_text("\n".join(lines[:-1]) + "\n")
    assert check_audit(log) != kept


def test_two_exports_at_once_wait_for_each_other(log: Path) -> None:
    before = log.read_bytes()
    late = threading.Thread(target=append_audit, args=(log, "export", {"number": 4}))
    with log.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        late.start()
        late.join(timeout=0.3)
        assert late.is_alive() and log.read_bytes() == before
        handle.write(json.dumps({"number": 3, "previous_sha256": check_audit(log)}) + "\n")
    late.join(timeout=10)
    check_audit(log)
    assert [json.loads(text)["number"] for text in log.read_text().splitlines()] == [0, 1, 2, 3, 4]


def test_a_line_that_does_not_fit_leaves_the_log_as_it_was(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = log.read_bytes()
    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(DataError, match="cannot be written: No space left on device; nothing was exported"):
        append_audit(log, "export", {})
    assert log.read_bytes() == before


def test_a_log_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        check_audit(tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        append_audit(tmp_path, "export", {})
