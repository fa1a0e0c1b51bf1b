# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for the programs that provisioning runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.stand_in_tools import StandIns


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    """Stand-ins that come first in the PATH, among them a Python 3.12 and a C++ compiler."""
    made = StandIns(tmp_path / "stand-ins")
    made.add("python3.12", "c++", "cc")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "CGO_CFLAGS", "CGO_CXXFLAGS", "GOFLAGS"):
        monkeypatch.delenv(name, raising=False)
    return made
