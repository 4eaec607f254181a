"""Each fault of the stand-in portal, seen on the wire."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import socket
import tarfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import get_args

import pytest
import requests

from bulkrnabert.data.sources.gdc_faults import FAULTS, Fault, FaultKind, FaultScript, describe_faults, read_faults
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.errors import ConfigError

STUDY = SyntheticStudy.create(seed=5, cohorts=2, patients_per_cohort=12, genes=200, probes=100)
OPEN = [file for file in STUDY.all_files.values() if file.access == "open" and file.change == "released"]
FILE_ID = OPEN[0].file_id
BODY = STUDY.file_body(FILE_ID)
TWO = f"/data/{OPEN[0].file_id},{OPEN[1].file_id}"
DATA = f"/data/{FILE_ID}"


@dataclass
class Raw:
    """An answer as it came over the wire; `end` is how it ended."""

    status: int
    headers: dict[str, str]
    body: bytes
    end: str
    seconds: float


def raw(handle: ServerHandle, path: str = DATA, **headers: str) -> Raw:
    """Ask on a fresh connection and read to the end of it, without trust in any header."""
    host, port = handle.url.removeprefix("http://").split(":")
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    began = time.monotonic()
    received, end = b"", "closed"
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n".encode())
        try:
            while piece := connection.recv(1 << 16):
                received += piece
        except ConnectionResetError:
            end = "reset"
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    found = dict(line.split(": ", 1) for line in lines)
    return Raw(int(first.split()[1]) if first else 0, found, body, end, time.monotonic() - began)


def struck(fault: str, path: str = DATA, *, headers: dict[str, str] | None = None, **options: object) -> Raw:
    with serve(STUDY, [Fault(fault=fault, **options)]) as handle:
        return raw(handle, path, **(headers or {}))


def members_of(body: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        return [(info.name, archive.extractfile(info).read() if info.isfile() else b"") for info in archive]


def archive(fault: str | None) -> requests.Response:
    with serve(STUDY, [Fault(fault=fault)] if fault else []) as handle:
        return requests.get(f"{handle.url}{TWO}", timeout=5)


def search(fault: str, path: str = "/files", **options: object) -> dict:
    question = {
        "size": 4,
        "from": 4,
        "sort": "file_id:asc",
        "fields": "file_id,file_name,md5sum,file_size,cases.case_id",
    }
    if path == "/cases":
        question = {"size": 4, "sort": "case_id:asc", "expand": "demographic"}
    with serve(STUDY, [Fault(fault=fault, **options)]) as handle:
        return requests.post(f"{handle.url}{path}", json=question, timeout=5).json()


def right_page(path: str = "/files") -> dict:
    return search("delay", path)  # of no seconds: the right answer


# ---- answers in place of the right one ----


@pytest.mark.parametrize("status", [503, 500, 502, 504, 405])
@pytest.mark.parametrize("kind", ["status", "html_status"])
def test_status(kind: str, status: int) -> None:
    answer = struck(kind, status=status)
    assert answer.status == status
    assert ("<html>" in answer.body.decode()) == (kind == "html_status")
    assert answer.headers["Content-Type"] == ("text/html" if kind == "html_status" else "application/json")
    assert "Retry-After" not in answer.headers
    assert struck(kind, status=status, retry_after="7").headers["Retry-After"] == "7"


def test_retry_after_in_every_form() -> None:
    assert struck("retry_after").headers["Retry-After"] == "0"
    assert struck("retry_after", retry_after="3600").headers["Retry-After"] == "3600"
    assert "Retry-After" not in struck("retry_after", retry_after="").headers
    fixed = "Fri, 31 Dec 2027 23:59:59 GMT"
    assert struck("retry_after", retry_after=fixed).headers["Retry-After"] == fixed
    answer = struck("retry_after", retry_after="in:90")
    assert answer.status == 429
    assert 85 < parsedate_to_datetime(answer.headers["Retry-After"]).timestamp() - time.time() < 91


@pytest.mark.parametrize(("kind", "begins"), [("html_200", b"<html"), ("json_200", b"{"), ("empty_200", b"")])
def test_wrong_200(kind: str, begins: bytes) -> None:
    answer = struck(kind)
    assert answer.status == 200
    assert answer.body.startswith(begins)
    assert len(answer.body) == int(answer.headers["Content-Length"]) != len(BODY)
    assert "Content-MD5" not in answer.headers


def test_redirect() -> None:
    answer = struck("redirect", text="http://elsewhere.invalid/x")
    assert (answer.status, answer.headers["Location"]) == (302, "http://elsewhere.invalid/x")


def test_close_before_headers() -> None:
    with serve(STUDY, [Fault(fault="close_before_headers")]) as handle:
        answer = raw(handle)
        assert (answer.status, answer.headers, answer.body) == (0, {}, b"")
        assert handle.requests[0].status == 0
        assert raw(handle).body == BODY


# ---- broken deliveries ----


def test_truncate_announces_everything() -> None:
    answer = struck("truncate", at_bytes=100)
    assert answer.headers["Content-Length"] == str(len(BODY))
    assert (answer.body, answer.end) == (BODY[:100], "closed")


def test_truncate_of_an_archive_ends_within_chunks() -> None:
    answer = struck("truncate", TWO, at_bytes=100)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.body.startswith(b"64\r\n")
    assert not answer.body.endswith(b"0\r\n\r\n")


def test_chunked_cut_has_no_last_chunk() -> None:
    answer = struck("chunked_cut", at_bytes=100)
    assert "Content-Length" not in answer.headers
    assert answer.body == b"64\r\n" + BODY[:100] + b"\r\n"


def test_short_body_ends_cleanly() -> None:
    answer = struck("short_body", at_bytes=100)
    assert answer.headers["Content-Length"] == "100"
    assert answer.body == BODY[:100]
    with serve(STUDY, [Fault(fault="short_body", at_bytes=100)]) as handle:
        whole = requests.get(f"{handle.url}{TWO}", timeout=5).content  # ends as it should, for HTTP
    assert len(whole) == 100
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(whole)


def test_reset() -> None:
    with serve(STUDY, [Fault(fault="reset", at_bytes=5)]) as handle:
        host, port = handle.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(f"GET {DATA} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert handle.wait_until_idle()
            time.sleep(0.05)
            with pytest.raises(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass


@pytest.mark.parametrize("at_bytes", [0, 5, 10**9])
def test_stall_pauses_and_goes_on(at_bytes: int) -> None:
    answer = struck("stall", at_bytes=at_bytes, seconds=0.15)
    assert answer.body == BODY
    assert answer.seconds >= 0.15


def test_drip_is_slow_but_whole() -> None:
    answer = struck("drip", bytes_per_s=len(BODY) * 4)
    assert answer.body == BODY
    assert 0.2 < answer.seconds < 2


def test_delay_comes_before_everything() -> None:
    answer = struck("delay", seconds=0.15)
    assert answer.body == BODY
    assert answer.seconds >= 0.15


def test_corrupt_flips_one_byte() -> None:
    answer = struck("corrupt", at_bytes=7)
    assert [at for at, (new, old) in enumerate(zip(answer.body, BODY, strict=True)) if new != old] == [7]
    assert answer.headers["Content-MD5"] == hashlib.md5(BODY).hexdigest()


def test_gzip_encoding() -> None:
    answer = struck("gzip_encoding")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert gzip.decompress(answer.body) == BODY


# ---- headers ----


def test_no_length_ends_with_the_connection() -> None:
    answer = struck("no_length")
    assert not {"Content-Length", "Transfer-Encoding"} & set(answer.headers)
    assert answer.body == BODY


@pytest.mark.parametrize(
    ("kind", "header"), [("no_content_md5", "Content-MD5"), ("no_disposition", "Content-Disposition")]
)
def test_headers_left_out(kind: str, header: str) -> None:
    answer = struck(kind)
    assert header not in answer.headers
    assert answer.body == BODY


def test_bad_header_md5() -> None:
    answer = struck("bad_header_md5")
    assert answer.headers["Content-MD5"] == "0" * 32
    assert answer.body == BODY


@pytest.mark.parametrize("name", ["../evil", "/evil/absolute.tsv", "x" * 300])
def test_disposition(name: str) -> None:
    assert struck("disposition", text=name).headers["Content-Disposition"] == f"attachment; filename={name}"


# ---- ranges ----


def test_ignore_range() -> None:
    answer = struck("ignore_range", headers={"Range": "bytes=10-"})
    assert (answer.status, answer.body) == (200, BODY)
    assert "Content-Range" not in answer.headers


def test_bad_content_range() -> None:
    answer = struck("bad_content_range", headers={"Range": "bytes=10-19"})
    assert (answer.status, answer.body) == (206, BODY[10:20])
    assert answer.headers["Content-Range"] == f"bytes 11-20/{len(BODY)}"
    assert "Content-Range" not in struck("bad_content_range").headers


def test_wrong_range_length() -> None:
    answer = struck("wrong_range_length", headers={"Range": "bytes=10-19"})
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (206, BODY[10:19], "9")
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(BODY)}"


def test_file_changed_between_segments() -> None:
    with serve(STUDY, [Fault(fault="file_changed", path="/data", nth=2, times=0)]) as handle:
        first = raw(handle, Range="bytes=0-99")
        second = raw(handle, Range="bytes=100-")
        guarded = raw(handle, Range="bytes=100-", If_Range=first.headers["ETag"])
    changed = BODY + b"# changed\n"
    assert (second.status, second.body) == (206, changed[100:])
    assert second.headers["ETag"] != first.headers["ETag"]
    assert second.headers["Content-MD5"] == hashlib.md5(changed).hexdigest()
    assert second.headers["Content-Range"] == f"bytes 100-{len(changed) - 1}/{len(changed)}"
    assert (guarded.status, guarded.body) == (200, changed)


# ---- archives ----


def test_archive_without_fault() -> None:
    names = [name for name, _ in members_of(archive(None).content)]
    assert names == ["MANIFEST.txt", *(f"{file.file_id}/{file.file_name}" for file in OPEN[:2])]


@pytest.mark.parametrize(
    ("kind", "is_wrong"),
    [
        ("tar_missing_member", lambda new, old: new == old[:-1]),
        ("tar_extra_member", lambda new, old: new[:-1] == old and new[-1][0].endswith("/extra.tsv")),
        ("tar_traversal_member", lambda new, old: new[:-1] == old and new[-1][0].startswith("../")),
        ("tar_absolute_member", lambda new, old: new[:-1] == old and new[-1][0].startswith("/")),
        ("tar_symlink_member", lambda new, old: new[:-1] == old and new[-1][0].endswith("/link.tsv")),
        ("tar_duplicate_member", lambda new, old: new[:-1] == old and new[-1][0] == old[-1][0] and new[-1] != old[-1]),
        (
            "tar_corrupt_member",
            lambda new, old: new[:-1] == old[:-1] and new[-1][1][1:] == old[-1][1][1:] != new[-1][1],
        ),
        ("tar_bad_manifest", lambda new, old: new[1:] == old[1:] and new[0][1].count(b"0" * 32) == 2),
    ],
)
def test_faults_of_an_archive(kind: str, is_wrong: Callable[[list, list], bool]) -> None:
    new, old = members_of(archive(kind).content), members_of(archive(None).content)
    assert new != old
    assert is_wrong(new, old)
    assert struck(kind).body == BODY  # one file is no archive


def test_the_symbolic_link_is_one() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive("tar_symlink_member").content), mode="r:gz") as opened:
        assert [info.issym() for info in opened] == [False, False, False, True]


# ---- searches ----


@pytest.mark.parametrize(
    ("kind", "options", "is_wrong"),
    [
        ("duplicate_hit", {}, lambda new, old: new["hits"] == [old["hits"][0], *old["hits"][:-1]]),
        ("missing_hit", {}, lambda new, old: new["hits"] == old["hits"][:-1]),
        ("empty_page", {}, lambda new, old: new["hits"] == [] and new["pagination"] == old["pagination"]),
        ("total_changes", {}, lambda new, old: new["pagination"]["total"] == old["pagination"]["total"] + 1),
        ("wrong_pages", {}, lambda new, old: new["pagination"]["pages"] == old["pagination"]["pages"] + 1),
        ("from_1_based", {}, lambda new, old: new["hits"][1:] == old["hits"][:-1]),
        ("wrong_md5", {}, lambda new, old: {hit["md5sum"] for hit in new["hits"]} == {"0" * 32}),
        ("wrong_size", {}, lambda new, old: new["hits"][0]["file_size"] == old["hits"][0]["file_size"] + 1),
        ("file_name", {"text": "../x"}, lambda new, old: {hit["file_name"] for hit in new["hits"]} == {"../x"}),
        ("drop_field", {"text": "md5sum"}, lambda new, old: not any("md5sum" in hit for hit in new["hits"])),
        ("drop_field", {"text": "cases.case_id"}, lambda new, old: new["hits"][0]["cases"] == [{}]),
        ("null_field", {"text": "md5sum"}, lambda new, old: {hit["md5sum"] for hit in new["hits"]} == {None}),
        ("two_cases", {}, lambda new, old: [len(hit["cases"]) for hit in new["hits"]] == [2] * 4),
    ],
)
def test_faults_of_a_page(kind: str, options: dict, is_wrong: Callable[[dict, dict], bool]) -> None:
    new, old = search(kind, **options), right_page()
    assert new["data"] != old["data"]
    assert new["warnings"] == {}
    assert is_wrong(new["data"], old["data"])


def test_fields_of_cases_can_go_too() -> None:
    new = search("drop_field", "/cases", text="demographic.vital_status")["data"]["hits"]
    old = right_page("/cases")["data"]["hits"]
    assert not any("vital_status" in hit.get("demographic", {}) for hit in new)
    assert any("vital_status" in hit.get("demographic", {}) for hit in old)


def test_warnings() -> None:
    body = search("warnings")
    assert body["warnings"] == {"fields": "unrecognized values: [demographic.gender]"}
    assert body["data"] == right_page()["data"]


def test_release_flips_mid_run() -> None:
    with serve(STUDY, [Fault(fault="release_flip", path="/status", nth=2, times=0)]) as handle:
        releases = [json.loads(raw(handle, "/v0/status").body)["data_release"] for _ in range(3)]
    assert releases[0] != releases[1] == releases[2]


# ---- scripts ----


def test_every_fault_is_described_and_tested() -> None:
    assert set(FAULTS) == set(get_args(FaultKind))
    source = Path(__file__).read_text()
    assert [kind for kind in FAULTS if f'"{kind}"' not in source] == []
    assert all(kind in describe_faults() for kind in FAULTS)
    assert 'method="*"' in describe_faults()


def test_faults_add_up() -> None:
    faults = [
        Fault(fault="no_content_md5"),
        Fault(fault="corrupt", at_bytes=0),
        Fault(fault="truncate", at_bytes=10),
        Fault(fault="delay", seconds=0.1),
    ]
    with serve(STUDY, faults) as handle:
        answer = raw(handle)
    assert "Content-MD5" not in answer.headers
    assert answer.body == bytes([BODY[0] ^ 0xFF]) + BODY[1:10]
    assert answer.seconds >= 0.1
    with serve(STUDY, [Fault(fault="status", status=502), Fault(fault="html_200"), Fault(fault="delay")]) as handle:
        assert raw(handle).status == 502


def test_an_error_keeps_its_content() -> None:
    with serve(STUDY, [Fault(fault="corrupt"), Fault(fault="truncate")]) as handle:
        answer = raw(handle, "/data/nobody")
    assert answer.status == 404
    assert json.loads(answer.body)["message"] == "no file nobody"


def test_counting() -> None:
    script = FaultScript(
        [
            Fault(fault="corrupt", method="GET", path="^/data/", nth=2, times=2),
            Fault(fault="stall", path="^/data/", each_path=True),
        ]
    )
    struck_by = [
        [fault.fault for fault in script.strike(method, path)]
        for method, path in (
            ("GET", "/data/a"),
            ("POST", "/data/a"),
            ("GET", "/v0/data/a"),
            ("GET", "/data/b"),
            ("GET", "/data/b"),
            ("GET", "/status"),
        )
    ]
    assert struck_by == [["stall"], [], ["corrupt"], ["corrupt", "stall"], [], []]


def test_a_bad_script_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        '[{"fault": "stall"}, {"fault": "earthquake"}, {"fault": "drip", "bytes_per_s": 0, "path": "("}, 3]'
    )
    with pytest.raises(ConfigError) as caught:
        read_faults(path)
    message = str(caught.value)
    assert "entry 1" not in message
    assert "entry 2: `fault`: Input should be 'status', " in message
    assert "entry 3: 2 problems" in message
    assert "entry 4: expected `key: value` lines for Fault, found int" in message
    assert message.endswith("`bulkrnabert serve-gdc --list-faults` says what there is")


def test_script_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text('[{"fault": "truncate", "path": "/data/", "at_bytes": 3}]')
    assert read_faults(path) == [Fault(fault="truncate", path="/data/", at_bytes=3)]
    path.write_text('[{"fault": "truncate"}, {"fault": "earthquake", "path": "("}]')
    with pytest.raises(ConfigError, match="entry 2: 2 problems"):
        read_faults(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="expected a list of faults, found dict"):
        read_faults(path)
    path.write_text("[")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        read_faults(path)
