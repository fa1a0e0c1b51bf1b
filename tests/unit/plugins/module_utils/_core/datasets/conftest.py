# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a data directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data directory."""
    return Layout(str(tmp_path / "data"))
