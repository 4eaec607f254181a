"""Downloads from the stand-in portal: ranges, archives, switches, refusals; and what the server notes."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_standin import ServerHandle, serve
from bulkrnabert.data.synthetic import SyntheticStudy
from bulkrnabert.data.synthetic_files import BodyCache

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def study() -> SyntheticStudy:
    return SyntheticStudy.create(seed=5, cohorts=2, patients_per_cohort=12, genes=200, probes=100)


@pytest.fixture(scope="module")
def portal(study: SyntheticStudy) -> Iterator[ServerHandle]:
    with serve(study) as handle:
        yield handle


def one_of(study: SyntheticStudy, **wanted: str) -> str:
    return next(
        file_id
        for file_id, file in study.all_files.items()
        if all(getattr(file, name) == value for name, value in wanted.items())
    )


def open_ids(study: SyntheticStudy, n: int) -> list[str]:
    files = study.all_files.values()
    return [file.file_id for file in files if file.access == "open" and file.change == "released"][:n]


def get(portal: ServerHandle, path: str, **headers: str) -> requests.Response:
    return requests.get(
        f"{portal.url}{path}", headers={name.replace("_", "-"): v for name, v in headers.items()}, timeout=60
    )


def members_of(body: bytes, mode: str = "r:gz") -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body), mode=mode) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


# ---- one file ----


def test_headers_of_one_file(portal: ServerHandle, study: SyntheticStudy) -> None:
    (file_id,) = open_ids(study, 1)
    response = get(portal, f"/v0/data/{file_id}")
    md5, size = study.integrity(file_id)
    headers = dict(response.headers)
    assert response.content == study.file_body(file_id)
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == f"attachment; filename={study.all_files[file_id].file_name}"
    assert headers["Content-MD5"] == md5
    assert headers["ETag"] == f'"{md5}"'
    assert headers["Content-Length"] == str(size)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Last-Modified"].endswith(" GMT")
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    ("byte_range", "status", "first", "last"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=100-", 206, 100, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=5-99999999", 206, 5, None),
        ("bytes=99999999-", 416, None, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("lines=0-1", 200, 0, None),
        ("bytes=-", 200, 0, None),
    ],
)
def test_ranges(
    portal: ServerHandle, study: SyntheticStudy, byte_range: str, status: int, first: int | None, last: int | None
) -> None:
    (file_id,) = open_ids(study, 1)
    body = study.file_body(file_id)
    response = get(portal, f"/data/{file_id}", Range=byte_range)
    assert response.status_code == status
    if status == 416:
        assert response.headers["Content-Range"] == f"bytes */{len(body)}"
        assert response.content == b""
        return
    expected = body[first:last]
    assert response.content == expected
    assert ("Content-Range" in response.headers) == (status == 206)
    if status == 206:
        at = body.index(expected) if first is None else first % len(body)
        assert response.headers["Content-Range"] == f"bytes {at}-{at + len(expected) - 1}/{len(body)}"


def test_if_range(portal: ServerHandle, study: SyntheticStudy) -> None:
    (file_id,) = open_ids(study, 1)
    whole = get(portal, f"/data/{file_id}")
    for value, status in (
        (whole.headers["ETag"], 206),
        (whole.headers["Last-Modified"], 206),
        ('"another"', 200),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 200),
    ):
        response = get(portal, f"/data/{file_id}", Range="bytes=10-", If_Range=value)
        assert response.status_code == status
        assert response.content == (whole.content[10:] if status == 206 else whole.content)


def test_compress_one_file(portal: ServerHandle, study: SyntheticStudy) -> None:
    (file_id,) = open_ids(study, 1)
    response = get(portal, f"/data/{file_id}?compress")
    assert gzip.decompress(response.content) == study.file_body(file_id)
    assert response.headers["Content-Disposition"].endswith(".tsv.gz")
    assert "Content-Encoding" not in response.headers
    plain = get(portal, f"/data/{file_id}?compress=false&related_files=true")
    assert plain.content == study.file_body(file_id)


# ---- several files ----


@pytest.mark.parametrize("form", ["path", "json", "form", "commas"])
def test_archive_of_several(portal: ServerHandle, study: SyntheticStudy, form: str) -> None:
    ids = open_ids(study, 3)
    url = f"{portal.url}/data"
    response = {
        "path": lambda: requests.get(f"{url}/{','.join(ids)}", timeout=5),
        "json": lambda: requests.post(url, json={"ids": ids}, timeout=5),
        "form": lambda: requests.post(url, data={"ids": ids}, timeout=5),
        "commas": lambda: requests.post(url, data={"ids": ",".join(ids)}, timeout=5),
    }[form]()
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert not {"Content-Length", "Content-MD5", "Accept-Ranges", "ETag"} & set(response.headers)
    assert response.headers["Content-Disposition"].endswith(".tar.gz")
    members = members_of(response.content)
    assert set(members) == {"MANIFEST.txt"} | {f"{one}/{study.all_files[one].file_name}" for one in ids}
    lines = [line.split("\t") for line in members.pop("MANIFEST.txt").decode().splitlines()]
    assert lines[0] == ["id", "filename", "md5", "size", "state"]
    assert [line[0] for line in lines[1:]] == ids
    for name, body in members.items():
        assert body == study.file_body(name.split("/")[0])
        assert hashlib.md5(body).hexdigest() in {line[2] for line in lines}


def test_archive_switches(portal: ServerHandle, study: SyntheticStudy) -> None:
    ids = open_ids(study, 2)
    plain = get(portal, f"/data/{','.join(ids)}?tarfile")
    assert len(members_of(plain.content, "r:")) == 3
    assert plain.headers["Content-Disposition"].endswith(".tar")
    assert len(members_of(get(portal, f"/data/{','.join(ids)}?tarfile=true&compress").content)) == 3
    single = get(portal, f"/data/{ids[0]}?tarfile=true")
    assert set(members_of(single.content, "r:")) == {"MANIFEST.txt", f"{ids[0]}/{study.all_files[ids[0]].file_name}"}
    again = get(portal, f"/data/{ids[0]},{ids[0]}")
    assert again.content == study.file_body(ids[0])


def test_annotated_files_bring_their_annotations(portal: ServerHandle, study: SyntheticStudy) -> None:
    note = study.annotations()[0]
    annotated = next(one for one, file in study.all_files.items() if file.patient.case_id == note["case_id"])
    other = next(one for one in open_ids(study, 5) if one != annotated)
    members = members_of(get(portal, f"/data/{annotated},{other}").content)
    assert note["category"] in members[f"{annotated}/annotations.txt"].decode()
    assert f"{other}/annotations.txt" not in members


def test_one_bad_id_refuses_the_whole_request(portal: ServerHandle, study: SyntheticStudy) -> None:
    (good,) = open_ids(study, 1)
    for bad, status in (
        (one_of(study, access="controlled"), 403),
        (NOBODY, 404),
        (one_of(study, change="superseded"), 404),
        (one_of(study, change="redacted"), 451),
    ):
        for ids in (bad, f"{good},{bad}", f"{bad},{good}"):
            response = get(portal, f"/data/{ids}")
            assert response.status_code == status
            assert response.json()["message"]
    assert requests.post(f"{portal.url}/data", json={"ids": []}, timeout=5).status_code == 400


def test_the_good_token_opens_closed_files(portal: ServerHandle, study: SyntheticStudy) -> None:
    closed = one_of(study, access="controlled")
    assert get(portal, f"/data/{closed}", X_Auth_Token="good").content == study.file_body(closed)
    assert "expired" in get(portal, f"/data/{closed}", X_Auth_Token="bad").json()["message"]
    redacted = one_of(study, change="redacted")
    assert get(portal, f"/data/{redacted}", X_Auth_Token="good").status_code == 451


# ---- what the server notes ----


def test_log_has_what_a_test_needs(study: SyntheticStudy, tmp_path: Path) -> None:
    (file_id,) = open_ids(study, 1)
    log = tmp_path / "requests.jsonl"
    with serve(study, [Fault(fault="truncate", path="/data", at_bytes=9, nth=2)], log=log) as handle:
        # An answer is whole for the client a moment before the server is done with it.
        get(handle, f"/data/{file_id}", Range="bytes=3-12", If_Range='"x"')
        assert handle.wait_until_idle()
        with pytest.raises(requests.RequestException):
            get(handle, f"/data/{file_id}")
        assert handle.wait_until_idle()
        requests.post(f"{handle.url}/v0/files", json={"size": 1}, timeout=5)
        assert handle.wait_until_idle()
        get(handle, "/nothing")
        assert handle.wait_until_idle()
        noted = handle.requests
    assert [(one.method, one.path, one.status) for one in noted] == [
        ("GET", f"/data/{file_id}", 200),
        ("GET", f"/data/{file_id}", 200),
        ("POST", "/v0/files", 200),
        ("GET", "/nothing", 404),
    ]
    assert (noted[0].byte_range, noted[0].if_range) == ("bytes=3-12", '"x"')
    assert noted[0].bytes_sent == study.integrity(file_id)[1]
    assert noted[1].bytes_sent == 9
    assert noted[2].body == '{"size": 1}'
    assert all(one.in_flight == 1 for one in noted)
    assert [one.time_s for one in noted] == sorted(one.time_s for one in noted)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["status"], line["bytes_sent"]) for line in lines] == [
        (one.path, one.status, one.bytes_sent) for one in noted
    ]


def test_gauge_of_requests_in_flight(study: SyntheticStudy) -> None:
    with serve(study, [Fault(fault="delay", path="/status", times=0, seconds=60)]) as handle:
        threads = [threading.Thread(target=get, args=(handle, "/status")) for _ in range(3)]
        for thread in threads:
            thread.start()
        ends = time.monotonic() + 30
        while len(handle.requests) < 3 and time.monotonic() < ends:
            time.sleep(0.005)
    # A server that stops answers at once what it was delaying.
    for thread in threads:
        thread.join()
    assert handle.max_in_flight == 3
    assert max(one.in_flight for one in handle.requests) == 3


def test_the_server_does_not_wait_for_what_it_delays(study: SyntheticStudy) -> None:
    began = time.monotonic()
    with serve(study, [Fault(fault="delay", path="/status", seconds=60)]) as handle:
        host, port = handle.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.request("GET", "/status")
        while not handle.requests:
            time.sleep(0.005)
    assert time.monotonic() - began < 2
    connection.close()


def test_bodies_are_kept_up_to_a_limit() -> None:
    made = []

    def make(name: str) -> bytes:
        made.append(name)
        return name.encode() * 4

    cache = BodyCache(max_bytes=8)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name, lambda name=name: make(name)) == name.encode() * 4
    assert made == ["a", "b", "c", "b"]  # c drove out b, which had been asked for longest ago
    assert cache.get("long", lambda: make("long")) == b"long" * 4
    assert cache.get("long", lambda: make("long")) == b"long" * 4
    assert made.count("long") == 2  # larger than the cache: not kept, and nothing driven out for it
    cache.get("b", lambda: make("b"))
    assert made.count("b") == 2
