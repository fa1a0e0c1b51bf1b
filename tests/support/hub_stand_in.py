# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A STAND-IN for a Hugging Face hub, for tests only.

Implements the HTTP requests for fetching a model: contents of a repository, redirects of big files to another
server (the "CDN", which must not get a token), ranges, gated repositories, renamed ones. It can be slow, break
connections, answer with errors, and counts the bytes sent. That the real ``huggingface_hub`` works with it is
itself tested (``tests/real/test_base_real.py``).

By hand: ``python tests/support/hub_stand_in.py DIRECTORY`` serves each ``ORGANISATION/NAME`` below it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import os
import sys
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

LFS_FROM = 100_000


@dataclasses.dataclass
class Repository:
    """One repository at one commit.

    :param id: organisation and name.
    :param files: content by name.
    :param gated: whether only ``readers`` may fetch its files.
    :param readers: tokens that may.
    """

    id: str
    files: dict[str, bytes]
    gated: bool = False
    readers: set[str] = dataclasses.field(default_factory=set)

    @property
    def commit(self) -> str:
        """The commit; depends on the content, as in git."""
        digest = hashlib.sha1(self.id.encode())
        for name in sorted(self.files):
            digest.update(name.encode() + b"\0" + hashlib.sha1(self.files[name]).digest())
        return digest.hexdigest()

    def entry(self, name: str) -> dict[str, t.Any]:
        """The API's description of a file."""
        content = self.files[name]
        found: dict[str, t.Any] = {"size": len(content), "oid": _git_oid(content)}
        if is_lfs(name, content):
            found["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return found


def is_lfs(name: str, content: bytes) -> bool:
    """Big and binary files are stored in LFS."""
    return len(content) >= LFS_FROM or name.endswith((".safetensors", ".bin", ".model", ".gguf"))


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclasses.dataclass
class Seen:
    """One received request."""

    method: str
    path: str
    token: str
    cdn: bool
    range: str


class HubStandIn:
    """The server: ``with HubStandIn() as hub: hub.add(...)``; ``hub.url`` is what ``HF_ENDPOINT`` is set to."""

    def __init__(self, port: int = 0) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.tokens: set[str] = set()
        #: Bytes per second and connection; 0 for no limit.
        self.rate = 0
        #: Break the transfer of a big file after a number of bytes, a number of times.
        self.drop_after = 0
        self.drops = 0
        #: Answer with these statuses first, each once.
        self.failures: list[int] = []
        self.ignore_range = False
        #: Send wrong bytes, a number of times.
        self.corruptions = 0
        self.seen: list[Seen] = []
        self.sent: dict[str, int] = {}
        #: Number of active transfers; a closed connection is noticed with a delay.
        self.pouring = 0
        self.lock = threading.Lock()
        self._servers = [self._listen(port, cdn=False), self._listen(0, cdn=True)]

    def _listen(self, port: int, cdn: bool) -> http.server.ThreadingHTTPServer:
        hub = self

        class Bound(_Handler):
            stand_in = hub
            is_cdn = cdn

        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Bound)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    @property
    def url(self) -> str:
        """Address of the hub."""
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def cdn_url(self) -> str:
        """Address to which big files are redirected, with another host name."""
        return f"http://localhost:{self._servers[1].server_address[1]}"

    def add(self, repo_id: str, source: Path | t.Mapping[str, bytes], **more: t.Any) -> Repository:
        """Add a repository, from a directory or from contents by name."""
        if isinstance(source, Path):
            files = {
                str(path.relative_to(source)): path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()
            }
        else:
            files = dict(source)
        repository = Repository(repo_id, files, **more)
        self.repositories[repo_id] = repository
        self.tokens |= repository.readers
        return repository

    def total_sent(self) -> int:
        """Bytes of files sent so far."""
        with self.lock:
            return sum(self.sent.values())

    def close(self) -> None:
        """Stop it."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> HubStandIn:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: t.ClassVar[HubStandIn]
    is_cdn: t.ClassVar[bool]

    def log_message(self, format: str, *args: t.Any) -> None:
        """No output: requests are recorded in ``seen``."""

    def do_HEAD(self) -> None:
        """Metadata of a file."""
        self._answer()

    def do_GET(self) -> None:
        """A file, or the API."""
        self._answer()

    def _answer(self) -> None:
        hub = self.stand_in
        parts = urllib.parse.urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        with hub.lock:
            hub.seen.append(Seen(self.command, self.path, token, self.is_cdn, self.headers.get("Range") or ""))
            failure = hub.failures.pop(0) if hub.failures else 0
        if failure:
            self._refuse(failure, "", "the stand-in was told to fail")
        elif self.is_cdn:
            self._send_file(*urllib.parse.unquote(parts.path).lstrip("/").split("/-/", 1))
        elif token and token not in hub.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif parts.path.startswith("/api/models/"):
            self._api(parts.path[len("/api/models/") :], urllib.parse.parse_qs(parts.query), token)
        elif "/resolve/" in parts.path:
            self._resolve(urllib.parse.unquote(parts.path).lstrip("/"), token)
        else:
            self._refuse(404, "", "Sorry, we can't find the page you are looking for.")

    def _api(self, path: str, query: dict[str, list[str]], token: str) -> None:
        pieces = [urllib.parse.unquote(piece) for piece in path.split("/")]
        repo_id, rest = "/".join(pieces[:2]), pieces[2:]
        if repo_id in self.stand_in.renamed:
            new = self.stand_in.renamed[repo_id]
            self._redirect(307, self.path.replace(repo_id, new, 1))
            return
        repository = self._find(repo_id)
        if repository is None:
            return
        if rest[:1] == ["auth-check"]:
            if self._may_read(repository, token):
                self._send_json({})
            return
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", repository.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif rest[:1] == ["tree"]:
            self._send_json(_tree(repository))
        else:
            self._send_json(_info(repository, "blobs" in query))

    def _find(self, repo_id: str) -> Repository | None:
        repository = self.stand_in.repositories.get(repo_id)
        if repository is None:
            # the real hub does not reveal whether a private repository exists
            self._refuse(401, "RepoNotFound", "Repository not found")
        return repository

    def _may_read(self, repository: Repository, token: str) -> bool:
        if not repository.gated or token in repository.readers:
            return True
        words = f"Access to model {repository.id} is restricted"
        self._refuse(403 if token else 401, "GatedRepo", words)
        return False

    def _resolve(self, path: str, token: str) -> None:
        repo_id, _word, rest = path.partition("/resolve/")
        revision, _slash, name = rest.partition("/")
        repository = self._find(repo_id)
        if repository is None or not self._may_read(repository, token):
            return
        if revision not in ("main", repository.commit):
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif name not in repository.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif is_lfs(name, repository.files[name]):
            content = repository.files[name]
            self._redirect(
                302,
                f"{self.stand_in.cdn_url}/{urllib.parse.quote(repo_id)}/-/{urllib.parse.quote(name)}",
                {
                    "X-Repo-Commit": repository.commit,
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
                },
            )
        else:
            self._send_file(repo_id, name)

    def _send_file(self, repo_id: str, name: str) -> None:
        hub = self.stand_in
        repository = hub.repositories[repo_id]
        content = repository.files[name]
        with hub.lock:
            if self.command == "GET" and hub.corruptions and self.is_cdn:
                hub.corruptions -= 1
                content = bytes(len(content))
        first = 0
        asked = self.headers.get("Range")
        if asked and not hub.ignore_range:
            first = int(asked.removeprefix("bytes=").partition("-")[0])
            if first >= len(content):
                self._refuse(416, "", "Range Not Satisfiable")
                return
        self.send_response(206 if asked and not hub.ignore_range else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{_git_oid(repository.files[name])}"')
        self.end_headers()
        if self.command == "GET":
            hub = self.stand_in
            with hub.lock:
                hub.pouring += 1
            try:
                self._pour(name, content[first:])
            finally:
                with hub.lock:
                    hub.pouring -= 1

    def _pour(self, name: str, content: bytes) -> None:
        hub = self.stand_in
        limit = len(content)
        with hub.lock:
            if hub.drops and self.is_cdn and len(content) > hub.drop_after:
                hub.drops -= 1
                limit = hub.drop_after
        piece = max(1, hub.rate // 50) if hub.rate else 1 << 20
        for start in range(0, limit, piece):
            chunk = content[start : min(start + piece, limit)]
            try:
                self.wfile.write(chunk)
            except OSError:
                self.close_connection = True
                return
            with hub.lock:
                hub.sent[name] = hub.sent.get(name, 0) + len(chunk)
            if hub.rate:
                time.sleep(len(chunk) / hub.rate)
        if limit < len(content):
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()

    def _redirect(self, status: int, location: str, headers: t.Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _send_json(self, value: t.Any) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(raw)

    def _refuse(self, status: int, code: str, words: str) -> None:
        raw = json.dumps({"error": words}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", words)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(raw)


def _tree(repository: Repository) -> list[dict[str, t.Any]]:
    found = []
    for name in sorted(repository.files):
        entry = {"type": "file", "path": name, **repository.entry(name)}
        if "lfs" in entry:  # here the digest has another name than among the siblings
            entry["lfs"]["oid"] = entry["lfs"].pop("sha256")
        found.append(entry)
    return found


def _info(repository: Repository, blobs: bool) -> dict[str, t.Any]:
    siblings = []
    for name in sorted(repository.files):
        entry: dict[str, t.Any] = {"rfilename": name}
        if blobs:
            facts = repository.entry(name)
            entry.update(size=facts["size"], blobId=facts["oid"])
            if "lfs" in facts:
                entry["lfs"] = facts["lfs"]
        siblings.append(entry)
    return {
        "_id": "0" * 24,
        "id": repository.id,
        "modelId": repository.id,
        "sha": repository.commit,
        "private": False,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": siblings,
    }


def main(root: str) -> None:
    """Serve directories until interrupted."""
    with HubStandIn(int(os.environ.get("PORT", "0"))) as hub:
        for directory in sorted(Path(root).glob("*/*")):
            if directory.is_dir():
                hub.add(f"{directory.parent.name}/{directory.name}", directory)
        print(hub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
