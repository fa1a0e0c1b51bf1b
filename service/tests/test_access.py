# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access control: tokens, hosts, origins, sizes."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_service.http.app import create_app
from ia_homelab_service.http.upload_routes import LargeBodies
from ia_homelab_service.openai import routes as openai_routes
from ia_homelab_service.rest import routes as rest_routes
from ia_homelab_service.settings import Settings

READER, TRAINER = "reader-0123456789abcdef", "trainer-0123456789abcdef"


def tokens(folder: Path) -> str:
    """Write a file with both tokens, like the role."""
    path = folder / "tokens.json"
    value = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(token.encode()).hexdigest()}
        for name, scopes, token in (("reader", ["read"], READER), ("trainer", ["read", "train"], TRAINER))
    ]
    path.write_text(json.dumps(value))
    return str(path)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service with tokens and a small quota."""
    root = tmp_path_factory.mktemp("closed")
    service = Service(
        root / "service",
        {
            "tokens_file": tokens(root),
            "max_body_bytes": 4096,
            "max_chat_bytes": 4096,
            "upload_quota_bytes": 200_000,
            "allowed_hosts": ["pc-ia.lan"],
            "allowed_origins": ["https://homelab.lan"],
        },
    )
    yield service.start()
    service.close()


@pytest.mark.parametrize(
    ("token", "method", "path", "status"),
    [
        ("", "GET", "/api/status", 401),
        ("wrong-0123456789abcdef", "GET", "/api/status", 401),
        (READER, "GET", "/api/status", 200),
        (TRAINER, "GET", "/metrics", 200),
        ("", "GET", "/metrics", 401),
        ("", "GET", "/healthz", 200),
        ("", "GET", "/v1/fine_tuning/jobs", 401),
        (READER, "GET", "/v1/fine_tuning/jobs", 200),
        (READER, "POST", "/api/train", 403),
        (TRAINER, "POST", "/api/train", 422),
        (READER, "DELETE", "/api/datasets/nothing", 403),
        (TRAINER, "DELETE", "/api/datasets/nothing", 404),
        (READER, "POST", "/api/jobs/nothing/cancel", 403),
        (READER, "POST", "/v1/fine_tuning/jobs", 403),
        (READER, "POST", "/api/plan", 422),
        (READER, "POST", "/v1/chat/completions", 422),
    ],
)
def test_tokens_have_scopes(closed: Service, token: str, method: str, path: str, status: int) -> None:
    with closed.client(token) as client:
        reply = client.request(method, path, json={} if method == "POST" else None)
    assert reply.status_code == status, reply.text
    if status in (401, 403):
        assert ("error" in reply.json()) == path.startswith("/v1/")
    if status == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8000"}, 421),
        ({"Host": "192.168.1.5"}, 421),
        ({"Host": "pc-ia.lan:8000"}, 422),
        ({"Host": "[::1]:8000"}, 422),
        ({"Host": "localhost@evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "pc-ia.lan", "Origin": "http://pc-ia.lan"}, 422),
        ({"Host": "pc-ia.lan", "Origin": "http://pc-ia.lan.evil.example"}, 403),
        ({"Origin": "https://homelab.lan"}, 422),
    ],
)
def test_hosts_and_origins_are_checked(closed: Service, headers: dict[str, str], status: int) -> None:
    with closed.client(TRAINER) as client:
        assert client.post("/api/train", json={}, headers=headers).status_code == status


def test_bodies_have_a_size_limit(closed: Service) -> None:
    def pieces() -> t.Iterator[bytes]:
        for _number in range(10_000):
            yield b" " * 1000

    with closed.client(TRAINER) as client:
        json_type = {"Content-Type": "application/json"}
        assert client.post("/api/train", content=b" " * 5000, headers=json_type).status_code == 413
        assert client.post("/api/train", content=pieces(), headers=json_type).status_code == 413


#: Types of content that are, or resemble, those of uploads.
UPLOAD_TYPES = [
    "multipart/form-data",
    "multipart/form-data+json",
    "application/octet-stream",
    "multipart/form-data; a=b",
]


@pytest.mark.parametrize("content_type", UPLOAD_TYPES)
@pytest.mark.parametrize(
    "path", ["/api/train", "/api/plan", "/v1/fine_tuning/jobs", "/v1/chat/completions", "/login", "/logout", "/mcp"]
)
def test_the_limit_of_a_body_follows_the_route_and_not_its_type(closed: Service, path: str, content_type: str) -> None:
    with closed.client(TRAINER) as client:
        reply = client.post(path, content=b" " * 5000, headers={"Content-Type": content_type})
    assert reply.status_code == 413, reply.text


@pytest.mark.parametrize(
    "path", ["/api/datasets/m", "/api/training/llamafactory/datasets/m", "/api/datasets/m/validate"]
)
def test_an_upload_may_be_larger_than_another_body_whatever_its_type(closed: Service, path: str) -> None:
    rows = b'{"instruction": "a", "output": "b"}\n' * 1000
    with closed.client(TRAINER) as client:
        for content_type in ("application/octet-stream", "application/jsonl"):
            reply = client.post(path, content=rows, headers={"Content-Type": content_type})
            assert reply.status_code in (200, 201), reply.text
        assert client.put(path, content=rows).status_code == 413
        client.delete("/api/datasets/m?purge=true")


def test_the_routes_that_receive_files(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), no_token=True)
    app = create_app(settings)
    for interface in (rest_routes, openai_routes):
        interface.mount(app)
    routes = LargeBodies(app)
    found = {
        path
        for path in ("/api/datasets/x", "/api/datasets/x/validate", "/v1/files", "/v1/files/x", "/api/train", "/login")
        if routes.is_upload({"method": "POST", "path": path})
    }
    assert found == {"/api/datasets/x", "/api/datasets/x/validate", "/v1/files"}


def test_uploads_have_a_quota_and_leave_no_files(closed: Service) -> None:
    rows = b'{"instruction": "a", "output": "b"}\n' * 10_000
    with closed.client(TRAINER) as client:
        # refused while it arrives, and refused when it is stored: a form may be a little larger than its file
        for size in (len(rows), 210_000):
            reply = client.post("/api/datasets/large", files={"file": ("large.jsonl", rows[:size])})
            assert reply.status_code == 413, reply.text
            assert "training_service_upload_quota_bytes" in reply.json()["hint"]
        raw = client.post("/api/datasets/large", content=rows, headers={"Content-Type": "application/octet-stream"})
        assert raw.status_code == 413, raw.text
        assert client.post("/v1/files", files={"file": ("large.jsonl", rows)}, data={"purpose": "fine-tune"}).json()[
            "error"
        ]["message"]
    assert not list((closed.root / "data/service/uploads").iterdir())


def test_a_dataset_may_be_called_like_a_request(closed: Service) -> None:
    row = b'{"instruction": "a", "output": "b"}\n'
    path = "/api/datasets/validate"
    with closed.client(READER) as reader, closed.client(TRAINER) as trainer:

        def post(client: httpx.Client, path: str, content: bytes = row) -> int:
            return client.post(path, files={"file": ("rows.jsonl", content)}).status_code

        assert post(reader, path) == 403
        assert reader.get(path).status_code == 404
        assert post(trainer, path) == 201
        assert reader.get(path).json()["rows"] == 1
        assert post(reader, path, row * 2) == 403
        assert reader.delete(path).status_code == 403
        assert reader.get(path).json()["rows"] == 1
        # the request of that name checks rows, also those of a dataset of that name
        assert post(reader, f"{path}/validate", row * 2) == 200
        assert reader.get(path).json()["rows"] == 1
        assert trainer.delete(path).status_code == 204
        assert reader.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/api/train", "application/json"),
        ("/v1/fine_tuning/jobs", "application/json"),
        ("/api/datasets/large", "multipart/form-data; boundary=b"),
        ("/datasets", "multipart/form-data; boundary=b"),
    ],
)
@pytest.mark.parametrize(("token", "status"), [("", b"401"), (READER, b"403")])
def test_no_body_is_awaited_from_who_may_not(
    closed: Service, path: str, media_type: str, token: str, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", closed.port), timeout=120) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: 4000\r\n"
        connection.sendall(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        assert connection.recv(4096).split()[1] == status


def test_no_token_is_ever_written(closed: Service) -> None:
    with closed.client(TRAINER) as client:
        client.post("/api/train", json={"model": f"Bearer {TRAINER}", "dataset": 5})
        client.get("/api/status/nothing")
    for path in closed.root.rglob("*"):
        if path.is_file() and path.name != "tokens.json":
            content = path.read_bytes()
            assert TRAINER.encode() not in content and READER.encode() not in content, path


def refusal(service: Service) -> str:
    """The message with which a service does not start."""
    argv, environment = service.command()
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"no_token": False}, "No token is set"),
        ({"no_token": False, "host": "0.0.0.0"}, "No token is set"),
        ({"no_token": True, "host": "0.0.0.0"}, "is reached by other machines"),
        ({"no_token": True, "tokens_file": "/tokens.json"}, "there are tokens in tokens_file"),
        ({"no_token": True, "trusted_proxies": ["127.0.0.1"]}, "trusted_proxies may forward"),
        ({"trusted_proxies": ["proxy.lan"]}, "'proxy.lan' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_access_that_is_not_controlled_is_refused(
    start: t.Callable[..., Service], settings: dict[str, t.Any], message: str
) -> None:
    assert message in refusal(start(run=False, **settings))


DIGEST = hashlib.sha256(TRAINER.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("", "is not JSON"),
        ("[]", "has no token"),
        ("{}", "is no list of tokens"),
        ([{"name": "a", "scopes": ["train"]}], "Entry 1"),
        (["a"], "Entry 1"),
        ([{"name": "a", "scopes": ["train"], "sha256": DIGEST[:-1]}], "not 64 hexadecimal digits"),
        ([{"name": "a", "scopes": ["train"], "sha256": "g" * 64}], "not 64 hexadecimal digits"),
        ([{"name": "a", "scopes": [], "sha256": DIGEST}], "must be some of read and train"),
        ([{"name": "a", "scopes": ["admin"], "sha256": DIGEST}], "must be some of read and train"),
        ([{"name": "a", "scopes": ["read"], "sha256": DIGEST}, {"name": "b"}], "Entry 2"),
    ],
)
def test_a_file_that_yields_no_token_is_an_error(
    start: t.Callable[..., Service], tmp_path: Path, content: t.Any, message: str
) -> None:
    path = tmp_path / "tokens.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    reported = refusal(start(run=False, tokens_file=str(path)))
    assert message in reported and str(path) in reported


FORWARDED = [
    {"X-Forwarded-For": "192.0.2.7"},
    {"X-Forwarded-Host": "pc-ia.lan"},
    {"X-Forwarded-Proto": "https"},
    {"X-Real-IP": "192.0.2.7"},
    {"Forwarded": "for=192.0.2.7;proto=https"},
    {"Via": "1.1 proxy"},
]


@pytest.fixture(scope="module")
def without_token(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service without tokens, which was given names of its host nevertheless."""
    service = Service(tmp_path_factory.mktemp("open") / "service", {"no_token": True, "allowed_hosts": ["pc-ia.lan"]})
    yield service.start()
    service.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8000", 200),
        ("127.0.0.2", 200),
        ("[::1]", 200),
        ("pc-ia.lan", 421),
        ("192.0.2.7", 421),
        ("localhost.evil.example", 421),
    ],
)
def test_without_tokens_only_names_of_loopback_are_answered(without_token: Service, host: str, status: int) -> None:
    with without_token.client() as client:
        assert client.get("/api/status", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("headers", FORWARDED)
def test_forwarded_requests_are_refused(without_token: Service, closed: Service, headers: dict[str, str]) -> None:
    for service, token in ((without_token, ""), (closed, TRAINER)):
        with service.client(token) as client:
            reply = client.get("/api/status", headers=headers)
            assert reply.status_code == 403, reply.text
            assert "forwarded by a proxy" in reply.json()["detail"]
            assert ("training_service_trusted_proxies" in reply.json()["hint"]) == bool(token)
            assert client.get("/api/status").status_code == 200


@pytest.mark.parametrize(
    ("proxies", "status"), [(["127.0.0.1"], 200), (["10.0.0.0/8", "127.0.0.0/24"], 200), (["192.0.2.1"], 403)]
)
def test_trusted_proxies_may_forward(
    start: t.Callable[..., Service], tmp_path: Path, proxies: list[str], status: int
) -> None:
    service = start(tokens_file=tokens(tmp_path), trusted_proxies=proxies)
    with service.client(TRAINER) as client, service.client() as anonymous:
        for headers in FORWARDED:
            assert client.get("/api/status", headers=headers).status_code == status, headers
        # the proxy vouches for the connection, not for the caller
        assert anonymous.get("/api/status", headers=FORWARDED[0]).status_code == (401 if status == 200 else 403)
        if status == 200:
            cookies = anonymous.get("/login", headers={"X-Forwarded-Proto": "https"}).headers.get_list("set-cookie")
            assert cookies and all("Secure" in one for one in cookies)
            cookies = anonymous.get("/login", headers={"X-Forwarded-Proto": "http"}).headers.get_list("set-cookie")
            assert not any("Secure" in one for one in cookies)


def test_other_addresses_than_loopback_are_reached_with_a_token(
    start: t.Callable[..., Service], tmp_path: Path
) -> None:
    service = start(host="0.0.0.0", tokens_file=tokens(tmp_path))
    with service.client(READER) as client, service.client() as anonymous:
        assert client.get("/api/status").status_code == 200
        assert anonymous.get("/api/status").status_code == 401
