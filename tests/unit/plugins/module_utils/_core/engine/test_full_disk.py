# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk at every point of a run: it is reported with figures, nothing breaks, and the run resumes later.

The real steps: ``tests/real/test_full_disk_real.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.full_disk import on_small_disk

_SCENARIO = Path(__file__).parents[5] / "support" / "full_disk.py"


def test_disk_full_at_every_point_of_a_run(tmp_path: Path, installed_core: Path) -> None:
    result = on_small_disk(tmp_path, _SCENARIO, "8m", str(installed_core), "run")
    assert result["problems"] == []
    messages = result["told"]
    assert isinstance(messages, list) and len(messages) >= 10, "the disk never became full"
    for message in messages:
        assert "The disk is full" in message and "MB free" in message, message
    assert result["succeeded"], "the run does not succeed with enough free space"


@pytest.mark.parametrize("scenario", ["install"])
def test_disk_full_during_the_installation_of_the_core(tmp_path: Path, installed_core: Path, scenario: str) -> None:
    result = on_small_disk(tmp_path, _SCENARIO, "8m", str(installed_core), scenario)
    assert result["problems"] == []
    assert result["told"]
