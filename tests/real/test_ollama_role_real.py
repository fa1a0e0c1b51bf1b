# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ollama with real programs as archives on the controller: installation, upgrade in place, refusals."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port, program_of
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import ROOT, Played, run_play

PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: ia_homelab.llamafactory.ollama
"""
ASK = [{"role": "user", "content": "Bonjour"}]


class Host:
    """This machine, with a directory of tools that contains only the builder."""

    def __init__(self, root: Path) -> None:
        self.root, self.tools = root, root / "tools"
        self.tools.mkdir()
        (builder,) = Path(os.environ["IA_TOOLS_DIR"]).glob("builder-*")
        (self.tools / builder.name).symlink_to(builder)
        self.declared: dict[str, t.Any] = {
            "ansible_python_interpreter": sys.executable,
            "llamafactory_data_dir": str(root / "data"),
            "llamafactory_tools_dir": str(self.tools),
            "ollama_service": "process",
            "ollama_install": "archive",
            "ollama_port": free_port(),
        }
        (root / "play.yml").write_text(PLAY)

    @property
    def ollama(self) -> Ollama:
        """A client of the server that the role runs."""
        return Ollama(f"http://127.0.0.1:{self.declared['ollama_port']}", slow_timeout=120)

    def archive(self, name: str) -> dict[str, dict[str, str]]:
        """The program of a server and what lies beside it, as an archive on the controller."""
        path = self.root / f"ollama-{name}.tar.gz"
        tree = Path(program_of(name)).parents[1]
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            for part in ("bin", "lib"):
                if (tree / part).exists():
                    tar.add(tree / part, part)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {platform.machine(): {"url": str(path), "sha256": digest}}

    def play(self, *arguments: str, **declared: t.Any) -> Played:
        variables = self.root / "variables.json"
        variables.write_text(json.dumps({**self.declared, **declared}))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
            "ANSIBLE_NOCOLOR": "1",
        }
        command = [program, "-i", "localhost,", "-c", "local", "play.yml", "-e", f"@{variables}", *arguments]
        return run_play(command, environment, self.root, timeout=300)


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    made = Host(tmp_path)
    yield made
    if (tmp_path / "data").exists():
        made.play(ollama_state="absent").well()


def test_an_upgrade_in_place_keeps_the_models(host: Host, gguf: t.Any) -> None:
    """A pinned 0.24.0 is installed from the controller and makes a model; the default version replaces the program."""
    old: dict[str, t.Any] = {"ollama_version": "0.24.0", "ollama_archives": host.archive("old")}
    assert host.play("--check", **old).well().changed
    assert not (host.root / "data").exists(), "check mode creates nothing"
    assert "Copy the archive from the controller" in host.play(**old).well().changed
    assert host.ollama.version() == "0.24.0"
    assert host.play(**old).well().recap["changed"] == 0
    host.ollama.push_blob(gguf.path, gguf.digest)
    host.ollama.create("kept", files={"model.gguf": gguf.digest}, template="{{ .Prompt }}")
    digest = host.ollama.digest("kept")

    current = {"ollama_archives": host.archive("current")}
    host.play(**current).well()
    assert host.ollama.version() != "0.24.0"
    assert host.ollama.digest("kept") == digest
    assert host.ollama.chat("kept", ASK, {"temperature": 0})["done"]
    assert host.play(**current).well().recap["changed"] == 0
    assert not list(host.tools.glob(".archive-*")), "the copies are removed"
    assert len(list(host.tools.glob("ollama-*"))) == 2, "the earlier program stays"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"ollama_version": "0.23.2"}, "needs Ollama 0.24.0 or newer"),
        ({"ollama_version": "latest"}, "needs Ollama 0.24.0 or newer"),
        (
            {"ollama_version": "0.31.0"},
            "The checksums of the archives of Ollama 0.31.0 are not known; those of 0.32.15 and",
        ),
        (
            {"ollama_archives": {platform.machine(): {"url": "/missing/ollama.tar.zst", "sha256": "0" * 64}}},
            "ollama_archives names /missing/ollama.tar.zst, which is no file on the controller",
        ),
        ({"ollama_archives": {"m68k": {}}}, f"ollama_archives names no archive for {platform.machine()}"),
    ],
)
def test_what_cannot_be_installed_is_refused(host: Host, declared: dict[str, t.Any], message: str) -> None:
    played = host.play(**declared)
    # Ansible folds long messages.
    assert played.status and message in " ".join(played.output.split()), played.output[-3000:]
    assert not (host.root / "data").exists()


def test_a_copy_that_is_damaged_is_refused_and_removed(host: Host) -> None:
    archives = host.archive("current")
    archives[platform.machine()]["sha256"] = "0" * 64
    played = host.play(ollama_archives=archives)
    assert played.status and f"{'0' * 64} is expected" in " ".join(played.output.split())
    assert not list(host.tools.glob(".archive-*")) and not list(host.tools.glob("ollama-*"))
