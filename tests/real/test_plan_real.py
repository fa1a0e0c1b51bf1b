# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan kept by ``playbooks/plan.yml``, applied by ``finetune.yml``, told by ``--check --diff``, refused when it is
stale. On the real tools; one training, about a minute on two cores.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import PlayLab, make_tiny_base, tree

STEPS = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[PlayLab]:
    root = tmp_path_factory.mktemp("plan")
    made = PlayLab(root / "lab", str(make_tiny_base(root / "base")))
    made.server.start()
    yield made
    made.server.stop()


def otherwise(lab: PlayLab) -> dict[str, t.Any]:
    """The same declared otherwise: another learning rate, one answer changed, three rows more."""
    rows = json.loads(lab.prompts.read_text(encoding="utf-8"))
    rows[3]["output"] = "Je ne sais pas."
    rows += [{**rows[0], "instruction": f"Et le numéro {n} ?"} for n in range(3)]
    changed = lab.root / "changed.json"
    changed.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    finetune = {**lab.declared["finetunes"][0], "learning_rate": 2e-4}
    return {"finetunes": [finetune], "finetune_datasets": [{"name": "prompts", "src": str(changed)}]}


def state(lab: PlayLab) -> tuple[t.Any, t.Any]:
    return tree(lab.data), lab.tags()


def test_planned_applied_changed_refused(lab: PlayLab) -> None:
    # the name is relative to where the play was started
    planned = lab.play("-e", "plan=plan.json", playbook="plan").well()
    assert "lab-model: 6 of 6 steps would run" in planned.output
    assert not lab.data.exists(), "planning writes nothing on the host"
    kept = json.loads((lab.root / "plan.json").read_text(encoding="utf-8"))
    assert kept["hosts"]["pc-ia"][0]["pending"] == STEPS

    applied = lab.play("-e", "plan=plan.json").well()
    assert applied.recap["changed"] > 0
    assert lab.tags()["lab-model:latest"]
    assert lab.play("-e", "plan=plan.json").well().recap["changed"] == 0

    before = state(lab)
    told = lab.play("--check", "--diff", **otherwise(lab)).well()
    rate = lab.declared["finetunes"][0].get("learning_rate", 2e-4)
    assert f"learning_rate {rate:g} → 0.0002" in told.output
    assert "(3 rows added, 1 changed)" in told.output
    assert "Je ne sais pas." in told.output, "the rows themselves"
    assert "lab-model: 5 of 6 steps would run" in told.output
    assert f"free at {lab.data}" in told.output
    assert state(lab) == before, "check mode wrote something"

    refused = lab.play("-e", "plan=plan.json", **otherwise(lab))
    assert refused.status != 0
    assert "The plan is stale: lab-model: train: " in refused.output
    assert "(3 rows added, 1 changed)" in refused.output
    assert state(lab) == before, "a stale plan changed something"


def test_a_plan_of_another_host(lab: PlayLab, tmp_path: Path) -> None:
    kept = tmp_path / "other.json"
    kept.write_text(json.dumps({"schema": 1, "hosts": {"another": []}}))
    refused = lab.play("-e", f"plan={kept}")
    assert refused.status != 0
    assert "lab-model was not part of it" in refused.output
