# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: servers that yield the GPU, without a server."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_lease
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_lab import Host, Jobs, Recorded


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(gpu_lease, "find", host.find)
    monkeypatch.setattr(gpu_lease, "labelled", lambda _label, _docker: [Recorded(name, host) for name in host.labelled])
    monkeypatch.setattr(gpu_lease, "from_dict", host.server)
    return host


@pytest.fixture
def ollama() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {"m:latest": "1" * 64}
        server.loaded = ["m:latest"]
        yield server


@pytest.fixture
def jobs(tmp_path: Path, ollama: FakeOllama) -> Jobs:
    layout = Layout(str(tmp_path))
    layout.create()
    return Jobs(layout, Toolchain(ollama_url=ollama.url))
