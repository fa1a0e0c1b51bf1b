# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What roles fetch is pinned: images by default, keys of apt by checksum, one index for one package."""

from __future__ import annotations

import http.server
import os
import re
import sys
import threading
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ROOT, ansible_playbook

ROLES = ROOT / "roles"
#: Tags that are known to move.
MOVING = re.compile(r":(latest|full|full-cuda|stable|main|master|edge|server|light)$|^[^:@]+$")


def values(role: str, part: str = "defaults") -> dict[str, t.Any]:
    return dict(yaml.safe_load((ROLES / role / part / "main.yml").read_text(encoding="utf-8")))


def images() -> list[str]:
    found: list[str] = []
    for role in ("llamafactory", "ollama", "nvidia_docker"):
        for name, value in values(role).items():
            if re.search(r"_images?$", name):
                found += value.values() if isinstance(value, dict) else [value]
    return [image for image in found if image]


def test_no_default_image_has_a_tag_that_moves() -> None:
    assert len(images()) >= 5
    assert [image for image in images() if MOVING.search(image)] == []


def test_keys_are_fetched_with_a_checksum() -> None:
    known = values("nvidia_docker", "vars")["nvidia_docker_known_keys"]
    assert len(known) == 2 and all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in known.values())


def test_no_index_is_mixed_with_another() -> None:
    sources = [
        ROLES / "llamafactory/files/images/cpu/Dockerfile",
        ROOT / "plugins/module_utils/_provisioning/python_environments.py",
    ]
    for path in sources:
        text = path.read_text(encoding="utf-8")
        assert "index-strategy" not in text and '"--index"' not in text, path
        for place in re.finditer("--no-verify-hashes", text):
            around = text[max(0, place.start() - 500) : place.end()]
            assert "--no-deps" in around and "--default-index" in around, path


class Repository(t.NamedTuple):
    """A server that has a key, and a play that fetches it."""

    root: Path
    url: str

    def fetch(self, checksum: str) -> tuple[int, str]:
        apt = self.root / "apt"
        for tasks in (ROLES / "nvidia_docker/tasks").glob("repository*.yml"):
            text = tasks.read_text(encoding="utf-8")
            (self.root / tasks.name).write_text(text.replace("/etc/apt", str(apt)))
        (self.root / "play.yml").write_text(
            f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: {sys.executable}
  tasks:
    - ansible.builtin.include_tasks: {self.root}/repository.yml
      vars:
        nvidia_docker_repository: docker
        nvidia_docker_probe: {{apt_sources: {{docker: {{source: "", problem: ""}}}}}}
        nvidia_docker_source_header: "# Header"
        nvidia_docker_keys: {{docker: {{url: "{self.url}/gpg", checksum: "{checksum}", option: key_checksum}}}}
        nvidia_docker_repositories:
          docker:
            {{path: "{apt}/sources.list.d/docker.sources", key: "{apt}/keyrings/docker.asc", text: "Types: deb"}}
"""
        )
        return ansible_playbook(self.root, "-i", "localhost,", "play.yml")


@pytest.fixture
def repository(tmp_path: Path) -> t.Iterator[Repository]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"key")

        def log_message(self, format: str, *args: t.Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Repository(tmp_path, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_key_with_another_checksum_is_refused(repository: Repository) -> None:
    right = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"
    status, output = repository.fetch("sha256:" + "0" * 64)
    assert status != 0 and "did not match" in output, output
    assert not (repository.root / "apt/sources.list.d/docker.sources").exists()
    status, output = repository.fetch(right)
    assert status == 0 and "[WARNING]" not in output, output
    assert (repository.root / "apt/keyrings/docker.asc").read_text() == "key"
    status, output = repository.fetch("")
    assert status == 0 and "Set key_checksum" in output, output


@pytest.mark.slow
def test_an_image_that_is_named_by_a_tag_gets_a_warning_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``docker`` is a stand-in that knows the digest of one image."""
    digest = "sha256:" + "a" * 64
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$4" = \'{{{{join .RepoDigests " "}}}}\' ] || exit 9\n'
        f'case $5 in reg/one:1) echo "reg/one@{digest} mirror/one@{digest}";; *) exit 1;; esac\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "play.yml").write_text(
        f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{ROLES}/llamafactory/defaults/main.yml, {ROLES}/llamafactory/vars/main.yml]
  vars:
    ansible_python_interpreter: {sys.executable}
  tasks:
    - ansible.builtin.include_tasks: {ROLES}/llamafactory/tasks/compose_image_digests.yml
      vars:
        llamafactory_kind: cuda
        llamafactory_image: reg/one:1
        llamafactory_llama_cpp_images: {{cuda: "reg/two@{digest}"}}
        llamafactory_proxy: true
        llamafactory_proxy_image: reg/three:1
"""
    )
    status, output = ansible_playbook(tmp_path, "-i", "localhost,", "play.yml")
    text = " ".join(output.split())
    assert status == 0, output
    assert f"name it reg/one:1@{digest}." in text
    assert "reg/three:1 is named by a tag" in text and "add @sha256: and its digest" in text
    assert "reg/two@" not in text, "it is pinned"
