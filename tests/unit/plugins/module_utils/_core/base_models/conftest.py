# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a fake hub with one repository, an empty data directory and a token."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_lab import (
    FILES,
    QWEN,
    TOKEN,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn


@pytest.fixture
def hub() -> t.Iterator[HubStandIn]:
    with HubStandIn() as server:
        server.add(QWEN, FILES)
        yield server


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "data"))


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return str(path)
