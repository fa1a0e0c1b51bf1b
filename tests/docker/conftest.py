# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for containers. They need a Docker Engine, which test.sh provides."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

pytest.register_assert_rewrite("ansible_collections.ia_homelab.llamafactory.tests.unit")

from ansible_collections.ia_homelab.llamafactory.tests.support.docker_lab import DockerLab, tiny_image  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import install_core  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import DockerKit  # noqa: E402


@pytest.fixture(scope="session")
def image() -> str:
    return tiny_image()


@pytest.fixture(scope="session")
def installed_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_core(tmp_path_factory.mktemp("core"))


@pytest.fixture
def kit(image: str, tmp_path: Path) -> DockerKit:
    return DockerKit(image, tmp_path)


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path, image: str) -> t.Iterator[DockerLab]:
    made = DockerLab(tmp_path, installed_core, image)
    yield made
    made.close()
