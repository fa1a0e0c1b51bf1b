# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of Ollama when things go wrong, against a stand-in server; what goes right is in tests/real."""

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
    """Answers as the test says, and remembers what it was asked."""

    server: Servant

    def log_message(self, *_arguments: object) -> None:
        pass

    def reply(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.server.answers[f"{self.command} {self.path}"](self)

    do_GET = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815


class Servant(ThreadingHTTPServer):
    """A server that stands in for Ollama."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StandIn)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def servant() -> t.Iterator[Servant]:
    server = Servant()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def lines(*objects: t.Any) -> Answer:
    """An answer of JSON lines, without a length, ended by closing the connection."""
    raw = b"".join(json.dumps(one).encode() + b"\n" if not isinstance(one, bytes) else one for one in objects)

    def answer(handler: StandIn) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(raw)

    return answer


def says(status: int, body: t.Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler: handler.reply(status, raw)


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(RemoteError, match=f"No Ollama server answers at http://127.0.0.1:{port}") as caught:
            Ollama(f"http://127.0.0.1:{port}").version()
    assert "ollama serve" in caught.value.hint


def test_host_without_an_address() -> None:
    with pytest.raises(RemoteError, match="cannot be found|cannot be reached"):
        Ollama("http://no-such-host.invalid:1", timeout=5).version()


def test_no_sign_of_life(servant: Servant) -> None:
    released = threading.Event()
    servant.answers["GET /api/version"] = lambda handler: (released.wait(5), handler.close_connection)[0] and None
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"no sign of life for 0\.2 seconds when asked to tell its version"):
        Ollama(servant.url, timeout=0.2).version()
    assert time.monotonic() - begin < 3
    released.set()


def test_a_password_is_sent_and_never_shown(servant: Servant) -> None:
    url = servant.url.replace("http://", "http://me:geheim%40@")
    servant.answers["GET /api/version"] = says(401, {"error": "no"})
    client = Ollama(url)
    with pytest.raises(RemoteError) as caught:
        client.version()
    assert servant.asked[0][2]["Authorization"] == "Basic bWU6Z2VoZWltQA=="
    assert "geheim" not in f"{caught.value} {caught.value.details} {client.url}"
    assert "credentials" in caught.value.hint


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:port", "http://x:99999"])
def test_no_url(url: str) -> None:
    with pytest.raises(InputError):
        Ollama(url)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("nas", "http://nas:11434"),
        ("http://nas", "http://nas:80"),
        ("https://nas/ollama/", "https://nas:443/ollama"),
        ("http://[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_urls(url: str, meant: str) -> None:
    assert Ollama(url).url == meant


def test_not_ollama(servant: Servant) -> None:
    servant.answers["GET /api/tags"] = says(200, b"<html>Router</html>")
    with pytest.raises(RemoteError, match="no JSON when asked to list its models"):
        Ollama(servant.url).tags()
    servant.answers["GET /api/tags"] = says(502, b"<html>Bad gateway</html>")
    with pytest.raises(RemoteError, match=r"could not list its models: status 502\."):
        Ollama(servant.url).tags()


def test_the_reason_is_told(servant: Servant) -> None:
    servant.answers["POST /api/show"] = says(404, {"error": "model 'x' not found"})
    with pytest.raises(RemoteError, match="could not show x: model 'x' not found") as caught:
        Ollama(servant.url).show("x")
    assert caught.value.details["status"] == 404


def test_an_error_with_status_200_is_one(servant: Servant) -> None:
    servant.answers["POST /api/create"] = lines({"status": "parsing GGUF"}, {"error": "no space left on device"})
    told: list[str] = []
    with pytest.raises(RemoteError, match="could not create m: no space left on device") as caught:
        Ollama(servant.url).create("m", files={"f": "sha256:0"}, on_status=told.append)
    assert told == ["parsing GGUF"]
    assert "is full" in caught.value.hint
    servant.answers["POST /api/chat"] = says(200, {"error": "boom"})
    with pytest.raises(RemoteError, match="boom"):
        Ollama(servant.url).chat("m", [])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (({"status": "writing manifest"},), "last word was 'writing manifest'"),
        ((), "said nothing"),
        (({"status": "success"}, {"status": "and more"}), "and more"),
    ],
)
def test_no_success_is_a_failure(servant: Servant, said: tuple[t.Any, ...], words: str) -> None:
    servant.answers["POST /api/create"] = lines(*said)
    with pytest.raises(RemoteError, match=words):
        Ollama(servant.url).create("m", from_="x")


def test_half_a_stream(servant: Servant) -> None:
    servant.answers["POST /api/create"] = lines({"status": "parsing GGUF"}, b'{"status": "succ')
    with pytest.raises(RemoteError, match="no JSON when asked to create m"):
        Ollama(servant.url).create("m", from_="x")

    def chunk_and_away(handler: StandIn) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b'ff\r\n{"status": "parsing GGUF"}\n')
        handler.close_connection = True

    servant.answers["POST /api/create"] = chunk_and_away
    with pytest.raises(RemoteError, match="ended the connection|ended without having created"):
        Ollama(servant.url).create("m", from_="x")
    servant.answers["GET /api/tags"] = lambda handler: handler.reply(200, b'{"models"', 5000)
    with pytest.raises(RemoteError, match="no JSON .* may also have been cut off"):
        Ollama(servant.url).tags()


def test_what_create_sends(servant: Servant) -> None:
    sent: dict[str, t.Any] = {}

    def answer(handler: StandIn) -> None:
        sent.update(json.loads(handler.rfile.read(int(handler.headers["Content-Length"]))))
        lines({"status": "success"})(handler)

    servant.answers["POST /api/create"] = answer
    Ollama(servant.url).create("m", files={"f": "sha256:0"}, template="é", parameters={"stop": ["x"]})
    assert sent == {
        "model": "m",
        "stream": True,
        "files": {"f": "sha256:0"},
        "template": "é",
        "parameters": {"stop": ["x"]},
    }


@pytest.fixture
def file(tmp_path: Path) -> tuple[str, str, bytes]:
    """A file of several pieces: path, digest, content."""
    raw = bytes(range(256)) * 4096 * 3 + b"end"
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    return str(path), "sha256:" + hashlib.sha256(raw).hexdigest(), raw


def test_a_file_is_sent_whole(servant: Servant, file: tuple[str, str, bytes]) -> None:
    path, digest, raw = file
    got: list[bytes] = []
    servant.answers[f"HEAD /api/blobs/{digest}"] = says(404, b"")

    def take(handler: StandIn) -> None:
        assert "Transfer-Encoding" not in handler.headers
        got.append(handler.rfile.read(int(handler.headers["Content-Length"])))
        handler.reply(201, b"")

    servant.answers[f"POST /api/blobs/{digest}"] = take
    told: list[tuple[int, int]] = []
    assert Ollama(servant.url).push_blob(path, digest, lambda sent, total: told.append((sent, total)))
    assert got == [raw]
    assert told[-1] == (len(raw), len(raw)) and [sent for sent, _total in told] == sorted(sent for sent, _total in told)


def test_a_file_that_is_there_is_not_sent(servant: Servant, file: tuple[str, str, bytes]) -> None:
    path, digest, _raw = file
    servant.answers[f"HEAD /api/blobs/{digest}"] = says(200, b"")
    assert not Ollama(servant.url).push_blob(path, digest)
    assert [command for command, _path, _headers in servant.asked] == ["HEAD"]


def test_a_refusal_in_the_middle_is_told(servant: Servant, tmp_path: Path) -> None:
    """The server says why and hangs up before it has read all."""
    path = tmp_path / "big"
    with open(path, "wb") as stream:
        stream.truncate(64 * 1024 * 1024)
    servant.answers["HEAD /api/blobs/sha256:0"] = says(404, b"")

    def refuse(handler: StandIn) -> None:
        handler.rfile.read(100)
        handler.reply(500, b'{"error": "write /models/x: no space left on device"}')
        handler.close_connection = True

    servant.answers["POST /api/blobs/sha256:0"] = refuse
    with pytest.raises(RemoteError, match=r"could not take big \(.*\): .*no space left|ended the connection") as caught:
        Ollama(servant.url).push_blob(str(path), "sha256:0")
    assert caught.value.hint


def test_another_content_is_told(servant: Servant, file: tuple[str, str, bytes]) -> None:
    path, digest, _raw = file
    servant.answers[f"HEAD /api/blobs/{digest}"] = says(404, b"")

    def mismatch(handler: StandIn) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.reply(400, b'{"error": "digest mismatch, expected \\"sha256:1\\", got \\"sha256:2\\""}')

    servant.answers[f"POST /api/blobs/{digest}"] = mismatch
    with pytest.raises(RemoteError, match="digest mismatch") as caught:
        Ollama(servant.url).push_blob(path, digest)
    assert "something changed it" in caught.value.hint


def test_no_file_to_send(servant: Servant, tmp_path: Path) -> None:
    servant.answers["HEAD /api/blobs/sha256:0"] = says(404, b"")
    with pytest.raises(NotReadyError):
        Ollama(servant.url).push_blob(str(tmp_path / "none"), "sha256:0")


def test_deleting_what_is_not_there(servant: Servant) -> None:
    servant.answers["DELETE /api/delete"] = says(404, {"error": "model 'x' not found"})
    assert not Ollama(servant.url).delete("x")
    servant.answers["DELETE /api/delete"] = says(200, b"")
    assert Ollama(servant.url).delete("x")


def test_a_version_that_renders_nothing(servant: Servant) -> None:
    servant.answers["POST /api/chat"] = says(200, {"message": {"content": "Bonjour"}})
    with pytest.raises(RemoteError, match="does not tell how it renders"):
        Ollama(servant.url).render("m", [])


def test_a_tag_that_is_being_moved_is_asked_again(servant: Servant) -> None:
    """Ollama rewrites manifests in place; who meets the empty one is told EOF."""
    replies = [(500, b'{"error":"EOF"}'), (500, b'{"error":"EOF"}'), (200, b'{"template": "x"}')]
    servant.answers["POST /api/show"] = lambda handler: handler.reply(*replies.pop(0))
    assert Ollama(servant.url).show("m") == {"template": "x"}
    servant.answers["POST /api/show"] = says(500, {"error": "unexpected"})
    with pytest.raises(RemoteError, match="unexpected"):
        Ollama(servant.url).show("m")
    assert len(servant.asked) == 4


def test_find_by_any_of_its_names(servant: Servant) -> None:
    models = {"models": [{"name": "homelab-model:latest", "digest": "a" * 64}, {"name": "x/y:q4_K_M", "digest": "b"}]}
    servant.answers["GET /api/tags"] = says(200, models)
    client = Ollama(servant.url)
    assert client.digest("Homelab-Model") == "a" * 64
    assert client.digest("registry.ollama.ai/x/y:Q4_k_m") == "b"
    assert client.digest("homelab-model:other") == ""


# -- how Ollama writes things ------------------------------------------------------------------------------------------


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


def test_names_that_are_the_same() -> None:
    assert same_name("Homelab", "homelab:latest")
    assert same_name("library/homelab:LATEST", "registry.ollama.ai/library/homelab")
    assert not same_name("homelab", "homelab:other")
    assert full_name("A:Q4_K_M") == "registry.ollama.ai/library/a:q4_k_m"


@pytest.mark.parametrize(
    "name", ["", ":", "m:", "-m", "m:-x", "é", "a b", "m:" + "x" * 81, "m@sha256:1", "m:cloud", "m:7b-cloud", "m:local"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


@pytest.mark.parametrize("name", ["m", "homelab-model:0a1b2c3d4e5f-q4_K_M", "me/m_1.0:x", "m:" + "x" * 80])
def test_names_that_can_be(name: str) -> None:
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
def test_parameters_that_cannot_be(wrong: dict[str, t.Any]) -> None:
    with pytest.raises(InputError):
        check_parameters(wrong)


def test_a_near_parameter_is_named() -> None:
    with pytest.raises(InputError, match="Did you mean temperature?"):
        check_parameters({"temperatur": 0.7})


def test_parameters_as_show_writes_them() -> None:
    """Recorded from 0.24: 30 columns, Go's syntax, any order."""
    text = (
        'stop                           "<|im_end|>"\n'
        "temperature                    0.7\n"
        'stop                           "Q:\\n\\"\\\\ \\u2028 ｜"\n'
        "num_ctx                        4096\n"
        "use_mmap                       true\n"
        "top_p                          1e-06"
    )
    found = parse_parameters(text)
    assert found == {
        "stop": ["<|im_end|>", 'Q:\n"\\ \u2028 ｜'],
        "temperature": 0.7,
        "num_ctx": 4096.0,
        "use_mmap": True,
        "top_p": 1e-06,
    }
    assert same_parameters(found, {**found, "stop": list(reversed(found["stop"])), "num_ctx": 4096})
    assert not same_parameters(found, {**found, "stop": ["<|im_end|>"]})
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
def test_modelfile_says_what_it_cannot_hold(system: str) -> None:
    text = modelfile("m", "{{ .Content }}", system, {})
    assert "SYSTEM" not in [line.split(" ")[0] for line in text.splitlines()]
    assert "# SYSTEM cannot be written here" in text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_names_never_crash(name: str) -> None:
    """Whatever is asked for: it can be or is refused."""
    try:
        check_name(name)
    except InputError:
        pass
    assert same_name(name, name)
