# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of all fine-tunes that are declared for a host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import planner
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plans import plans_of, text_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(20))
    return lab


def declared(lab: PlanLab, name: str, **more: object) -> tuple[Run, RunView]:
    run = lab.plan(name=name, register=False, **more)
    return run, Engine(lab.layout.root).preview(run)


def test_every_fine_tune_has_its_plan_in_order(lab: PlanLab) -> None:
    lab.make(declared(lab, "one")[0])
    plans = plans_of(lab.layout, [declared(lab, "one"), declared(lab, "other", epochs=1)], "cpu")
    assert [(plan["name"], plan["changed"], plan["state"]) for plan in plans] == [
        ("one", False, "succeeded"),
        ("other", True, "absent"),
    ]
    assert json.loads(json.dumps(plans)) == plans, "plain values"
    text = text_of(plans)
    assert text.index("one: ") < text.index("other: 4 of 5 steps would run")


def test_no_fine_tunes_have_no_plan(lab: PlanLab) -> None:
    assert plans_of(lab.layout, [], "cpu") == []
    assert text_of([]) == ""


def test_warnings_of_the_run_come_first(lab: PlanLab) -> None:
    """Without a run they would be shown only when it is submitted."""
    lab.make(lab.plan(name="one", register=False))
    (plan,) = plans_of(lab.layout, [declared(lab, "one", regenerate="never", lora_rank=4)], "cpu")
    assert "one: changed hyperparameters do not count" in plan["warnings"][0]
    assert "lora_rank" in plan["warnings"][0]


def test_a_stale_plan_is_refused_before_any_is_made(lab: PlanLab) -> None:
    saved = plans_of(lab.layout, [declared(lab, "one"), declared(lab, "other")], "cpu")
    again = plans_of(lab.layout, [declared(lab, "one"), declared(lab, "other")], "cpu", saved=saved)
    assert [plan["run"] for plan in again] == [plan["run"] for plan in saved]
    with pytest.raises(InputError) as caught:
        plans_of(lab.layout, [declared(lab, "one", epochs=2)], "cpu", saved=saved)
    stale = caught.value.details["stale"]
    assert any(reason.startswith("other is no longer declared") for reason in stale)
    assert any("one: train: epochs" in reason for reason in stale)
    with pytest.raises(InputError, match="other was not part of it"):
        plans_of(lab.layout, [declared(lab, "one"), declared(lab, "other")], "cpu", saved=saved[:1])
    with pytest.raises(InputError, match="one was not part of it"):
        plans_of(lab.layout, [declared(lab, "one")], "cpu", saved=[])


def test_a_dataset_that_is_not_published_yet_explains_its_changes(lab: PlanLab) -> None:
    """In check mode the new version is known from the result of the module ``dataset`` alone."""
    lab.make(lab.plan(name="one", register=False))
    answer = {
        "fingerprint": "d" * 64,
        "outcome": {"rows": 21, "kind": "sft", "format": "alpaca"},
        "changes": {"compared": True, "added": 1, "removed": 0, "changed": 0, "before": [], "after": []},
    }
    raw = {"name": "one", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "register": False}
    host = Host(Toolchain(), "cpu", {"homelab": answer}, write=False)
    run = planner.plan(lab.layout, Request.finetune(raw), host)
    view = Engine(lab.layout.root).preview(run)
    (plan,) = plans_of(lab.layout, [(run, view)], "cpu", {"homelab": answer})
    why = {step["label"]: step["why"] for step in plan["steps"]}
    assert any("1 row added" in reason for reason in why["train"]), why
    (unexplained,) = plans_of(lab.layout, [(run, view)], "cpu")
    assert not any("added" in reason for step in unexplained["steps"] for reason in step["why"])
