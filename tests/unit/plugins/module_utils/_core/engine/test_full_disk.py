# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk, at every point of a run: told with figures, nothing broken, and it goes on once there is room.

The real steps: ``tests/real/test_full_disk_real.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.full_disk import on_small_disk

_SCENARIO = Path(__file__).parents[5] / "support" / "full_disk.py"


def test_full_at_every_point_of_a_run(tmp_path: Path, installed_core: Path) -> None:
    found = on_small_disk(tmp_path, _SCENARIO, "3m", str(installed_core), "run")
    assert found["problems"] == []
    told = found["told"]
    assert isinstance(told, list) and len(told) >= 10, "it did run full"
    for message in told:
        assert "The disk is full" in message and "MB free" in message, message
    assert found["succeeded"], "with enough room it comes to its end"


@pytest.mark.parametrize("what", ["install"])
def test_full_while_the_core_is_installed(tmp_path: Path, installed_core: Path, what: str) -> None:
    found = on_small_disk(tmp_path, _SCENARIO, "3m", str(installed_core), what)
    assert found["problems"] == []
    assert found["told"]
