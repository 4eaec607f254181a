"""What the stand-in portal answers, without HTTP: a request in, status, headers and body out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from bulkrnabert.data.sources.gdc_answers import PortalRequest, PortalResponse, RefusalError, json_response
from bulkrnabert.data.sources.gdc_data import Downloads, ids_of_request
from bulkrnabert.data.sources.gdc_faults import Fault
from bulkrnabert.data.sources.gdc_filters import FilterError, compile_filter, read_filter
from bulkrnabert.data.sources.gdc_search import Search
from bulkrnabert.data.sources.gdc_spoil import answer_instead, ask_otherwise, spoil
from bulkrnabert.data.sources.gdc_survival import survival_answer
from bulkrnabert.data.synthetic import SyntheticStudy

MAX_URL = 8000
_READ = ("GET",)
_BOTH = ("GET", "POST")
_KINDS = "(files|cases|projects|annotations)"
_Handler = Callable[[PortalRequest, re.Match[str]], PortalResponse]


class Portal:
    """Answers requests about a study in the shape of the GDC's interface.

    Unsorted pages come in another order every time, as the real ones may.

    Args:
        study: The world to serve.
        missing_needs_parent: Whether `is MISSING` overlooks records that lack the whole group, as the GDC does.
    """

    def __init__(self, study: SyntheticStudy, missing_needs_parent: bool = True) -> None:
        self._study = study
        self._search = Search(study, missing_needs_parent)
        self._downloads = Downloads(study)
        routes: list[tuple[str, tuple[str, ...], _Handler]] = [
            (r"/status", _READ, lambda _request, _match: json_response(200, study.status())),
            (r"/notifications", _READ, lambda _request, _match: json_response(200, study.notifications())),
            (rf"/{_KINDS}", _BOTH, self._page),
            (rf"/{_KINDS}/_mapping", _READ, self._mapping),
            (r"/files/versions", ("POST",), self._versions),
            (r"/files/versions/manifest", ("POST",), self._versions_of_manifest),
            (r"/files/versions/([^/]+)", _READ, self._versions),
            (rf"/{_KINDS}/([^/]+)", _READ, self._single),
            (r"/history/([^/]+)", _READ, lambda _request, match: self._downloads.history(match[1])),
            (r"/data(?:/([^/]*))?", _BOTH, self._data),
            (r"/manifest(?:/([^/]*))?", _BOTH, self._manifest),
            (r"/analysis/survival", _BOTH, self._survival),
        ]
        self._routes = [(re.compile(pattern), methods, handler) for pattern, methods, handler in routes]

    def answer(self, request: PortalRequest, faults: Sequence[Fault] = ()) -> PortalResponse:
        """The answer to a request, spoilt by the faults that strike it."""
        request = replace(request, path=re.sub(r"^/v0(?=/|$)", "", request.path))
        for fault in faults:
            response = answer_instead(fault)
            if response is not None:
                break
            request = ask_otherwise(request, fault)
        else:
            response = self._right_answer(request)
        for fault in faults:
            response = spoil(response, fault, request)
        return response

    def _right_answer(self, request: PortalRequest) -> PortalResponse:
        try:
            return self._route(request)
        except FilterError as error:
            return json_response(400, {"error": "Bad Request", "message": str(error)})
        except RefusalError as refusal:
            return refusal.response

    def _route(self, request: PortalRequest) -> PortalResponse:
        is_known = False
        for pattern, methods, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match is not None and request.method in methods:
                return handler(request, match)
            is_known = is_known or match is not None
        if is_known:
            raise RefusalError(405, f"{request.method} is not allowed for {request.path}")
        raise RefusalError(404, f"no such endpoint: {request.path}")

    # ---- search ----

    def _page(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        endpoint = self._search.endpoints[match[1]]
        return_type = str(request.parameters.get("return_type") or "")
        if return_type not in ("", "manifest") or (return_type and endpoint.name != "files"):
            raise RefusalError(400, f"return_type {return_type!r} on /{endpoint.name}: expected `manifest` on /files")
        if return_type:
            filters = read_filter(request.parameters.get("filters") or None)
            return self._downloads.manifest_of(self._search.find(endpoint, filters))
        return self._search.page(endpoint, request.parameters)

    def _single(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return self._search.single(self._search.endpoints[match[1]], match[2], request.parameters)

    def _mapping(self, _request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return self._search.mapping(self._search.endpoints[match[1]])

    def _survival(self, request: PortalRequest, _match: re.Match[str]) -> PortalResponse:
        asked = read_filter(request.parameters.get("filters") or None)
        if asked is not None and not (isinstance(asked, list) and asked):
            raise RefusalError(400, "filters must be a list with one filter for each curve")
        cases = self._search.endpoints["cases"]
        groups = []
        for filters in asked if isinstance(asked, list) else [None]:
            is_found = compile_filter(filters, cases.resolve) if filters else lambda _record: True
            groups.append([record for record in cases.records if is_found(record)])
        return json_response(200, survival_answer(groups))

    # ---- files ----

    def _data(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return self._downloads.data(request, ids_of_request(request, match[1]))

    def _manifest(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return self._downloads.manifest(ids_of_request(request, match[1]))

    def _versions(self, request: PortalRequest, match: re.Match[str]) -> PortalResponse:
        return self._downloads.versions(ids_of_request(request, match[1] if match.re.groups else None))

    def _versions_of_manifest(self, request: PortalRequest, _match: re.Match[str]) -> PortalResponse:
        return self._downloads.versions(ids_of_request(request, None))
