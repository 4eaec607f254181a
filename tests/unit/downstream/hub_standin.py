"""A small stand-in for a model hub: repositories in memory behind the paths that huggingface_hub asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, changes: dict[str, bytes]) -> str:
        before = self.commits.get(self.refs.get(branch, ""), {})
        name = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = {**before, **changes}
        self.refs[branch] = name
        return name

    def resolve(self, revision: str) -> str | None:
        found = self.refs.get(revision, revision)
        return found if found in self.commits else None


@dataclass
class Hub:
    endpoint: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    status: int | None = None

    def files(self, repo_id: str, branch: str = "main") -> dict[str, bytes]:
        repository = self.repositories[repo_id]
        return repository.commits[repository.refs[branch]]


@contextmanager
def serve_hub() -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined, no-any-return]

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self._note()
        if self.hub.status is not None:
            return self._fail(self.hub.status, "")
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo_id = f"{asked['organization']}/{asked['name']}"
            if repo_id in self.hub.repositories:
                return self._json({"url": f"{self.hub.endpoint}/{repo_id}"}, status=409)
            is_private = asked.get("private", asked.get("visibility") == "private")
            self.hub.repositories[repo_id] = Repository(bool(is_private))
            self.hub.repositories[repo_id].commit("main", {".gitattributes": b""})
            return self._json({"url": f"{self.hub.endpoint}/{repo_id}", "name": repo_id})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/([^/?]+)", path)
        if found is None:
            return self._fail(404, "")
        repository = self.hub.repositories[found[1]]
        if found[2] == "preupload":
            files = [one["path"] for one in json.loads(body)["files"]]
            answer = [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in files]
            return self._json({"files": answer})
        if found[2] == "branch":
            repository.refs.setdefault(found[3], repository.refs["main"])
            return self._json({})
        lines = [json.loads(line) for line in body.splitlines()]
        changes = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        commit = repository.commit(found[3], changes)
        return self._json({"commitUrl": f"{self.hub.endpoint}/{found[1]}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        path = self._note()
        if self.hub.status is not None:
            return self._fail(self.hub.status, "")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/?]+))?(?:\?.*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or file
        repository = self.hub.repositories.get(found[1]) if found else None
        if found is None or repository is None:
            return self._fail(404, "RepoNotFound")
        commit = repository.resolve((found[3] if api else found[2]) or "main")
        if commit is None:
            return self._fail(404, "RevisionNotFound")
        files = repository.commits[commit]
        if file is not None:
            content = files[file[3]]
            etag = hashlib.sha1(content).hexdigest()
            return self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})
        if found[2] == "tree":
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            return self._json(rows)
        siblings = [{"rfilename": name} for name in files]
        return self._json(
            {"id": found[1], "sha": commit, "private": repository.private, "siblings": siblings, "tags": []}
        )

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _note(self) -> str:
        self.hub.asked.append(f"{self.command} {self.path}")
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        return self.path

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
