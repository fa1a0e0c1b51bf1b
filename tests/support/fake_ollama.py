# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for an Ollama server, over real HTTP: names, digests and prepared answers. tests/real has a real one."""

from __future__ import annotations

import contextlib
import json
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What a model answers to a prompt: its text, or a status above 399.
Reply = t.Callable[[str, str], "str | int | dict[str, t.Any]"]


class FakeOllama(ThreadingHTTPServer):
    """The server; :func:`fake_ollama` starts and stops one.

    :ivar models: digest by full name.
    :ivar sizes: size in bytes by full name, where it is not 0.
    :ivar loaded: names of the models in memory.
    :ivar requests: method, path and body of each request that is no list, in order.
    :ivar reply: answers a chat, from the model's name and the last message: a text, a message, or a status.
    :ivar refuses: paths that are answered with status 500.
    :ivar render: renders the prompt of a request for ``_debug_render_only``, and counts its tokens.
    :ivar version: the version it reports.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self.loaded: list[str] = []
        self.requests: list[tuple[str, str, dict[str, t.Any]]] = []
        self.reply: Reply = lambda _model, _prompt: ""
        self.refuses: set[str] = set()
        self.render: t.Callable[[dict[str, t.Any]], tuple[str, int]] = lambda _body: ("", 0)
        self.version = "0.32.15"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def bodies(self, path: str) -> list[dict[str, t.Any]]:
        """The bodies of the requests for a path, in order."""
        return [body for _method, where, body in self.requests if where == path]

    def answer(self, method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        """Status and body of the answer to a request."""
        if path in self.refuses:
            return 500, {"error": "told to fail"}
        if path == "/api/version":
            return 200, {"version": self.version}
        if path == "/api/tags":
            models = [
                {"name": name, "digest": digest, "size": self.sizes.get(name, 0)}
                for name, digest in self.models.items()
            ]
            return 200, {"models": models}
        if path == "/api/ps":
            return 200, {"models": [{"name": name} for name in self.loaded]}
        self.requests.append((method, path, body))
        model = str(body.get("model") or body.get("source") or "")
        if model not in self.models:
            return 404, {"error": f"model '{model}' not found"}
        if path == "/api/copy":
            self.models[str(body["destination"])] = self.models[model]
        elif path == "/api/delete":
            del self.models[model]
        elif path == "/api/generate" and body.get("keep_alive") == 0:
            self.loaded = [name for name in self.loaded if name != model]
        elif path == "/api/chat" and body.get("_debug_render_only"):
            return 200, {"_debug_info": {"rendered_template": self.render(body)[0]}}
        elif path == "/api/chat":
            text = self.reply(model, str(body["messages"][-1]["content"]))
            if isinstance(text, int):
                return text, {"error": "told to fail"}
            if isinstance(text, dict):
                return 200, {"message": {"role": "assistant", **text}}
            done = {"done_reason": "stop", "eval_count": len(text.split()), "total_duration": 1_500_000_000}
            done["prompt_eval_count"] = self.render(body)[1]
            return 200, {"message": {"role": "assistant", "content": text}, **done}
        return 200, {}


class _Handler(BaseHTTPRequestHandler):
    server: FakeOllama

    def log_message(self, *_arguments: object) -> None:
        pass

    def handle_any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.answer(self.command, self.path, json.loads(raw) if raw else {})
        answer = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815


@contextlib.contextmanager
def fake_ollama() -> t.Iterator[FakeOllama]:
    """A server that runs for as long as the block does."""
    server = FakeOllama()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
