# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: an installed core, an engine with its own data directory, a runner kit."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, install_core
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import ProcessKit


@pytest.fixture(scope="session")
def installed_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def kit() -> ProcessKit:
    """The properties of the runner under test."""
    return ProcessKit()


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path) -> t.Iterator[Lab]:
    """An engine with its own data directory; remaining processes are killed at the end."""
    lab = Lab(tmp_path, installed_core)
    yield lab
    lab.close()
