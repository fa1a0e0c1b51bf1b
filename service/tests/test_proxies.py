# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service behind a proxy, below a path, and called by pages of other origins."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_core.errors import InputError
from ia_homelab_service.settings import load

TOKEN = "trainer-0123456789abcdef"
HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}  # fmt: skip
ACCEPT = {"Accept": "application/json, text/event-stream"}
#: What a proxy with TLS adds.
FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Prefix": "/elsewhere"}
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def tokens(folder: Path) -> str:
    """Write a file with a token."""
    path = folder / "tokens.json"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    path.write_text(json.dumps([{"name": "trainer", "scopes": ["read", "train"], "sha256": digest}]))
    return str(path)


@pytest.fixture
def below(start: t.Callable[..., Service], tmp_path: Path) -> Service:
    """A service that a proxy serves below a path."""
    return start(tokens_file=tokens(tmp_path), trusted_proxies=["127.0.0.1"], root_path="/training/gpu/")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("prefix", ["", "/training/gpu"])
def test_mcp_answers_with_and_without_a_slash(below: Service, prefix: str, path: str) -> None:
    with below.client(TOKEN) as client:
        reply = client.post(f"{prefix}{path}", json=HELLO, headers={**ACCEPT, **FORWARDED})
        assert (reply.status_code, "serverInfo" in reply.text) == (200, True), reply.text
    with below.client() as anybody:
        assert anybody.post(f"{prefix}{path}", json=HELLO, headers=ACCEPT).status_code == 401


# a proxy may remove the prefix, or leave that to the service
@pytest.mark.parametrize("prefix", ["", "/training/gpu"])
def test_addresses_have_the_prefix(below: Service, prefix: str) -> None:
    with below.client(TOKEN) as client:
        client.headers.update(FORWARDED)
        with open(Path(__file__).parents[2] / "playbooks/files/homelab_prompts.json", "rb") as rows:
            assert client.post(f"{prefix}/api/datasets/homelab_prompts", files={"file": ("a.json", rows)}).is_success
        job = client.post(f"{prefix}/api/train", json=below.request())
        assert job.headers["location"] == f"/training/gpu/api/status/{job.json()['job_id']}"
        assert job.json()["links"]["self"] == job.headers["location"]
        slash = client.get(f"{prefix}/api/status/?x=1")
        assert slash.status_code == 200 or slash.headers["location"] == "/training/gpu/api/status?x=1"
        page = client.get(f"{prefix}/watch")
        addresses = {*re.findall(r'(?:href|action|src)=\\?"(/[^"\\]*)', page.text)}
        addresses |= {*re.findall(r'"(?:href|action)": ?"(/[^"]*)"', page.text)}
        assert len(addresses) > 3
        assert not [one for one in addresses if not one.startswith("/training/gpu/")], addresses
        static = re.search(r"/training/gpu(/_nicegui/[^\"')\\]+\.js)", page.text)
        assert static and client.get(f"{prefix}{static[1]}").status_code == 200
        told = client.get(f"{prefix}/v1/models/none")
        assert "error" in told.json()
    with below.client() as anybody:
        anybody.headers.update({**FORWARDED, "Accept": "text/html"})
        login = anybody.get(f"{prefix}/watch")
        assert (login.status_code, login.headers["location"]) == (303, "/training/gpu/login")
        form = anybody.get(f"{prefix}/login").text
        assert 'action="/training/gpu/login"' in form and 'href="/training/gpu/language/' in form


@pytest.mark.parametrize("root_path", ["training", "/a b", "/../x", "/api/gpu", "/v1"])
def test_root_paths_that_cannot_be_served(tmp_path: Path, root_path: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"data_dir": str(tmp_path), "no_token": True, "root_path": root_path}))
    with pytest.raises(InputError, match="root_path"):
        load(path)


def test_forwarded_headers_of_others_are_refused(start: t.Callable[..., Service], tmp_path: Path) -> None:
    service = start(tokens_file=tokens(tmp_path), trusted_proxies=["192.0.2.0/24"], root_path="/training")
    with service.client(TOKEN) as client:
        for header, value in (*FORWARDED.items(), ("Forwarded", "for=192.0.2.7"), ("X-Real-IP", "192.0.2.7")):
            assert client.get("/api/status", headers={header: value}).status_code == 403, header
        assert client.get("/api/status").status_code == 200


PAGE = """<!doctype html><title>none</title><script>
async function ask(path, options) {
  try {
    const reply = await fetch(ADDRESS + path, options);
    return [reply.status, (await reply.json()).status ?? '', reply.headers.get('www-authenticate') ?? ''];
  } catch (error) { return [0, '', '']; }
}
</script>"""


def test_pages_of_allowed_origins_in_a_browser(start: t.Callable[..., Service], tmp_path: Path) -> None:
    """Chromium asks for permission first (preflight), without the token."""
    service = start(run=False, tokens_file=tokens(tmp_path))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = PAGE.replace("ADDRESS", json.dumps(service.url)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: t.Any) -> None:
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _number in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    allowed, other = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    service.settings["allowed_origins"] = [f"{allowed}/"]
    service.start()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_page()
            ask = "([path, options]) => ask(path, options)"
            page.goto(allowed)
            assert page.evaluate(ask, ["/api/status", {"headers": headers}])[0] == 200
            posted = {"method": "POST", "headers": headers, "body": "{}"}
            assert page.evaluate(ask, ["/api/train", posted])[0] == 422
            deleted = {"method": "DELETE", "headers": headers}
            assert page.evaluate(ask, ["/api/datasets/none", deleted])[0] == 404
            # a page can read why it is refused
            status, _state, authenticate = page.evaluate(ask, ["/api/status", {}])
            assert (status, authenticate.partition(" ")[0]) == (401, "Bearer")
            page.goto(other)
            assert page.evaluate(ask, ["/api/status", {"headers": headers}])[0] == 0
            assert page.evaluate(ask, ["/api/train", posted])[0] == 0
            browser.close()
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    with service.client() as client:
        wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert client.options("/api/train", headers={"Origin": allowed, **wanted}).status_code == 200
        refused = client.options("/api/train", headers={"Origin": other, **wanted})
        assert refused.status_code >= 400 and "access-control-allow-origin" not in refused.headers
        assert "access-control-allow-credentials" not in client.get("/healthz", headers={"Origin": allowed}).headers
