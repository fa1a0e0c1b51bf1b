# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of apt as the documentation of Docker and NVIDIA, or an owner, writes them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import apt_sources as a

DOCKER = a.Repository(
    "/etc/apt/sources.list.d/docker.sources",
    "/etc/apt/keyrings/docker.asc",
    "https://download.docker.com/linux/debian",
    "bookworm",
    ("stable",),
)
NVIDIA = a.Repository(
    "/etc/apt/sources.list.d/nvidia-container-toolkit.sources",
    "/etc/apt/keyrings/nvidia-container-toolkit.asc",
    "https://nvidia.github.io/libnvidia-container/stable/deb/amd64",
    "/",
)
TEXT = """Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/docker.asc
"""
URL = DOCKER.uri


def write(root: Path, name: str, text: str) -> None:
    path = root / "etc/apt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def state(root: Path, repository: a.Repository = DOCKER, legacy: str = "") -> dict[str, t.Any]:
    own = a.is_own(repository.path, legacy, str(root))
    return a.state_of(repository, a.read_sources(str(root)), own=own, arch="amd64", root=str(root))


USABLE: dict[str, tuple[str, str, int]] = {
    "another key": (
        "sources.list.d/docker.list",
        f"# Docker\n\ndeb [arch=amd64 signed-by=/usr/share/keyrings/docker.gpg] {URL} bookworm stable\n",
        3,
    ),
    "trusted key": ("sources.list", f"deb {URL}/ bookworm stable test # mine\n", 1),
    "http": ("sources.list", "deb http://Download.docker.com/linux/debian bookworm stable\n", 1),
    "deb822": (
        "sources.list.d/mine.sources",
        f"Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm\n\n# comment\nTypes: deb deb-src\n"
        f"URIs: {URL}\nSuites: bookworm\nComponents: stable\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n aaaa\n",
        6,
    ),
    "file of the role, written by somebody else": ("sources.list.d/docker.sources", TEXT, 1),
    "another suite": ("sources.list.d/docker.list", f"deb {URL} bullseye stable\n", 1),
}


@pytest.mark.parametrize("name", USABLE)
def test_a_source_that_is_there_is_used(tmp_path: Path, name: str) -> None:
    path, text, line = USABLE[name]
    write(tmp_path, path, text)
    found = state(tmp_path)
    assert found["source"] == f"/etc/apt/{path}:{line}"
    assert (found["own"], found["problem"]) == (False, "")
    assert found["suite"] == ("bullseye" if name == "another suite" else "bookworm")
    assert found["key_used"] == name.startswith("file of the role")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list", f"# deb {URL} bookworm stable\n"),
        ("sources.list", "deb https://download.docker.com/linux/ubuntu noble stable\n"),
        ("sources.list", "deb http://deb.debian.org/debian bookworm main\n"),
        ("sources.list.d/docker.sources.disabled", TEXT),
        ("sources.list.d/mine.sources", TEXT + "Enabled: no\n"),
    ],
)
def test_what_has_nothing_of_the_repository_is_not_used(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, name, text)
    assert state(tmp_path) == {"source": "", "suite": "", "own": False, "beside": "", "key_used": False, "problem": ""}


def test_the_lines_of_nvidias_documentation_are_recognized(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sources.list.d/nvidia-container-toolkit.list",
        "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg] "
        "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
        "#deb [signed-by=/x.gpg] https://nvidia.github.io/libnvidia-container/experimental/deb/$(ARCH) /\n",
    )
    found = state(tmp_path, NVIDIA)
    assert found["source"] == "/etc/apt/sources.list.d/nvidia-container-toolkit.list:1"
    assert found["suite"] == "/"


def test_a_source_of_the_role_is_told_from_others(tmp_path: Path) -> None:
    write(tmp_path, "sources.list.d/docker.sources", f"{a.SOURCE_HEADER}\n{TEXT}")
    assert state(tmp_path) == {"source": "", "suite": "", "own": True, "beside": "", "key_used": False, "problem": ""}
    write(
        tmp_path, "sources.list.d/docker.list", f"deb [signed-by=/etc/apt/keyrings/docker.asc] {URL} bookworm stable\n"
    )
    found = state(tmp_path)
    assert found["own"] and found["source"] == "/etc/apt/sources.list.d/docker.list:1" and found["key_used"]
    assert found["beside"] == found["source"]


@pytest.mark.parametrize("conflicts", [True, False])
def test_a_source_that_cannot_be_used_keeps_the_one_of_the_role_away_if_they_conflict(
    tmp_path: Path, conflicts: bool
) -> None:
    write(tmp_path, "sources.list.d/docker.sources", f"{a.SOURCE_HEADER}\n{TEXT}")
    key = "/mine.gpg" if conflicts else DOCKER.key
    write(tmp_path, "sources.list.d/docker.list", f"deb [signed-by={key}] {URL} bookworm test\n")
    found = state(tmp_path)
    assert found["source"] == "" and found["problem"]
    assert found["beside"] == ("/etc/apt/sources.list.d/docker.list:1" if conflicts else "")


def test_a_source_of_an_earlier_version_is_told_by_its_text(tmp_path: Path) -> None:
    write(tmp_path, "sources.list.d/docker.sources", TEXT)
    assert state(tmp_path, legacy=TEXT)["own"]
    write(tmp_path, "sources.list.d/docker.sources", TEXT.replace("stable", "stable test"))
    assert not state(tmp_path, legacy=TEXT)["own"]


@pytest.mark.parametrize(
    "text",
    [
        f"deb {URL} bookworm test\n",
        f"deb-src {URL} bookworm stable\n",
        f"deb [arch=arm64] {URL} bookworm stable\n",
    ],
)
def test_a_source_without_what_is_needed_is_a_problem(tmp_path: Path, text: str) -> None:
    write(tmp_path, "sources.list.d/docker.list", text)
    found = state(tmp_path)
    assert found["source"] == ""
    assert "/etc/apt/sources.list.d/docker.list:1" in found["problem"] and "Correct" in found["problem"]


def test_a_disabled_source_in_the_file_of_the_role_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path, "sources.list.d/docker.sources", TEXT + "Enabled: no\n")
    assert "/etc/apt/sources.list.d/docker.sources was not written by this collection" in state(tmp_path)["problem"]


def test_two_sources_of_the_owner_that_conflict_are_named(tmp_path: Path) -> None:
    write(tmp_path, "sources.list", f"deb [signed-by=/a.gpg] {URL} bookworm stable\n")
    write(tmp_path, "sources.list.d/b.list", f"deb [signed-by=/b.gpg] {URL}/ bookworm stable\n")
    problem = state(tmp_path)["problem"]
    assert "/etc/apt/sources.list:1 and /etc/apt/sources.list.d/b.list:1" in problem and "Signed-By" in problem
