# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Error handling of the Ollama client, against a fake server; tests/real covers the rest with a real server."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    NotReadyError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import (
    check_name,
    check_parameters,
    full_name,
    modelfile,
    parse_parameters,
    same_name,
    same_parameters,
    split_name,
)

Answer = t.Callable[["StandIn"], None]


class StandIn(BaseHTTPRequestHandler):
    """Answers as the test defines, and records the requests."""

    server: FakeServer

    def log_message(self, *_arguments: object) -> None:
        pass

    def reply(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.server.answers[f"{self.command} {self.path}"](self)

    do_GET = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815


class FakeServer(ThreadingHTTPServer):
    """A fake Ollama server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StandIn)
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> t.Iterator[FakeServer]:
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def lines(*objects: t.Any) -> Answer:
    """A response of JSON lines without a length, ended by closing the connection."""
    raw = b"".join(json.dumps(line).encode() + b"\n" if not isinstance(line, bytes) else line for line in objects)

    def answer(handler: StandIn) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def reply_with(status: int, body: t.Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler: handler.reply(status, raw)


def test_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RemoteError, match=f"No Ollama server answers at http://127.0.0.1:{port}") as caught:
            Ollama(f"http://127.0.0.1:{port}").version()
    assert "ollama serve" in caught.value.hint


def test_host_without_an_address() -> None:
    with pytest.raises(RemoteError, match="cannot be found|cannot be reached"):
        Ollama("http://no-such-host.invalid:1", timeout=5).version()


def test_timeout(server: FakeServer) -> None:
    released = threading.Event()
    server.answers["GET /api/version"] = lambda handler: (released.wait(120), handler.close_connection)[0] and None
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"sent nothing for 0\.2 seconds when asked to report its version"):
        Ollama(server.url, timeout=0.2).version()
    released.set()
    assert time.monotonic() - begin < 60


def test_a_password_is_sent_and_never_shown(server: FakeServer) -> None:
    url = server.url.replace("http://", "http://me:geheim%40@")
    server.answers["GET /api/version"] = reply_with(401, {"error": "no"})
    client = Ollama(url)
    with pytest.raises(RemoteError) as caught:
        client.version()
    assert server.requests[0][2]["Authorization"] == "Basic bWU6Z2VoZWltQA=="
    assert "geheim" not in f"{caught.value} {caught.value.details} {client.url}"
    assert "credentials" in caught.value.hint


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:port", "http://x:99999"])
def test_invalid_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError):
        Ollama(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("nas", "http://nas:11434"),
        ("http://nas", "http://nas:80"),
        ("https://nas/ollama/", "https://nas:443/ollama"),
        ("http://[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_urls(url: str, expected: str) -> None:
    assert Ollama(url).url == expected


def test_not_ollama(server: FakeServer) -> None:
    server.answers["GET /api/tags"] = reply_with(200, b"<html>Router</html>")
    with pytest.raises(RemoteError, match="no JSON when asked to list its models"):
        Ollama(server.url).tags()
    server.answers["GET /api/tags"] = reply_with(502, b"<html>Bad gateway</html>")
    with pytest.raises(RemoteError, match=r"could not list its models: status 502\."):
        Ollama(server.url).tags()


def test_the_servers_reason_is_reported(server: FakeServer) -> None:
    server.answers["POST /api/show"] = reply_with(404, {"error": "model 'x' not found"})
    with pytest.raises(RemoteError, match="could not show x: model 'x' not found") as caught:
        Ollama(server.url).show("x")
    assert caught.value.details["status"] == 404


def test_an_error_line_with_status_200_is_raised(server: FakeServer) -> None:
    server.answers["POST /api/create"] = lines({"status": "parsing GGUF"}, {"error": "no space left on device"})
    statuses: list[str] = []
    with pytest.raises(RemoteError, match="could not create m: no space left on device") as caught:
        Ollama(server.url).create("m", files={"f": "sha256:0"}, on_status=statuses.append)
    assert statuses == ["parsing GGUF"]
    assert "is full" in caught.value.hint
    server.answers["POST /api/chat"] = reply_with(200, {"error": "boom"})
    with pytest.raises(RemoteError, match="boom"):
        Ollama(server.url).chat("m", [])


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (({"status": "writing manifest"},), "last status was 'writing manifest'"),
        ((), "sent no status"),
        (({"status": "success"}, {"status": "and more"}), "and more"),
    ],
)
def test_a_stream_without_success_is_a_failure(server: FakeServer, events: tuple[t.Any, ...], message: str) -> None:
    server.answers["POST /api/create"] = lines(*events)
    with pytest.raises(RemoteError, match=message):
        Ollama(server.url).create("m", from_="x")


def test_an_interrupted_stream(server: FakeServer) -> None:
    server.answers["POST /api/create"] = lines({"status": "parsing GGUF"}, b'{"status": "succ')
    with pytest.raises(RemoteError, match="no JSON when asked to create m"):
        Ollama(server.url).create("m", from_="x")

    def send_chunk_and_close(handler: StandIn) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'ff\r\n{"status": "parsing GGUF"}\n')
        handler.close_connection = True

    server.answers["POST /api/create"] = send_chunk_and_close
    with pytest.raises(RemoteError, match="ended the connection|ended without having created"):
        Ollama(server.url).create("m", from_="x")
    server.answers["GET /api/tags"] = lambda handler: handler.reply(200, b'{"models"', 5000)
    with pytest.raises(RemoteError, match="no JSON .* may also have been cut off"):
        Ollama(server.url).tags()


def test_create_request(server: FakeServer) -> None:
    sent: dict[str, t.Any] = {}

    def answer(handler: StandIn) -> None:
        sent.update(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        lines({"status": "success"})(handler)

    server.answers["POST /api/create"] = answer
    Ollama(server.url).create("m", files={"f": "sha256:0"}, template="é", parameters={"stop": ["x"]})
    assert sent == {
        "model": "m",
        "stream": True,
        "files": {"f": "sha256:0"},
        "template": "é",
        "parameters": {"stop": ["x"]},
    }


@pytest.fixture
def file(tmp_path: Path) -> tuple[str, str, bytes]:
    """A file of several chunks: path, digest, content."""
    raw = bytes(range(256)) * 4096 * 3 + b"end"
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return str(path), "sha256:" + hashlib.sha256(raw).hexdigest(), raw


def test_a_file_is_sent_completely(server: FakeServer, file: tuple[str, str, bytes]) -> None:
    path, digest, raw = file
    got: list[bytes] = []
    server.answers[f"HEAD /api/blobs/{digest}"] = reply_with(404, b"")

    def take(handler: StandIn) -> None:
        assert "Transfer-Encoding" not in handler.headers
        got.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.reply(201, b"")

    server.answers[f"POST /api/blobs/{digest}"] = take
    progress: list[tuple[int, int]] = []
    assert Ollama(server.url).push_blob(path, digest, lambda sent, total: progress.append((sent, total)))
    assert got == [raw]
    assert progress[-1] == (len(raw), len(raw)) and [sent for sent, _total in progress] == sorted(
        sent for sent, _total in progress
    )


def test_an_existing_blob_is_not_sent(server: FakeServer, file: tuple[str, str, bytes]) -> None:
    path, digest, _raw = file
    server.answers[f"HEAD /api/blobs/{digest}"] = reply_with(200, b"")
    assert not Ollama(server.url).push_blob(path, digest)
    assert [command for command, _path, _headers in server.requests] == ["HEAD"]


def test_a_refusal_during_an_upload_is_reported(server: FakeServer, tmp_path: Path) -> None:
    """The server reports its reason and closes the connection before it has read the request."""
    path = tmp_path / "big"
    with open(path, "wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    server.answers["HEAD /api/blobs/sha256:0"] = reply_with(404, b"")

    def refuse(handler: StandIn) -> None:
        handler.rfile.read(100)
        handler.reply(500, b'{"error": "write /models/x: no space left on device"}')
        handler.close_connection = True

    server.answers["POST /api/blobs/sha256:0"] = refuse
    with pytest.raises(RemoteError, match=r"could not take big \(.*\): .*no space left|ended the connection") as caught:
        Ollama(server.url).push_blob(str(path), "sha256:0")
    assert caught.value.hint


def test_a_digest_mismatch_is_reported(server: FakeServer, file: tuple[str, str, bytes]) -> None:
    path, digest, _raw = file
    server.answers[f"HEAD /api/blobs/{digest}"] = reply_with(404, b"")

    def mismatch(handler: StandIn) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.reply(400, b'{"error": "digest mismatch, expected \\"sha256:1\\", got \\"sha256:2\\""}')

    server.answers[f"POST /api/blobs/{digest}"] = mismatch
    with pytest.raises(RemoteError, match="digest mismatch") as caught:
        Ollama(server.url).push_blob(path, digest)
    assert "something changed it" in caught.value.hint


def test_no_file_to_send(server: FakeServer, tmp_path: Path) -> None:
    server.answers["HEAD /api/blobs/sha256:0"] = reply_with(404, b"")
    with pytest.raises(NotReadyError):
        Ollama(server.url).push_blob(str(tmp_path / "none"), "sha256:0")


def test_deleting_a_missing_model(server: FakeServer) -> None:
    server.answers["DELETE /api/delete"] = reply_with(404, {"error": "model 'x' not found"})
    assert not Ollama(server.url).delete("x")
    server.answers["DELETE /api/delete"] = reply_with(200, b"")
    assert Ollama(server.url).delete("x")


def test_a_version_that_cannot_render(server: FakeServer) -> None:
    server.answers["POST /api/chat"] = reply_with(200, {"message": {"content": "Bonjour"}})
    with pytest.raises(RemoteError, match="does not report how it renders"):
        Ollama(server.url).render("m", [])


def test_a_request_during_a_tag_move_is_retried(server: FakeServer) -> None:
    """Ollama rewrites manifests in place; a request that reads the empty file gets the error EOF."""
    replies = [(500, b'{"error":"EOF"}'), (500, b'{"error":"EOF"}'), (200, b'{"template": "x"}')]
    server.answers["POST /api/show"] = lambda handler: handler.reply(*replies.pop(0))
    assert Ollama(server.url).show("m") == {"template": "x"}
    server.answers["POST /api/show"] = reply_with(500, {"error": "unexpected"})
    with pytest.raises(RemoteError, match="unexpected"):
        Ollama(server.url).show("m")
    assert len(server.requests) == 4


def test_find_by_any_of_its_names(server: FakeServer) -> None:
    models = {"models": [{"name": "homelab-model:latest", "digest": "a" * 64}, {"name": "x/y:q4_K_M", "digest": "b"}]}
    server.answers["GET /api/tags"] = reply_with(200, models)
    client = Ollama(server.url)
    assert client.digest("Homelab-Model") == "a" * 64
    assert client.digest("registry.ollama.ai/x/y:Q4_k_m") == "b"
    assert client.digest("homelab-model:other") == ""


# -- Ollama's syntax ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("qwen2.5", ("registry.ollama.ai", "library", "qwen2.5", "latest")),
        ("qwen2.5:7b", ("registry.ollama.ai", "library", "qwen2.5", "7b")),
        ("me/m", ("registry.ollama.ai", "me", "m", "latest")),
        ("nas:5000/me/m", ("nas:5000", "me", "m", "latest")),
        ("http://nas:5000/me/m:t", ("nas:5000", "me", "m", "t")),
    ],
)
def test_names_are_split(name: str, parts: tuple[str, ...]) -> None:
    assert split_name(name) == parts


def test_equivalent_names() -> None:
    assert same_name("Homelab", "homelab:latest")
    assert same_name("library/homelab:LATEST", "registry.ollama.ai/library/homelab")
    assert not same_name("homelab", "homelab:other")
    assert full_name("A:Q4_K_M") == "registry.ollama.ai/library/a:q4_k_m"


@pytest.mark.parametrize(
    "name", ["", ":", "m:", "-m", "m:-x", "é", "a b", "m:" + "x" * 81, "m@sha256:1", "m:cloud", "m:7b-cloud", "m:local"]
)
def test_invalid_names(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


@pytest.mark.parametrize("name", ["m", "homelab-model:0a1b2c3d4e5f-q4_K_M", "me/m_1.0:x", "m:" + "x" * 80])
def test_valid_names(name: str) -> None:
    assert check_name(name) == name


def test_parameters_get_their_types() -> None:
    given_ = {"temperature": "0.7", "top_k": "40", "num_ctx": 4096.0, "stop": "x", "use_mmap": True}
    assert check_parameters(given_) == {
        "temperature": 0.7,
        "top_k": 40,
        "num_ctx": 4096,
        "stop": ["x"],
        "use_mmap": True,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperatur": 0.7},
        {"temperature": "warm"},
        {"temperature": float("nan")},
        {"top_k": 1.5},
        {"top_k": True},
        {"seed": float("inf")},
        {"stop": [1]},
        {"stop": [""]},
        {"use_mmap": "yes"},
        {"num_ctx": None},
    ],
)
def test_invalid_parameters(wrong: dict[str, t.Any]) -> None:
    with pytest.raises(InputError):
        check_parameters(wrong)


def test_a_similar_parameter_is_suggested() -> None:
    with pytest.raises(InputError, match="Did you mean temperature?"):
        check_parameters({"temperatur": 0.7})


def test_parameters_of_show() -> None:
    """Recorded from 0.24: 30 columns, Go syntax, random order."""
    text = (
        'stop                           "<|im_end|>"\n'
        "temperature                    0.7\n"
        'stop                           "Q:\\n\\"\\\\ \\u2028 ｜"\n'
        "num_ctx                        4096\n"
        "use_mmap                       true\n"
        "top_p                          1e-06"
    )
    parameters = parse_parameters(text)
    assert parameters == {
        "stop": ["<|im_end|>", 'Q:\n"\\ \u2028 ｜'],
        "temperature": 0.7,
        "num_ctx": 4096.0,
        "use_mmap": True,
        "top_p": 1e-06,
    }
    assert same_parameters(parameters, {**parameters, "stop": list(reversed(parameters["stop"])), "num_ctx": 4096})
    assert not same_parameters(parameters, {**parameters, "stop": ["<|im_end|>"]})
    assert parse_parameters("") == {}


def test_modelfile() -> None:
    text = modelfile(
        "./model.gguf", "{{ .Content }}\n", 'Dis "oui" à tout.', {"temperature": 0.0, "stop": ["</s>", "\n"]}
    )
    assert text == (
        'FROM ./model.gguf\n\nTEMPLATE """{{ .Content }}\n"""\n\nSYSTEM """Dis "oui" à tout."""\n\n'
        'PARAMETER stop """</s>"""\nPARAMETER stop """\n"""\nPARAMETER temperature 0.0\n'
    )


@pytest.mark.parametrize("system", ['Trois """ ici', 'finit par "', '"commence'])
def test_modelfile_mentions_omitted_values(system: str) -> None:
    text = modelfile("m", "{{ .Content }}", system, {})
    assert "SYSTEM" not in [line.split(" ")[0] for line in text.splitlines()]
    assert "# SYSTEM cannot be written here" in text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_names_never_crash(name: str) -> None:
    """Any text is accepted or refused."""
    try:
        check_name(name)
    except InputError:
        pass
    assert same_name(name, name)
