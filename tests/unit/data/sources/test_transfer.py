"""Files from a server that misbehaves: what arrives, what is refused, and what is left on the disk."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from bulkrnabert.data.sources import transfer, transfer_file, transfer_folder
from bulkrnabert.data.sources.transfer import (
    RemoteFile,
    TransferError,
    TransferPolicy,
    TransferSummary,
    fetch_all,
    folder_lock,
    open_session,
)
from bulkrnabert.data.sources.transfer_folder import VerifiedFiles
from bulkrnabert.data.sources.transfer_http import announced_md5, where
from bulkrnabert.errors import ConfigError, DataError
from bulkrnabert.provenance import atomic_path

BODY = bytes(index * 7 % 251 for index in range(5000))
MD5 = hashlib.md5(BODY).hexdigest()
POLICY = TransferPolicy(n_workers=2, n_retries=3, backoff_s=0.001, idle_timeout_s=5.0, max_retry_after_s=0.05)
TOKEN = "secret-token-0123456789"

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the server's script: the nth request of a path with the nth answer, the last one for all others."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        with self.server.lock:
            number = sum(path == self.path for path, _ in self.server.asked)
            self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.script.get(self.path, [whole()])
        answers[min(number, len(answers) - 1)](self)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes, length: int | None = -1, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        self.wfile.write(body)
        if length != -1:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: dict[str, list[Answer]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def running(**script: list[Answer]) -> Iterator[Server]:
    server = Server({f"/{name}": answers for name, answers in script.items()})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def whole(body: bytes = BODY, **headers: str) -> Answer:
    """The file, or its rest when a range is asked for and `If-Range` fits."""

    def answer(handler: Handler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        condition = handler.headers.get("If-Range")
        if match is None or (condition is not None and condition not in headers.values()):
            handler.reply(200, body, **headers)
        elif int(match[1]) >= len(body):
            handler.reply(416, b"")
        else:
            start = int(match[1])
            handler.reply(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}", **headers)

    return answer


def fixed(status: int, body: bytes = b"", length: int | None = -1, **headers: str) -> Answer:
    return lambda handler: handler.reply(status, body, length, **headers)


def cut(n_bytes: int, body: bytes = BODY, **headers: str) -> Answer:
    """Announces the whole, sends a part and closes."""
    return fixed(200, body[:n_bytes], len(body), **headers)


def drip(body: bytes, wait_s: float, n_pieces: int, ends: bool = True) -> Answer:
    def answer(handler: Handler) -> None:
        handler.reply(200, b"", len(body))
        size = -(-len(body) // n_pieces)
        for start in range(0, len(body), size):
            handler.wfile.write(body[start : start + size])
            handler.wfile.flush()
            time.sleep(wait_s)
            if not ends:
                time.sleep(10)

    return answer


def chunked_without_end(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n" % (1000, BODY[:1000]))
    handler.close_connection = True


def remote(server: Server, folder: Path, name: str = "a", **changes: Any) -> RemoteFile:
    given: dict[str, Any] = {"size": len(BODY), "md5": MD5, **changes}
    return RemoteFile(name, f"{server.url}/{name}", folder / name / "data.tsv", **given)


def fetch(folder: Path, *files: RemoteFile, policy: TransferPolicy = POLICY, **options: Any) -> TransferSummary:
    with open_session(4, use_environment=False) as session:
        return fetch_all(session, files, policy, folder=folder, **options)


def failure(folder: Path, *files: RemoteFile, **options: Any) -> str:
    with pytest.raises(TransferError) as caught:
        fetch(folder, *files, **options)
    assert not any(file.target.exists() for file in files)
    return str(caught.value)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and ".transfer" not in path.parts}


# ---- faults that pass ----

ETAG = {"ETag": '"one"'}


@pytest.mark.parametrize(
    ("answers", "ranges"),
    [
        # goes on where it broke off, whatever names the version
        ([cut(2000, **ETAG), whole(**ETAG)], [None, "bytes=2000-"]),
        ([cut(2000, Last_Modified="Sat, 01 Aug 2026 00:00:00 GMT"), whole()], [None, "bytes=2000-"]),
        ([cut(2000), whole()], [None, "bytes=2000-"]),
        ([cut(2000), cut(0), whole()], [None, "bytes=2000-", None]),  # the cut answer is a 200 without a byte
        ([cut(2000), fixed(503), whole()], [None, "bytes=2000-", "bytes=2000-"]),
        # a server that knows no ranges, or not these
        ([cut(2000), fixed(200, BODY)], [None, "bytes=2000-"]),
        ([cut(2000), fixed(416), whole()], [None, "bytes=2000-", None]),
        ([cut(2000), fixed(206, BODY[2000:], Content_Range="bytes 0-2999/5000"), whole()], [None, "bytes=2000-", None]),
        ([cut(2000), fixed(206, BODY[2000:], Content_Range="nonsense"), whole()], [None, "bytes=2000-", None]),
        ([cut(2000), fixed(206, BODY[2000:]), whole()], [None, "bytes=2000-", None]),
        (
            [cut(2000), fixed(206, BODY[2000:3000], Content_Range="bytes 2000-2999/5000"), whole()],
            [None, "bytes=2000-", None],
        ),
        (
            [cut(2000), fixed(206, BODY[2000:3000], Content_Range="bytes 2000-4999/5000"), whole()],
            [None, "bytes=2000-", None],
        ),
        (
            [cut(2000), fixed(206, b"x" * 4000, Content_Range="bytes 2000-5999/6000"), whole()],
            [None, "bytes=2000-", None],
        ),
        # the file changed meanwhile
        ([cut(2000, ETag='"old"'), whole(**ETAG)], [None, "bytes=2000-"]),
        (
            [cut(2000, **ETAG), fixed(206, BODY[2000:], Content_Range="bytes 2000-4999/5000", ETag='"two"'), whole()],
            [None, "bytes=2000-", None],
        ),
        ([cut(2000, b"x" * 5000), whole(), whole()], [None, "bytes=2000-", None]),  # found by the md5
        # bodies that are not the file
        ([fixed(200, BODY[:-1] + b"x"), whole()], [None, None]),
        ([fixed(200, BODY + b"x", None), whole()], [None, None]),
        ([fixed(200, BODY[:10], None), whole()], [None, "bytes=10-"]),
        ([chunked_without_end, whole()], [None, "bytes=1000-"]),
        ([fixed(200, b""), whole()], [None, None]),
        ([fixed(200, b"", None), whole()], [None, None]),
        ([fixed(200, b"<html>502</html>", Content_Type="text/html; charset=utf-8"), whole()], [None, None]),
        ([fixed(200, b'{"message": "no"}', Content_Type="application/json"), whole()], [None, None]),
        ([cut(2000), fixed(200, b"<html>", Content_Type="text/html"), whole()], [None, "bytes=2000-", "bytes=2000-"]),
        ([fixed(200, gzip.compress(BODY), Content_Encoding="gzip"), whole()], [None, None]),
        # statuses
        ([fixed(500), fixed(502, b"<html>", Content_Type="text/html"), fixed(405), whole()], [None] * 4),
        ([fixed(429, Retry_After="0"), whole()], [None, None]),
        ([fixed(429), whole()], [None, None]),
        ([fixed(503, Retry_After="soon"), whole()], [None, None]),
        # the header says one thing, the metadata another
        ([whole(Content_MD5="0" * 32)], [None]),
        ([whole(Content_MD5=base64.b64encode(hashlib.md5(BODY).digest()).decode())], [None]),
        ([whole(Content_Disposition="attachment; filename=../../evil")], [None]),
    ],
)
def test_the_file_arrives(tmp_path: Path, answers: list[Answer], ranges: list[str | None]) -> None:
    with running(a=answers) as server:
        file = remote(server, tmp_path)
        done = fetch(tmp_path, file)
        assert server.ranges == ranges
    assert file.target.read_bytes() == BODY
    assert done == TransferSummary(n_fetched=1, n_kept=0, n_bytes=len(BODY), md5={"a": MD5})
    assert leftovers(tmp_path) == {"data.tsv"}


def test_the_condition_of_a_range(tmp_path: Path) -> None:
    for headers, condition in [
        ({"ETag": '"one"', "Last_Modified": "yesterday"}, '"one"'),
        ({"ETag": 'W/"one"', "Last_Modified": "yesterday"}, "yesterday"),
        ({}, None),
    ]:
        with running(a=[cut(2000, **headers), whole(**headers)]) as server:
            fetch(tmp_path / str(condition), remote(server, tmp_path / str(condition)))
            assert server.asked[1][1].get("If-Range") == condition


def test_a_wrong_md5_header_is_said_and_the_metadata_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(a=[whole(Content_MD5="0" * 32)]) as server:
        fetch(tmp_path, remote(server, tmp_path))
    assert f"announces md5 {'0' * 32}, the metadata {MD5}" in caplog.text


@pytest.mark.parametrize(
    ("value", "at_least_s"),
    [
        ("3600", 0.05),
        pytest.param(format_datetime(datetime.now(UTC) + timedelta(days=2), usegmt=True), 0.05, id="in two days"),
        ("0", 0.0),
        (format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
        ("9" * 400, 0.0),
    ],
)
def test_an_answer_says_how_long_to_wait(tmp_path: Path, value: str, at_least_s: float) -> None:
    with running(a=[fixed(429, Retry_After=value), whole()]) as server:
        began = time.monotonic()
        fetch(tmp_path, remote(server, tmp_path))
        assert at_least_s <= time.monotonic() - began < 2


def test_waits_grow_with_jitter_up_to_a_minute() -> None:
    policy = TransferPolicy(backoff_s=1.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 16, 32, 60, 60]):
        waits = [policy.wait_s(attempt) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert policy.wait_s(10_000) <= 60


def test_silence_is_given_up_and_slowness_is_not(tmp_path: Path) -> None:
    policy = TransferPolicy(n_workers=1, n_retries=0, backoff_s=0.0, idle_timeout_s=1.5)
    with running(a=[drip(BODY, 0.2, 10)], b=[drip(BODY, 0.0, 2, ends=False)]) as server:
        began = time.monotonic()
        fetch(tmp_path, remote(server, tmp_path), policy=policy)
        assert time.monotonic() - began > 1.6  # longer than the limit, which is one on silence
        began = time.monotonic()
        assert "nothing arrived for 1.5 s after 2500 bytes" in failure(
            tmp_path, remote(server, tmp_path, "b"), policy=policy
        )
        assert time.monotonic() - began < 8
    assert (tmp_path / "b/data.tsv.part").read_bytes() == BODY[:2500]


def test_progress_earns_new_tries(tmp_path: Path) -> None:
    """Six megabytes over a line that breaks every 1.2 MB, with one retry."""
    body = os.urandom(6_000_000)

    def breaks(handler: Handler) -> None:
        start = int(re.sub(r"\D", "", handler.headers.get("Range", "0")))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.end_headers()
        handler.wfile.write(body[start : start + 1_200_000])
        handler.close_connection = True

    policy = TransferPolicy(n_retries=1, backoff_s=0.0)
    with running(a=[breaks]) as server:
        file = remote(server, tmp_path, size=len(body), md5=hashlib.md5(body).hexdigest())
        fetch(tmp_path, file, policy=policy)
        assert len(server.asked) == 5
    assert file.target.read_bytes() == body


# ---- faults that stay ----


@pytest.mark.parametrize(
    ("answer", "reason", "n_asked"),
    [
        (fixed(500, b"out of order"), "answered 500: out of order", 4),
        (fixed(404, b'{"message": "gone"}'), 'answered 404: {"message": "gone"}', 1),
        (fixed(403, b"no right"), "answered 403: no right", 1),
        (cut(0), "0 bytes", 4),
        (fixed(200, b""), "an empty answer arrived in place of the file", 4),
        (fixed(200, b"<html>oh</html>", Content_Type="text/html"), "HTML arrived in place of the file: <html>oh", 4),
        (fixed(200, b'{"a": 1}', Content_Type="application/json"), 'JSON arrived in place of the file: {"a": 1}', 4),
        (fixed(200, gzip.compress(BODY), Content_Encoding="gzip"), "is compressed (Content-Encoding: gzip)", 4),
        (fixed(200, BODY + b"x"), "5001 bytes announced instead of 5000", 4),
        (fixed(200, BODY + b"x", None), "more than the 5000 bytes", 4),
        (fixed(206, BODY, Content_Range="bytes 0-4999/5000"), "answered 206 to a request for the whole file", 4),
        (fixed(302, Location="http://elsewhere.example/x?sig=hidden"), "http://elsewhere.example/x, another host", 1),
        (fixed(302, Location="//elsewhere.example/x"), "another host", 1),
        (fixed(302, Location="https://127.0.0.1/x"), "another host or scheme", 1),
        (fixed(302, Location="http://127.0.0.1:9/x"), "another host or scheme", 1),
        (fixed(302), "answered 302", 1),
        (fixed(302, Location="/a"), "more than 5 redirects", 6),
    ],
)
def test_the_file_does_not_arrive(tmp_path: Path, answer: Answer, reason: str, n_asked: int) -> None:
    with running(a=[answer]) as server:
        message = failure(tmp_path, remote(server, tmp_path, label="TCGA-1"))
        assert len(server.asked) == n_asked
    assert message.startswith(
        "1 of 1 files could not be fetched; the others are kept, run it again to go on: a (TCGA-1)"
    )
    assert reason in message
    assert "hidden" not in message
    assert leftovers(tmp_path) <= {"data.tsv.part", "data.tsv.part.json"}


def test_a_redirect_on_the_same_host_is_followed(tmp_path: Path) -> None:
    with running(a=[fixed(307, Location="/b")], b=[cut(100), whole()]) as server:
        fetch(tmp_path, remote(server, tmp_path, headers={"X-Auth-Token": TOKEN}))
        assert [path for path, _ in server.asked] == ["/a", "/b", "/a", "/b"]
        assert all(headers["X-Auth-Token"] == TOKEN for _, headers in server.asked)
        assert server.ranges[2:] == ["bytes=100-"] * 2


def test_a_token_stays_on_its_host(tmp_path: Path) -> None:
    with running(a=[whole()]) as other, running(a=[fixed(302, Location="set below")]) as server:
        server.script["/a"] = [fixed(302, Location=f"http://localhost:{other.server_address[1]}/a")]
        file = remote(server, tmp_path, headers={"X-Auth-Token": TOKEN})
        assert "another host" in failure(tmp_path, file)
        assert other.asked == []
        # a host that the source is known to serve from gets the request, and not the token
        allowed = remote(server, tmp_path, headers={"X-Auth-Token": TOKEN}, redirect_hosts=("localhost",))
        fetch(tmp_path, allowed)
        assert [headers.get("X-Auth-Token") for _, headers in other.asked] == [None]
        assert server.asked[0][1]["X-Auth-Token"] == TOKEN


def test_a_token_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with running(a=[fixed(503, f"who is {TOKEN}?".encode()), fixed(403, f"no, {TOKEN}".encode())]) as server:
        file = remote(server, tmp_path, headers={"X-Auth-Token": TOKEN})
        message = failure(tmp_path, file)
        assert server.asked[0][1]["X-Auth-Token"] == TOKEN
    assert "answered 403: no, …" in message
    assert TOKEN not in message + caplog.text + repr(file)


def test_a_lasting_md5_mismatch_is_quarantined(tmp_path: Path) -> None:
    with running(a=[fixed(200, b"y" * 5000)]) as server:
        file = remote(server, tmp_path)
        message = failure(tmp_path, file)
        assert len(server.asked) == 4
        aside = tmp_path / "a/data.tsv.quarantine"
        assert f"instead of {MD5}, again and again; kept as {aside}" in message
        assert aside.read_bytes() == b"y" * 5000
        assert leftovers(tmp_path) == {"data.tsv.quarantine"}
        server.script["/a"] = [whole()]
        fetch(tmp_path, file)
    assert leftovers(tmp_path) == {"data.tsv"}


def test_every_failure_is_listed_and_the_rest_is_kept(tmp_path: Path) -> None:
    bad = [fixed(404)]
    with running(a=bad, c=bad) as server:
        files = [remote(server, tmp_path, name) for name in "abcd"]
        with pytest.raises(TransferError) as caught:
            fetch(tmp_path, *files, explain=lambda file, status: f"{file.file_id} is {status}")
        assert [one.file.file_id for one in caught.value.failures] == ["a", "c"]
        assert "answered 404 (a is 404)" in str(caught.value)
        assert "answered 404 (c is 404)" in str(caught.value)
        assert caught.value.exit_code == 1
        server.script = {}
        server.asked.clear()
        again = fetch(tmp_path, *files)
        assert sorted(path for path, _ in server.asked) == ["/a", "/c"]
    assert (again.n_fetched, again.n_kept) == (2, 2)


def test_a_dead_server_is_not_asked_for_every_file(tmp_path: Path) -> None:
    with running() as server:
        files = [remote(server, tmp_path, f"f{number:03d}") for number in range(100)]
        server.script = {f"/{file.file_id}": [fixed(503)] for file in files}
        policy = TransferPolicy(n_workers=2, n_retries=1, backoff_s=0.0)
        with pytest.raises(TransferError, match="100 of 100 files") as caught:
            fetch(tmp_path, *files, policy=policy)
        assert len(server.asked) <= 2 * (8 + 2 * 2)
    assert len(caught.value.failures) == 100
    assert "more were not tried, because the server serves nothing any more" in str(caught.value)


def test_nobody_answers(tmp_path: Path) -> None:
    file = RemoteFile("a", "http://127.0.0.1:9/a", tmp_path / "a", 1, MD5)
    assert "no answer (NewConnectionError: " in failure(tmp_path, file)


# ---- from run to run ----


def test_a_part_is_continued_by_the_next_run(tmp_path: Path) -> None:
    with running(a=[cut(3000, **ETAG), fixed(404)]) as server:
        file = remote(server, tmp_path)
        failure(tmp_path, file)
        assert file.part.read_bytes() == BODY[:3000]
        server.asked.clear()
        server.script = {"/a": [whole(**ETAG)]}
        fetch(tmp_path, file)
        assert server.ranges == ["bytes=3000-"]
        assert server.asked[0][1]["If-Range"] == '"one"'
    assert file.target.read_bytes() == BODY


@pytest.mark.parametrize("known", [{"size": None}, {"md5": None}, {"size": None, "md5": None}])
def test_a_part_is_continued_though_little_is_known(tmp_path: Path, known: dict[str, Any]) -> None:
    with running(a=[cut(3000, **ETAG), fixed(404)]) as server:
        file = remote(server, tmp_path, **known)
        failure(tmp_path, file)
        server.asked.clear()
        server.script = {"/a": [whole(**ETAG)]}
        fetch(tmp_path, file)
        assert server.ranges == ["bytes=3000-"]
    assert file.target.read_bytes() == BODY


def test_a_whole_part_needs_no_request(tmp_path: Path) -> None:
    with running(a=[cut(3000), fixed(404)]) as server:
        file = remote(server, tmp_path)
        failure(tmp_path, file)
        file.part.write_bytes(BODY)
        server.asked.clear()
        fetch(tmp_path, file)
        assert server.asked == []
    assert file.target.read_bytes() == BODY


@pytest.mark.parametrize("what", ["another version", "no record", "torn record", "too long", "other bytes"])
def test_a_part_of_something_else_is_not_continued(tmp_path: Path, what: str) -> None:
    with running(a=[cut(3000), fixed(404)]) as server:
        file = remote(server, tmp_path)
        failure(tmp_path, file)
        record = file.part.with_name("data.tsv.part.json")
        other = BODY[::-1]
        if what == "another version":
            file = remote(server, tmp_path, md5=hashlib.md5(other).hexdigest())
        elif what == "no record":
            record.unlink()
        elif what == "torn record":
            record.write_text(record.read_text()[:9])
        elif what == "too long":
            file.part.write_bytes(BODY + b"x")
        else:
            file.part.write_bytes(b"\0" * 3000)
        server.asked.clear()
        server.script = {"/a": [whole(other if what == "another version" else BODY)]}
        fetch(tmp_path, file)
        assert server.ranges == (["bytes=3000-", None] if what == "other bytes" else [None])
    assert leftovers(tmp_path) == {"data.tsv"}


def test_a_second_run_asks_for_nothing_and_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as server:
        files = [remote(server, tmp_path, name) for name in "ab"]
        fetch(tmp_path, *files)
        server.asked.clear()
        with monkeypatch.context() as patch:
            patch.setattr("bulkrnabert.data.sources.transfer_folder.md5_of_file", lambda _: pytest.fail("read"))
            again = fetch(tmp_path, *files)
        assert (again.n_fetched, again.n_kept, again.md5) == (0, 2, {"a": MD5, "b": MD5})
        assert fetch(tmp_path, *files, use_reading=True).n_kept == 2
        (tmp_path / ".transfer/verified").unlink()
        assert fetch(tmp_path, *files).n_kept == 2
        assert server.asked == []


@pytest.mark.parametrize("keeps_time", [False, True])
def test_a_changed_file_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture, keeps_time: bool) -> None:
    with running() as server:
        file = remote(server, tmp_path)
        fetch(tmp_path, file)
        status = file.target.stat()
        file.target.write_bytes(BODY[::-1])
        if keeps_time:
            os.utime(file.target, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert fetch(tmp_path, file).n_kept == 1  # the control: this is what use_reading is for
        assert fetch(tmp_path, file, use_reading=keeps_time).n_fetched == 1
    assert (
        "1 files are not as they should be (changed or damaged), set aside and fetched again: a/data.tsv" in caplog.text
    )
    assert file.target.read_bytes() == BODY


def test_a_damaged_file_does_not_keep_its_name_while_the_server_is_away(tmp_path: Path) -> None:
    with running() as server:
        file = remote(server, tmp_path)
        fetch(tmp_path, file)
        file.target.write_bytes(b"damaged")
        server.script = {"/a": [fixed(404)]}
        failure(tmp_path, file)


def test_records_that_were_cut_off_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(BODY)
    (tmp_path / "y").write_bytes(BODY)
    verified = VerifiedFiles(tmp_path)
    verified.add(tmp_path / "x", MD5)
    path = tmp_path / ".transfer/verified"
    path.write_text(path.read_text() + f"y\t5000\t{(tmp_path / 'y').stat().st_mtime_ns}\t{'0' * 20}")
    again = VerifiedFiles(tmp_path)
    assert again.recorded_md5(tmp_path / "x") == MD5
    assert again.recorded_md5(tmp_path / "y") is None
    again.add(tmp_path / "y", MD5)
    assert VerifiedFiles(tmp_path).recorded_md5(tmp_path / "y") == MD5


# ---- files of which less is known ----


def test_without_md5_the_announced_one_counts(tmp_path: Path) -> None:
    google = f"crc32c=AAAAAA==,md5={base64.b64encode(hashlib.md5(BODY).digest()).decode()}"
    with running(a=[fixed(200, BODY[::-1], x_goog_hash=google), whole(x_goog_hash=google)]) as server:
        file = remote(server, tmp_path, md5=None, size=None)
        assert fetch(tmp_path, file).md5 == {"a": MD5}
        assert len(server.asked) == 2
        assert fetch(tmp_path, file).n_kept == 1
        assert len(server.asked) == 2
    assert file.target.read_bytes() == BODY


def test_without_md5_and_validator_nothing_is_continued(tmp_path: Path) -> None:
    with running(a=[cut(2000), fixed(404)]) as server:
        file = remote(server, tmp_path, md5=None)
        failure(tmp_path, file)
        server.asked.clear()
        server.script = {"/a": [whole()]}
        fetch(tmp_path, file)
        assert server.ranges == [None]
    assert file.target.read_bytes() == BODY


def test_an_empty_file(tmp_path: Path) -> None:
    with running(a=[fixed(200, b"")]) as server:
        file = remote(server, tmp_path, size=0, md5=hashlib.md5(b"").hexdigest())
        fetch(tmp_path, file)
    assert file.target.read_bytes() == b""


@pytest.mark.parametrize(
    ("headers", "md5"),
    [
        ({"Content-MD5": MD5.upper()}, MD5),
        ({"Content-MD5": base64.b64encode(bytes.fromhex(MD5)).decode()}, MD5),
        ({"x-goog-hash": f"md5={base64.b64encode(bytes.fromhex(MD5)).decode()}"}, MD5),
        ({"Content-MD5": "nonsense"}, None),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, None),
        ({}, None),
    ],
)
def test_announced_md5(headers: dict[str, str], md5: str | None) -> None:
    assert announced_md5(requests.structures.CaseInsensitiveDict(headers)) == md5


def test_addresses_are_shown_without_secrets() -> None:
    assert where("https://user:word@host:8/a/b?sig=1#x") == "https://host:8/a/b"


# ---- the folder ----


def test_targets_outside_the_folder_are_our_own_fault(tmp_path: Path) -> None:
    for target in (tmp_path.parent / "x", tmp_path / "../x"):
        with pytest.raises(ValueError, match="is not in"):
            fetch(tmp_path, RemoteFile("a", "http://127.0.0.1:9/", target))
    twice = RemoteFile("a", "http://127.0.0.1:9/", tmp_path / "x")
    with pytest.raises(ValueError, match="same id or target"):
        fetch(tmp_path, twice, twice)


def test_no_more_than_the_workers_at_once(tmp_path: Path) -> None:
    now, most = [0], [0]
    lock = threading.Lock()

    def counted(handler: Handler) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1
        whole()(handler)

    with running() as server:
        files = [remote(server, tmp_path, f"f{number}") for number in range(12)]
        server.script = {f"/{file.file_id}": [counted] for file in files}
        fetch(tmp_path, *files, policy=TransferPolicy(n_workers=3))
    assert 2 <= most[0] <= 3


def test_about_ten_lines_of_progress(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with running() as server:
        fetch(tmp_path, *[remote(server, tmp_path, f"f{number:02d}") for number in range(40)])
    lines = [one.getMessage() for one in caplog.records if " MB/s, " in one.getMessage()]
    assert 8 <= len(lines) <= 11
    assert re.fullmatch(r"\d+ of 40 files, 0\.2 of 0\.2 MB, [\d.]+ MB/s, 0 s left", lines[-1])


def test_a_disk_without_room_is_found_before_any_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "free_bytes", lambda _: 9999)
    with running() as server:
        files = [remote(server, tmp_path, name) for name in "ab"]
        with pytest.raises(DataError, match=r"too full: 0\.0 MB are still to be fetched \(10000 bytes\)") as caught:
            fetch(tmp_path, *files)
        assert caught.value.exit_code == 2
        assert server.asked == []
        monkeypatch.setattr(transfer, "free_bytes", lambda _: 10000)
        fetch(tmp_path, *files)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_stops_everything_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    real = transfer_file.FileTransfer._write
    room = [12_000]

    def write(self: Any, handle: Any, chunk: bytes) -> None:
        if room[0] < len(chunk):
            raise transfer_file.CannotWriteError(self._file.part, OSError(number, os.strerror(number)))
        room[0] -= len(chunk)
        real(self, handle, chunk)

    with running() as server:
        files = [remote(server, tmp_path, f"f{number}") for number in range(30)]
        with monkeypatch.context() as patch:
            patch.setattr(transfer_file.FileTransfer, "_write", write)
            with pytest.raises(DataError) as caught:
                fetch(tmp_path, *files)
        assert len(server.asked) < 8
        expected = "cannot be written: Input/output error" if number == errno.EIO else "the disk is too full"
        assert expected in str(caught.value)
        assert "what has arrived is kept" in str(caught.value)
        assert "try 2" not in caplog.text
        assert all(file.target.read_bytes() == BODY for file in files if file.target.exists())
        fetch(tmp_path, *files)
    assert all(file.target.read_bytes() == BODY for file in files)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 kB, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    with running() as server:
        # Sizes that nobody knows beforehand: the disk fills up in the middle of a file.
        files = [remote(server, small_disk, f"f{number:02d}", size=None) for number in range(40)]
        with pytest.raises(DataError, match="the disk is too full"):
            fetch(small_disk, *files, policy=TransferPolicy(n_workers=4))
        there = [file for file in files if file.target.exists()]
        assert len(there) >= 3
        # What did not fit: one file a worker, and one more that it had taken up before it heard of the end.
        assert len(server.asked) <= len(there) + 2 * 4
        assert all(file.target.read_bytes() == BODY for file in there)
        known = [remote(server, small_disk, f"f{number:02d}") for number in range(40)]
        server.asked.clear()
        with pytest.raises(DataError, match=r"too full: 0\.1 MB are still to be fetched .* and 0\.0 MB are free"):
            fetch(small_disk, *known)
        assert server.asked == []


LIMITED = """
import resource, sys
from pathlib import Path
from bulkrnabert.data.sources.transfer import *
from bulkrnabert.errors import DataError
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
folder = Path(sys.argv[1])
file = RemoteFile("a", sys.argv[2] + "/a", folder / "a/data.tsv", 5000, sys.argv[3])
try:
    fetch_all(open_session(1, use_environment=False), [file], TransferPolicy(), folder=folder)
except DataError as error:
    sys.exit(str(error))
"""


def test_a_write_that_the_system_refuses(tmp_path: Path) -> None:
    """The real thing: the kernel writes the first 3,000 bytes and no more."""
    with running() as server:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(tmp_path), server.url, MD5], capture_output=True, text=True, check=False
        )
        assert len(server.asked) == 1
    assert done.returncode == 1
    assert "data.tsv.part: cannot be written: File too large; mend it" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(tmp_path) == {"data.tsv.part", "data.tsv.part.json"}


HOLDER = """
import sys, time
from pathlib import Path
from bulkrnabert.data.sources.transfer import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def held(folder: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_one_download_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path, 60) as holder:
        with (
            pytest.raises(ConfigError, match=rf"another download is at work here \(process {holder.pid} on .*--wait"),
            folder_lock(tmp_path),
        ):
            pytest.fail("two at once")
        holder.kill()
        holder.wait()
        with folder_lock(tmp_path):  # at once, though nobody tidied up
            pass


def test_waiting_for_another_download(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with held(tmp_path, 3) as holder, folder_lock(tmp_path, use_wait=True):
        assert holder.wait(timeout=60) == 0
    assert "waiting for another download (process" in caplog.text


@pytest.mark.parametrize("has_locks", [True, False])
def test_lists_that_a_killed_download_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_locks: bool
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    caplog.set_level(logging.INFO)
    with atomic_path(tmp_path / "manifest.tsv") as partial:
        partial.write_text("")
    lists = [tmp_path / partial.parent.name, tmp_path / ".plan.json.abcdefgh.part"]
    others = [tmp_path / name for name in (".cohorts.abcdefgh.part", "plan.json.part", "id")]
    with held(tmp_path, 60):
        for folder in (*lists, *others):
            folder.mkdir()
            (folder / "half").write_text("{")
        with pytest.raises(ConfigError), folder_lock(tmp_path):
            pytest.fail("two at once")
        assert all(folder.is_dir() for folder in lists)  # they may be of the one at work
    if not has_locks:
        monkeypatch.setattr(transfer_folder.fcntl, "flock", no_locks)
    with folder_lock(tmp_path):
        assert {folder.is_dir() for folder in lists} == {not has_locks}
    assert all(folder.is_dir() for folder in others)
    assert ("removed 2 unfinished lists" in caplog.text) == has_locks
    assert ("this file system has no locks" in caplog.text) != has_locks


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written.*choose another --out"), folder_lock(tmp_path / "file/x"):
        pass
