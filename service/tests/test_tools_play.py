# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tools.yml and a plan, with real MCP servers made with both versions of the package mcp."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import httpx
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import ROOT

SERVER = Path(__file__).with_name("mcp_tools_server.py")
PLAYBOOK = ROOT / "playbooks" / "tools.yml"

#: Reads the tools as the role does for plan and apply, and publishes rows that name them.
READ = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ia_homelab.llamafactory.tools_file:
        name: homelab
        src: "{{ tools_file }}"
        mcp: "{{ mcp_url }}"
      register: read
    - ia_homelab.llamafactory.dataset:
        name: rows
        data_dir: "{{ data }}"
        tools: "{{ {'homelab': read.tools} }}"
        records:
          - tools: homelab
            messages:
              - {role: user, content: Demande Dune.}
              - role: assistant
                tool_calls: [{function: {name: request_media, arguments: {title: Dune}}}]
              - {role: tool, content: ok}
              - {role: assistant, content: C'est fait.}
      register: rows
    - ansible.builtin.debug:
        msg: "rows {{ rows.fingerprint }} reasons {{ rows.reasons | join(';') }}"
"""


@contextlib.contextmanager
def serving(*arguments: str, python: str = sys.executable, port: int = 0) -> t.Iterator[str]:
    """A real MCP server; gives the URL of its endpoint."""
    port = port or free_port()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen([python, str(SERVER), str(port), *arguments], env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def cut(url: str) -> t.Iterator[str]:
    """A proxy of a server that ends the list of tools in the middle of a schema; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answer = httpx.post(url, content=body, headers=headers, timeout=60, trust_env=False)
            content, schema = answer.content, answer.content.find(b'"inputSchema":{')
            content = content[: schema + 40] if schema >= 0 else content
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Mcp-Session-Id"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: t.Any) -> None:
            del format, arguments

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        finally:
            server.shutdown()


class Play:
    """A control machine with one declared set of tools."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "tools" / "homelab.json"
        self.token: Path | None = None
        self.include: list[str] = []

    def run(self, url: str, *arguments: str, playbook: Path = PLAYBOOK, fails: bool = False, **more: str) -> str:
        declared: dict[str, t.Any] = {"name": "homelab", "src": str(self.file), "mcp": url, "include": self.include}
        if self.token:
            declared["token_file"] = str(self.token)
        variables = {"finetune_tools": [declared], "finetune_hosts": "localhost", **more}
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment.update(
            ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
            ANSIBLE_COLLECTIONS_PATH=str(ROOT / "playbooks" / "collections"),
            ANSIBLE_PYTHON_INTERPRETER=sys.executable,
            COLUMNS="2000",
        )
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", str(playbook), "-e", json.dumps(variables)]
            + list(arguments),
            env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        return output

    def fetch(self, url: str, *arguments: str, **more: t.Any) -> str:
        return self.run(url, "-e", "finetune_tools_refresh=homelab", *arguments, **more)

    @property
    def names(self) -> list[str]:
        return [tool["function"]["name"] for tool in json.loads(self.file.read_text(encoding="utf-8"))]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a play writes of the tools of a server."""
    play = Play(tmp_path_factory.mktemp("fetched"))
    with serving("homelab") as url:
        play.fetch(url)
    return play.file.read_bytes()


@pytest.fixture
def fetched(play: Play, content: bytes) -> Play:
    """A control machine that has fetched these tools."""
    play.file.parent.mkdir()
    play.file.write_bytes(content)
    return play


def flat(output: str) -> str:
    """The output without the line breaks of the callback."""
    return " ".join(output.split())


@pytest.mark.parametrize("more", [[], ["json"], ["json", "stateless"]], ids=lambda more: "-".join(more) or "events")
def test_a_file_is_fetched_once(play: Play, more: list[str]) -> None:
    """Check mode writes nothing, the diff shows the file, the second run changes nothing."""
    with serving("homelab", *more) as url:
        checked = play.fetch(url, "--check", "--diff")
        assert not play.file.exists() and "changed=1" in checked and '+    "type": "function"' in checked
        assert "changed=1" in play.fetch(url)
        text = play.file.read_text(encoding="utf-8")
        assert "changed=0" in play.fetch(url)
        assert play.file.read_text(encoding="utf-8") == text
    assert play.names == ["request_media", "search_season"]
    tools = json.loads(text)
    assert "$ref" not in text and "$defs" not in text, "a model sees the schema itself"
    season = tools[1]["function"]["parameters"]["properties"]["season"]
    assert season["properties"]["series"] == {"type": "string", "description": "Titre de la série"}
    assert tools[0]["function"]["parameters"]["required"] == ["title"]


@pytest.mark.skipif("IA_MCP1_PYTHON" not in os.environ, reason="the first version of the package is not installed")
@pytest.mark.parametrize("more", [[], ["json"]], ids=["events", "json"])
def test_servers_of_the_first_version_offer_the_same(fetched: Play, more: list[str]) -> None:
    with serving("homelab", *more, python=os.environ["IA_MCP1_PYTHON"]) as url:
        assert "changed=0" in fetched.fetch(url)


def test_what_models_do_not_receive_is_named(play: Play) -> None:
    with serving("homelab") as url:
        output = flat(play.fetch(url))
    assert "3 parts of the tools homelab" in output
    assert "request_media.year.default: no server receives this key of a tool" in output
    assert "search_season.season.properties.number.minimum" in output


def test_only_the_included_tools_are_taken(play: Play) -> None:
    play.include = ["request_media"]
    with serving("circle") as url:
        play.fetch(url)
        assert play.names == ["request_media"]
        before = play.file.read_bytes()
        play.include = ["request_medai"]
        output = flat(play.fetch(url, fails=True))
    assert "has no tool 'request_medai' (include). Did you mean 'request_media'?" in output
    assert play.file.read_bytes() == before


def test_a_changed_server_is_a_warning_and_the_file_counts(play: Play, tmp_path: Path) -> None:
    """Rows keep their version until the file is fetched again; then the tools are the reason of the change."""
    read = tmp_path / "read.yml"
    read.write_text(READ, encoding="utf-8")
    port = free_port()

    def publish(*arguments: str) -> str:
        where = {"tools_file": str(play.file), "data": str(tmp_path / "data")}
        return flat(play.run(url, *arguments, playbook=read, mcp_url=url, **where))

    with serving("homelab", port=port) as url:
        play.fetch(url)
        first = publish()
        assert "reasons the rows are new" in first and "differ from" not in first
    with serving("more", port=port) as url:
        second = publish()
        assert "The tools homelab of" in second and "differ from" in second and ": added list_backups." in second
        assert "-e finetune_tools_refresh=homelab" in second
        assert "changed=0" in second, "only the file is used"
        assert "added list_backups" in flat(play.run(url)), "the playbook compares when nothing is to be fetched"
        play.fetch(url)
        third = publish("--diff")
    assert "reasons the tools homelab changed" in third and "differ from" not in third
    silent = publish()
    assert "changed=0" in silent and "WARNING" not in silent, "a plan needs no live server"


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("silent", "does not answer: no answer within"),
        ("closed", "does not answer: Connection refused"),
        ("path", "is no MCP server over streamable HTTP: HTTP status 404"),
        ("circle", "walk.inputSchema.properties.node.properties.inner.items.$ref: it refers to itself"),
        ("invalid", "rate.inputSchema.properties.stars.required: it is true, and not a list of names"),
        ("half", "is no MCP server over streamable HTTP: HTTP status 200, application/json"),
    ],
)
def test_errors_leave_the_file(fetched: Play, content: bytes, case: str, message: str) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        urls = {
            "silent": lambda: f"http://127.0.0.1:{listener.getsockname()[1]}/mcp",
            "closed": lambda: f"http://127.0.0.1:{free_port()}/mcp",
            "path": lambda: stack.enter_context(serving("homelab")).replace("/mcp", "/other"),
            "circle": lambda: stack.enter_context(serving("circle")),
            "invalid": lambda: stack.enter_context(serving("invalid")),
            "half": lambda: stack.enter_context(cut(stack.enter_context(serving("homelab", "json")))),
        }
        # short only where none answers: a busy machine may take seconds for an answer
        limit = ["-e", "finetune_tools_timeout=2"] if case == "silent" else []
        output = flat(fetched.fetch(urls[case](), *limit, fails=True))
    assert message in output, output
    assert fetched.file.read_bytes() == content
    assert [path.name for path in fetched.file.parent.iterdir()] == ["homelab.json"]


def test_a_name_that_is_not_declared_is_refused(play: Play) -> None:
    output = flat(play.run("http://127.0.0.1:9/mcp", "-e", "finetune_tools_refresh=homlab", fails=True))
    assert "finetune_tools declares no homlab. It declares homelab." in output
