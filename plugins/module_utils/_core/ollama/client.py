# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the Ollama server.

The API is that of ``docs/api.md`` in ollama; undocumented behaviour was read from ``server/routes.go`` and
``server/create.go`` of versions 0.24 and 0.32. ``versions.py`` has the oldest version that it works with.
"""

from __future__ import annotations

import base64
import copy
import http.client
import json
import os
import socket
import ssl
import time
import typing as t
import urllib.parse

from ..errors import InputError, NotReadyError, RemoteError
from ..json_text import parse_json
from ..messages.message import Message
from ..system.disk import gigabytes
from .syntax import DEFAULT_URL, full_name, with_scheme

_CHUNK = 1024 * 1024
_MAX_REPLY = 256 * 1024 * 1024  # bytes; a reply can contain the vocabulary of a model
_MAX_LINE = 16 * 1024 * 1024  # bytes per line of a stream
#: Ollama rewrites the manifest of a model in place: while a tag is moved, a request that reads the empty file gets the
#: error ``EOF``. Observed for milliseconds, and for up to 1.4 s under heavy disk writes.
_REWRITE_SECONDS = 5.0

#: Called with the number of bytes sent so far and the total.
OnProgress = t.Callable[[int, int], None]
#: Called with each status text the server reports.
OnStatus = t.Callable[[str], None]


class Ollama:
    """An Ollama server.

    :param url: base URL, or ``host:port``; a user and password in it are sent to the server and never shown.
    :param timeout: seconds without data after which a short request fails.
    :param slow_timeout: the same for uploads, model creation and chat requests, which may have to load a model first.
    :raises InputError: if the URL is not valid.
    """

    def __init__(self, url: str = DEFAULT_URL, timeout: float = 30.0, slow_timeout: float = 1800.0) -> None:
        parts = urllib.parse.urlsplit(with_scheme(url))
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError("ollama.url_invalid", example=DEFAULT_URL)
        self.timeout = timeout
        self.slow_timeout = slow_timeout
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._headers = {"User-Agent": "ia_homelab.llamafactory", "Accept": "application/json, application/x-ndjson"}
        if parts.username:
            user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(user.encode("utf-8")).decode("ascii")
        host = f"[{self._host}]" if ":" in self._host else self._host
        #: Base URL without credentials.
        self.url = f"{parts.scheme}://{host}:{self._port}{self._path}"

    def with_slow_timeout(self, seconds: float) -> Ollama:
        """The same server with another :attr:`slow_timeout`."""
        other = copy.copy(self)
        other.slow_timeout = seconds
        return other

    # ------------------------------------------------------------------ queries

    def version(self) -> str:
        """The server's version, such as ``0.32.15``."""
        return str(self._json("GET", "/api/version", None, "report its version").get("version", ""))

    def tags(self) -> list[dict[str, t.Any]]:
        """All models: ``name``, ``digest`` of the manifest (hex), ``size`` in bytes, ``details``."""
        return list(self._json("GET", "/api/tags", None, "list its models").get("models") or [])

    def ps(self) -> list[dict[str, t.Any]]:
        """The models in memory: ``name``, ``size`` and ``size_vram`` in bytes, ``expires_at``."""
        return list(self._json("GET", "/api/ps", None, "list the models it has loaded").get("models") or [])

    def find(self, name: str) -> dict[str, t.Any] | None:
        """The model of that name as :meth:`tags` lists it; None if it does not exist."""
        wanted = full_name(name)
        return next((model for model in self.tags() if full_name(str(model.get("name", ""))) == wanted), None)

    def digest(self, name: str) -> str:
        """Digest of a model's manifest, 64 hexadecimal digits; empty if the model does not exist."""
        return str((self.find(name) or {}).get("digest", ""))

    def show(self, name: str) -> dict[str, t.Any]:
        """Details of a model.

        They have ``template``, ``system``, ``parameters`` (text), ``modelfile``, ``details`` and ``model_info``.

        :raises RemoteError: with ``status`` 404 in its details if the model does not exist.
        """
        return self._json("POST", "/api/show", {"model": name}, f"show {name}")

    def has_blob(self, digest: str) -> bool:
        """Whether the server has a blob.

        :param digest: ``sha256:`` and 64 hexadecimal digits.
        """
        status, reply = self._call("HEAD", f"/api/blobs/{digest}", None, "look for a file", self.timeout)
        if status not in (200, 404):
            raise self._request_error(status, reply, "look for a file")
        return status == 200

    # ------------------------------------------------------------------ changes

    def push_blob(self, path: str, digest: str, on_progress: OnProgress | None = None) -> bool:
        """Upload a file unless the server has it. It is streamed, so it is never entirely in memory.

        :param digest: ``sha256:`` and 64 hexadecimal digits of the file's content; the server verifies it.
        :returns: False if the server already had the blob and nothing was sent.
        :raises NotReadyError: if the file cannot be read.
        """
        if self.has_blob(digest):
            return False
        action = f"take {os.path.basename(path)}"
        with _open_file(path) as stream:
            total = os.fstat(stream.fileno()).st_size
            connection = self._connect(self.slow_timeout)
            try:
                status, reply = self._send(connection, f"/api/blobs/{digest}", stream, total, on_progress)
            except (OSError, http.client.HTTPException) as error:
                raise self._transport_error(error, action, self.slow_timeout) from error
            finally:
                connection.close()
        if status not in (200, 201):
            raise self._request_error(status, reply, f"{action} ({gigabytes(total)})")
        return True

    def _send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        stream: t.BinaryIO,
        total: int,
        on_progress: OnProgress | None,
    ) -> tuple[int, bytes]:
        connection.putrequest("POST", self._path + path)
        for name, value in {**self._headers, "Content-Length": str(total)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        sent = 0
        try:
            while sent < total:
                chunk = stream.read(min(_CHUNK, total - sent))
                if not chunk:
                    raise RemoteError("ollama.file_truncated")
                connection.send(chunk)
                sent += len(chunk)
                if on_progress is not None:
                    on_progress(sent, total)
        except (BrokenPipeError, ConnectionResetError):
            # on refusal the server sends its reason and closes the connection without reading the rest
            response = connection.getresponse()
            if response.status < 400:
                raise
            return response.status, response.read(_MAX_REPLY)
        response = connection.getresponse()
        return response.status, response.read(_MAX_REPLY)

    def create(
        self,
        model: str,
        *,
        files: t.Mapping[str, str] | None = None,
        adapters: t.Mapping[str, str] | None = None,
        from_: str = "",
        template: str = "",
        parser: str = "",
        system: str = "",
        parameters: t.Mapping[str, t.Any] | None = None,
        license_: str = "",
        on_status: OnStatus | None = None,
    ) -> None:
        """Create a model from blobs of the server, or from another model.

        The HTTP status is 200 even if creation fails: an ``error`` line, or a stream without a final ``success``, is a
        failure. From version 0.30 on, the server keeps what ``llama-quantize`` writes from the file, so that the digest
        of the stored blob (:func:`.syntax.modelfile_blobs`) differs from that of the upload; a damaged file fails here.

        :param files: file name → digest.
        :param adapters: the same for adapters to apply to the model.
        :param from_: name of the model to start from (the server pulls a missing one from the registry).
        :param parser: name of the parser for its answers; empty for the one that the server derives from the template.
        :raises RemoteError: if the server does not report success.
        """
        body: dict[str, t.Any] = {"model": model, "stream": True}
        optional = {"files": dict(files or {}), "adapters": dict(adapters or {}), "from": from_, "license": license_}
        optional.update(template=template, parser=parser, system=system)
        body.update({key: value for key, value in optional.items() if value})
        if parameters:
            body["parameters"] = dict(parameters)
        action = f"create {model}"
        last = ""
        for line in self._lines("/api/create", body, action):
            last = str(line.get("status", ""))
            if on_status is not None and last:
                on_status(last)
        if last != "success":
            report = Message("ollama.last_status", status=last) if last else Message("ollama.no_status")
            raise RemoteError(
                "ollama.create_ended", url=self.url, model=model, report=report, details={"url": self.url}
            )

    def copy(self, source: str, destination: str) -> None:
        """Copy a model to another name; an existing model of that name is replaced."""
        self._json("POST", "/api/copy", {"source": source, "destination": destination}, f"copy {source}")

    def delete(self, name: str) -> bool:
        """Remove a model; returns False if it does not exist."""
        action = f"delete {name}"
        status, reply = self._call("DELETE", "/api/delete", {"model": name}, action, self.timeout)
        if status not in (200, 404):
            raise self._request_error(status, reply, action)
        return status == 200

    def unload(self, name: str) -> None:
        """Unload a model from memory."""
        self._json("POST", "/api/generate", {"model": name, "keep_alive": 0}, f"unload {name}")

    # ------------------------------------------------------------------ chat

    def chat(
        self,
        model: str,
        messages: t.Sequence[t.Mapping[str, t.Any]],
        options: t.Mapping[str, t.Any] | None = None,
        **fields: t.Any,
    ) -> dict[str, t.Any]:
        """A model's complete answer; its text is in ``["message"]["content"]``.

        :param options: such as ``{"temperature": 0, "seed": 1}``.
        :param fields: other fields of the request, such as ``think`` or ``keep_alive``.
        """
        body = {**fields, "model": model, "messages": list(messages), "options": dict(options or {}), "stream": False}
        return self._json("POST", "/api/chat", body, f"answer with {model}", self.slow_timeout)

    def chat_stream(
        self,
        model: str,
        messages: t.Sequence[t.Mapping[str, t.Any]],
        options: t.Mapping[str, t.Any] | None = None,
        **fields: t.Any,
    ) -> t.Iterator[dict[str, t.Any]]:
        """A model's answer as a stream of chunks; the last one has ``done`` set."""
        body = {**fields, "model": model, "messages": list(messages), "options": dict(options or {}), "stream": True}
        return self._lines("/api/chat", body, f"answer with {model}")

    def render(
        self,
        model: str,
        messages: t.Sequence[t.Mapping[str, t.Any]],
        options: t.Mapping[str, t.Any] | None = None,
        **fields: t.Any,
    ) -> str:
        """The prompt a model would receive for these messages (the model is loaded, but generates nothing).

        :param options: as for :meth:`chat`. :param fields: as there; ``tools`` for example.
        :raises RemoteError: if this version of Ollama does not return the rendered prompt.
        """
        reply = self.chat(model, messages, options, _debug_render_only=True, **fields)
        info = reply.get("_debug_info")
        if not isinstance(info, dict) or "rendered_template" not in info:
            raise RemoteError("ollama.no_rendering", url=self.url, details={"url": self.url})
        return str(info["rendered_template"])

    # ------------------------------------------------------------------ transport

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout)

    def _open(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: t.Any
    ) -> http.client.HTTPResponse:
        raw = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
        headers = {**self._headers, "Content-Type": "application/json"} if raw is not None else self._headers
        connection.request(method, self._path + path, raw, headers)
        return connection.getresponse()

    def _call(self, method: str, path: str, body: t.Any, action: str, timeout: float) -> tuple[int, bytes]:
        connection = self._connect(timeout)
        try:
            response = self._open(connection, method, path, body)
            return response.status, response.read(_MAX_REPLY)
        except (OSError, http.client.HTTPException) as error:
            raise self._transport_error(error, action, timeout) from error
        finally:
            connection.close()

    def _json(self, method: str, path: str, body: t.Any, action: str, timeout: float = 0) -> dict[str, t.Any]:
        status, raw = self._call(method, path, body, action, timeout or self.timeout)
        deadline = time.monotonic() + _REWRITE_SECONDS
        while status == 500 and raw.strip() == b'{"error":"EOF"}' and time.monotonic() < deadline:
            time.sleep(0.02)
            status, raw = self._call(method, path, body, action, timeout or self.timeout)
        if status != 200:
            raise self._request_error(status, raw, action)
        reply = self._parse(raw, action) if raw else {}
        if reply.get("error"):
            raise self._request_error(status, raw, action)
        return reply

    def _lines(self, path: str, body: t.Any, action: str) -> t.Iterator[dict[str, t.Any]]:
        connection = self._connect(self.slow_timeout)
        try:
            response = self._open(connection, "POST", path, body)
            if response.status != 200:
                raise self._request_error(response.status, response.read(_MAX_REPLY), action)
            while True:
                raw = response.readline(_MAX_LINE)
                if not raw:
                    return
                if raw.strip():
                    line = self._parse(raw, action)
                    if line.get("error"):
                        raise self._request_error(response.status, raw, action)
                    yield line
        except (OSError, http.client.HTTPException) as error:
            raise self._transport_error(error, action, self.slow_timeout) from error
        finally:
            connection.close()

    # ------------------------------------------------------------------ errors

    def _parse(self, raw: bytes, action: str) -> dict[str, t.Any]:
        try:
            value = parse_json(raw.decode("utf-8"))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise RemoteError(
                "ollama.no_json",
                url=self.url,
                action=action,
                details={"url": self.url, "answer": raw[:200].decode("utf-8", "replace")},
            )
        return value

    def _request_error(self, status: int, raw: bytes, action: str) -> RemoteError:
        text = raw[:2000].decode("utf-8", "replace").strip()
        try:
            text = str(parse_json(text)["error"])
        except (ValueError, KeyError, TypeError):
            text = text if text and not text.startswith("<") else f"status {status}"
        details = {"url": self.url, "status": status, "error": text}
        return RemoteError(
            "ollama.refused", url=self.url, action=action, reason=text, advice=_advice(status, text), details=details
        )

    def _transport_error(self, error: Exception, action: str, timeout: float) -> RemoteError:
        facts: dict[str, t.Any] = {"url": self.url}
        if isinstance(error, ConnectionRefusedError):
            code = "ollama.no_server"
        elif isinstance(error, socket.gaierror):
            code = "ollama.host_unknown"
            facts["reason"] = error.strerror
        elif isinstance(error, socket.timeout):
            code = "ollama.silent"
            facts.update(seconds=timeout, action=action)
        elif isinstance(error, (ConnectionError, http.client.RemoteDisconnected, http.client.IncompleteRead)):
            code = "ollama.connection_ended"
            facts["action"] = action
        elif isinstance(error, http.client.HTTPException):
            code = "ollama.no_http"
            facts["error"] = type(error).__name__
        else:
            code = "ollama.unreachable"
            facts["reason"] = getattr(error, "strerror", None) or str(error)
        return RemoteError(code, **facts, details={"url": self.url})


def _open_file(path: str) -> t.BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise NotReadyError("errors.unreadable", path=path, reason=error.strerror) from error


def _advice(status: int, text: str) -> Message | None:
    low = text.lower()
    if "no space left" in low:
        return Message("ollama.disk_full")
    if "digest mismatch" in low:
        return Message("ollama.digest_mismatch")
    if "not found" in low:
        return Message("ollama.see_list")
    if "memory" in low:
        return Message("ollama.free_memory")
    if "gguf" in low or "tensor" in low or "exceeds file size" in low or low.strip(". ") in ("eof", "unexpected eof"):
        return Message("ollama.gguf_damaged")
    if status in (401, 403):
        return Message("ollama.credentials")
    return Message("ollama.see_log") if status >= 500 else None
