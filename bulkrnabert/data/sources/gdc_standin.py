"""An HTTP stand-in for the GDC on the loopback address: the demo's embedded portal, and the tests'."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bulkrnabert.data.sources.gdc_answers import PortalRequest, PortalResponse
from bulkrnabert.data.sources.gdc_faults import Fault, FaultScript
from bulkrnabert.data.sources.gdc_portal import MAX_URL, Portal
from bulkrnabert.data.synthetic import SyntheticStudy

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
IDLE_CONNECTION_S = 30.0


@dataclass(frozen=True)
class LoggedRequest:
    """One request that reached the stand-in.

    Attributes:
        time_s: Seconds since the server started.
        path: As asked, with `/v0` when it was there, without the query string.
        parameters: From the query string or the body.
        status: What was answered.
    """

    time_s: float
    method: str
    path: str
    parameters: Mapping[str, Any]
    byte_range: str | None
    status: int


@dataclass
class ServerHandle:
    """A running stand-in.

    Attributes:
        url: Base address, without a slash at the end.
        requests: Every request so far, in order of arrival of the answers.
        max_in_flight: The largest number of requests that were served at once.
    """

    url: str
    requests: list[LoggedRequest] = field(default_factory=list)
    max_in_flight: int = 0

    @property
    def data_requests(self) -> list[LoggedRequest]:
        """Requests for a file body."""
        return [request for request in self.requests if request.path.removeprefix("/v0").startswith("/data")]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, study: SyntheticStudy, faults: Sequence[Fault], port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.portal = Portal(study)
        self.script = FaultScript(faults)
        self.handle = ServerHandle(url=f"http://{HOST}:{self.server_address[1]}")
        self.lock = threading.Lock()
        self.n_in_flight = 0
        self.started = time.monotonic()

    def count(self, change: int) -> None:
        with self.lock:
            self.n_in_flight += change
            self.handle.max_in_flight = max(self.handle.max_in_flight, self.n_in_flight)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the signature is given
        logger.debug("a client went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "gdc-standin"
    timeout = IDLE_CONNECTION_S
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _serve(self) -> None:
        self.server.count(+1)
        try:
            self._answer()
        finally:
            self.server.count(-1)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        parameters: Mapping[str, Any] = {}
        if len(self.path) > MAX_URL:
            response = PortalResponse(414, b"URI Too Long")
        else:
            try:
                parameters = self._parameters(url.query, body)
                request = PortalRequest(self.command, url.path, parameters, self.headers.get("Range"))
                response = self.server.portal.answer(request, self.server.script.strike(self.command, url.path))
            except ValueError as error:
                response = PortalResponse(400, json.dumps({"message": f"malformed body: {error}"}).encode())
        with self.server.lock:
            self.server.handle.requests.append(
                LoggedRequest(
                    time_s=time.monotonic() - self.server.started,
                    method=self.command,
                    path=url.path,
                    parameters=parameters,
                    byte_range=self.headers.get("Range"),
                    status=response.status,
                )
            )
        self._send(response)

    def _parameters(self, query: str, body: bytes) -> Mapping[str, Any]:
        parameters: dict[str, Any] = {key: values[-1] for key, values in parse_qs(query).items()}
        if not body:
            return parameters
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            return parameters | {key: values[-1] for key, values in parse_qs(body.decode()).items()}
        content = json.loads(body)
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
        return parameters | content

    def _send(self, response: PortalResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if response.stall is not None:
            at, seconds = response.stall
            self.wfile.write(response.body[:at])
            self.wfile.flush()
            time.sleep(seconds)
            self.wfile.write(response.body[at:])
        else:
            self.wfile.write(response.body[: response.cut_at])
        self.wfile.flush()
        if response.cut_at is not None:
            self.close_connection = True
            if response.is_reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # The server's orderly shutdown would come first and turn the reset into an ordinary end.
                self.connection.close()


@contextmanager
def serve(study: SyntheticStudy, faults: Sequence[Fault] = (), port: int = 0) -> Iterator[ServerHandle]:
    """Serve a study on the loopback address until the block ends.

    Args:
        study: What to serve.
        faults: Scripted misbehaviour.
        port: TCP port; 0 for any free one.
    Raises:
        OSError: the port cannot be used.
    """
    server = _Server(study, faults, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.handle
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
