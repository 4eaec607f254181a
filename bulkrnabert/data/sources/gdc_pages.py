"""Reads the answers of the GDC's interface that are no files: pages of a search, single records, histories, versions.

An answer with warnings is an error: the portal drops a field that it does not know and answers 200.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from bulkrnabert.data.sources.transfer_http import shorten
from bulkrnabert.errors import PortalAnswerError, PortalError

Json = dict[str, Any]

_NO_SORT = frozenset({"", "None"})
_NO_SUCCESSOR = frozenset({"", "NA", "None"})
_UNKNOWN_NAMES = re.compile(r"unrecognized values: \[([^\[\]]+)\]")


@dataclass(frozen=True)
class SearchPage:
    """One page of a search.

    Attributes:
        hits: Records; each has an `id`.
        total: Records that the search finds on all pages.
        size: Records a page; 0 for a page that only counts.
        start: Records before this page.
        page: Number of this page from 1; 0 when nothing is found.
        pages: Number of pages; 0 when nothing is found.
        sort: What the records are sorted by; empty for unsorted.
        facets: By field, the number of records by value; the portal writes most values in lower case.
    """

    hits: tuple[Json, ...]
    total: int
    size: int
    start: int
    page: int
    pages: int
    sort: str
    facets: dict[str, dict[str, int]]


@dataclass(frozen=True)
class FileVersion:
    """One line of a file's history.

    Attributes:
        change: `released`, `superseded` or `redacted`.
        data_release: Number of the release that brought the change, as `32.0`.
    """

    file_id: str
    version: str
    change: str
    data_release: str


@dataclass(frozen=True)
class LatestFile:
    """A file and the newest version of it.

    Attributes:
        md5: Of the file that was asked for; this and the next are None where the portal does not say it.
        size: Bytes.
        latest_id: The file's own id when it is the newest; None when nothing took its place.
        latest_md5: None where the portal does not say it.
        latest_release: Newest release that has the newest version.
    """

    file_id: str
    md5: str | None
    size: int | None
    latest_id: str | None
    latest_md5: str | None
    latest_release: str


@dataclass(frozen=True)
class Donor:
    """One patient of a survival curve of the portal.

    Attributes:
        time_days: Days; zero and negative ones occur.
        is_censored: Whether the patient was alive then.
    """

    case_id: str
    patient_id: str
    project_id: str
    time_days: float
    is_censored: bool


def read_search_page(place: str, body: object, size: int | None = None, start: int | None = None) -> SearchPage:
    """Read a page of a search, which must say of itself what was asked for.

    Args:
        place: Where the answer comes from, for messages.
        body: The answer, read as JSON.
        size: Records a page that were asked for; None when not known.
        start: Records before the page; None when not known.
    Raises:
        PortalAnswerError: warnings, an error, or no page at all.
        PortalError: its numbers contradict each other or the question.
    """
    data = _data_of(place, body)
    hits, pagination = data.get("hits"), data.get("pagination")
    if not isinstance(hits, list) or not isinstance(pagination, dict):
        raise PortalAnswerError(f"{place}: expected `data.hits` and `data.pagination`, found {_shorten(body)}")
    numbers = {name: pagination.get(name) for name in ("total", "count", "size", "from", "page", "pages")}
    wrong = [name for name, value in numbers.items() if not _is_count(value)]
    if wrong or not all(isinstance(hit, dict) and isinstance(hit.get("id"), str) for hit in hits):
        what = f"`pagination.{wrong[0]}` {numbers[wrong[0]]!r}" if wrong else "a record without an id"
        raise PortalAnswerError(f"{place}: {what}; expected whole numbers and records with an `id`")
    total, own_size, own_start = pagination["total"], pagination["size"], pagination["from"]
    expected = {
        # A portal may give fewer records a page than asked for, never more.
        "size": own_size if size is None or 0 < own_size < size else size,
        "from": own_start if start is None else start,
        "count": len(hits),
        "pages": -(-total // own_size) if own_size else total,
        "page": own_start // own_size + 1 if own_size else 1,
    }
    if total == 0:
        expected["page"] = 0
    for name, value in expected.items():
        if pagination[name] != value:
            raise PortalError(
                f"{place}: `pagination.{name}` is {pagination[name]!r} where {value} is expected ({len(hits)} records"
                f" after {own_start}, {total} in all, {own_size} a page); its pages do not fit together, run it again"
            )
    sort = str(pagination.get("sort") or "")
    return SearchPage(
        hits=tuple(hits),
        total=total,
        size=own_size,
        start=own_start,
        page=pagination["page"],
        pages=pagination["pages"],
        sort="" if sort in _NO_SORT else sort,
        facets=_read_facets(place, data.get("aggregations") or {}),
    )


def unknown_fields(body: object) -> frozenset[str]:
    """The fields that a portal says it does not know; none when it does not warn, or warns of something else too."""
    warnings = body.get("warnings") if isinstance(body, dict) else None
    if not isinstance(warnings, dict) or set(warnings) != {"fields"}:
        return frozenset()
    match = _UNKNOWN_NAMES.fullmatch(str(warnings["fields"]).strip())
    return frozenset(name.strip() for name in match[1].split(",")) if match else frozenset()


def read_single(place: str, body: object) -> Json:
    """Read the answer to a question about one record by its id.

    Raises:
        PortalAnswerError: warnings, an error, or a page of a search.
    """
    data = _data_of(place, body)
    if "hits" in data or "pagination" in data:
        raise PortalAnswerError(f"{place}: expected one record, found a page of a search")
    return data


def read_history(place: str, body: object) -> tuple[FileVersion, ...]:
    """Read a file's history, the oldest version first.

    Raises:
        PortalAnswerError: no list of versions.
    """
    return tuple(
        FileVersion(
            file_id=_text(place, line, "uuid"),
            version=_text(place, line, "version"),
            change=_text(place, line, "file_change"),
            data_release=_text(place, line, "data_release"),
        )
        for line in _lines(place, body)
    )


def read_versions(place: str, body: object) -> tuple[LatestFile, ...]:
    """Read which version of each file is the newest.

    Raises:
        PortalAnswerError: no list of files.
    """
    files = []
    for line in _lines(place, body):
        latest_id, latest_md5 = str(line.get("latest_id") or ""), str(line.get("latest_md5") or "")
        releases = line.get("latest_release")
        size = line.get("size")
        if size is not None and not _is_count(size):
            raise PortalAnswerError(f"{place}: file {line.get('id')!r} has size {size!r}; expected a number of bytes")
        files.append(
            LatestFile(
                file_id=_text(place, line, "id"),
                md5=None if line.get("md5") is None else _text(place, line, "md5"),
                size=size,
                latest_id=None if latest_id in _NO_SUCCESSOR else latest_id,
                latest_md5=None if latest_md5 in _NO_SUCCESSOR else latest_md5,
                latest_release=str(releases[-1]) if isinstance(releases, list) and releases else str(releases or ""),
            )
        )
    return tuple(files)


def read_survival_curves(place: str, body: object) -> tuple[tuple[Donor, ...], ...]:
    """Read the answer of `/analysis/survival`: the patients of each curve. Times are as published, negative ones too.

    Raises:
        PortalAnswerError: no curves.
    """
    results = body.get("results") if isinstance(body, dict) else None
    if not isinstance(results, list):
        raise PortalAnswerError(f"{place}: expected `results`, found {_shorten(body)}")
    curves = []
    for result in results:
        donors = []
        for donor in _lines(place, result.get("donors") if isinstance(result, dict) else None):
            time_days, is_censored = donor.get("time"), donor.get("censored")
            if isinstance(time_days, bool) or not isinstance(time_days, int | float) or type(is_censored) is not bool:
                raise PortalAnswerError(
                    f"{place}: patient {donor.get('submitter_id')!r} has time {time_days!r} and censored"
                    f" {is_censored!r}; expected days, and true or false"
                )
            donors.append(
                Donor(
                    case_id=_text(place, donor, "id"),
                    patient_id=_text(place, donor, "submitter_id"),
                    project_id=_text(place, donor, "project_id"),
                    time_days=float(time_days),
                    is_censored=is_censored,
                )
            )
        curves.append(tuple(donors))
    return tuple(curves)


def error_text(body: object) -> str:
    """What an answer that refuses says; empty when it is none."""
    if not isinstance(body, dict) or "data" in body:
        return ""
    return str(body.get("message") or body.get("error") or "")


def _data_of(place: str, body: object) -> Json:
    if error_text(body):
        raise PortalAnswerError(f"{place}: expected `data`, but the portal says: {shorten(error_text(body))}")
    if isinstance(body, dict) and body.get("warnings"):
        raise PortalAnswerError(
            f"{place}: the portal warns {_shorten(body['warnings'])}; "
            "its fields have changed, and this program must follow"
        )
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        raise PortalAnswerError(f"{place}: expected `data`, found {_shorten(body)}")
    return data


def _read_facets(place: str, aggregations: object) -> dict[str, dict[str, int]]:
    facets: dict[str, dict[str, int]] = {}
    for field, content in aggregations.items() if isinstance(aggregations, dict) else ():
        buckets = content.get("buckets") if isinstance(content, dict) else None
        facets[field] = {}
        for bucket in _lines(place, buckets):
            if not _is_count(bucket.get("doc_count")):
                raise PortalAnswerError(f"{place}: facet {field} has {_shorten(bucket)}; expected `doc_count`")
            facets[field][_text(place, bucket, "key")] = int(bucket["doc_count"])
    return facets


def _lines(place: str, body: object) -> list[Json]:
    if not isinstance(body, list) or not all(isinstance(line, dict) for line in body):
        raise PortalAnswerError(f"{place}: expected a list of records, found {error_text(body) or _shorten(body)}")
    return body


def _text(place: str, line: Json, key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise PortalAnswerError(f"{place}: {key} is {value!r} in {_shorten(line)}; expected a text")
    return str(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _shorten(value: object) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value))
