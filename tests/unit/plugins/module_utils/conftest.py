# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine to try things on."""

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
    """What a test of a runner needs to know of it."""
    return ProcessKit()


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path) -> t.Iterator[Lab]:
    """An engine with a data directory of its own; whatever still runs at the end is ended."""
    made = Lab(tmp_path, installed_core)
    yield made
    made.close()
