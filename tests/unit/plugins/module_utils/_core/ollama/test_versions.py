# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is too old is refused, and one of unknown version is named."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.versions import version_warning
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as made:
        yield made


@pytest.mark.parametrize("version", ["0.24.0", "0.24.1-rc2", "v0.30.0", "0.32.15", "0.100.0", "1.0.0"])
def test_a_version_that_is_new_enough_is_not_mentioned(server: FakeOllama, version: str) -> None:
    server.version = version
    assert version_warning(Ollama(server.url)) is None


@pytest.mark.parametrize("version", ["0.23.9", "0.3.24", "0.9.6-rc0"])
def test_a_version_that_is_too_old_is_refused(server: FakeOllama, version: str) -> None:
    server.version = version
    with pytest.raises(NotReadyError, match=f"{server.url} has version {version}, .* 0.24.0 or newer") as caught:
        version_warning(Ollama(server.url))
    assert "Upgrade it" in caught.value.hint


def test_a_version_that_is_too_old_for_a_base_is_refused(server: FakeOllama) -> None:
    server.version = "0.31.9"
    with pytest.raises(
        NotReadyError, match="0.31.9, which does not run models of the architecture new: 0.32.0 or newer"
    ):
        version_warning(Ollama(server.url), "new", "0.32.0")
    server.version = "0.32.0"
    assert version_warning(Ollama(server.url), "new", "0.32.0") is None


@pytest.mark.parametrize("version", ["0.0.0", "", "main", "24", "2026.10.3.1"])
def test_an_unknown_version_is_named(server: FakeOllama, version: str) -> None:
    server.version = version
    assert f"{server.url} reports the version {version!r}, which is unknown" in str(version_warning(Ollama(server.url)))


def test_a_server_that_does_not_answer_is_left_to_the_registration(server: FakeOllama) -> None:
    server.refuses.add("/api/version")
    assert version_warning(Ollama(server.url)) is None
    assert version_warning(Ollama(f"http://127.0.0.1:{free_port()}")) is None
