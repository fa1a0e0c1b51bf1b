# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk at each real step: reported with figures, earlier results unchanged, and resumed once space is free.

About two minutes on two cores, and so in "full" alone; ``test_full_disk.py`` does it to trivial commands, and
``test_steps_real.py`` has a real tool whose file cannot grow.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.full_disk import on_small_disk
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

SCENARIO = Path(__file__).parents[1] / "support" / "full_disk_real.py"
STEPS = ("dataset", "base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M")


@pytest.mark.full
def test_full_disk_at_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubStandIn() as hub:
        hub.add("homelab/Tiny-Chat", make_tiny_base(tmp_path / "base"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        found = on_small_disk(tmp_path, SCENARIO, "32m", "homelab/Tiny-Chat")
    print(found["told"])
    assert found["problems"] == []
    told = found["told"]
    for step in STEPS:
        assert any(key.startswith(step) for key in told), f"{step} was not hindered"
    for key, message in told.items():
        assert re.search(r"[Dd]isk|[Rr]oom", message), f"{key}: {message}"
        assert re.search(r"[\d.]+ [MG]B", message), f"{key} tells no figures: {message}"
        assert re.search(r"[Mm]ake room", message), f"{key} does not say what to do: {message}"
    assert "full:latest" in found["tags"]
    assert found["leftovers"] == []
