# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are started for a test."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[t.Callable[..., Service]]:
    """Start services with given settings; they and their jobs are stopped afterwards."""
    made: list[Service] = []

    def start(name: str = "service", run: bool = True, **settings: t.Any) -> Service:
        service = Service(tmp_path / name, settings)
        made.append(service)
        return service.start() if run else service

    yield start
    for service in made:
        service.close()


@pytest.fixture
def service(start: t.Callable[..., Service]) -> Service:
    """An empty service."""
    return start()


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """An empty service, shared by all tests that change nothing."""
    service = Service(tmp_path_factory.mktemp("idle") / "service", {}).start()
    yield service
    service.close()
