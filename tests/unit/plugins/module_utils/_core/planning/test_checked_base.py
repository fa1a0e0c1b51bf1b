# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a base's files in a plan: before something is trained, once, and not in check mode."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import names, resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.host import Machine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import inputs, plan_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import plan as planning_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan, warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.base_lab import CONFIG, chat_base, stand_in_tools
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

#: What a training of the catalogue's smallest model is checked with; its small files are not there.
BASE = "qwen2.5:0.5b"


class CheckedLab(PlanLab):
    """A data directory with a dataset, and stand-ins of the tools."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tools = stand_in_tools(root)
        self.info = self.publish("homelab", rows(3))
        base = names.resolve(BASE)
        self.base = resolution.resolve_base(self.layout, base)
        # the small files of the base, as if it had been fetched
        fetched = Path(self.layout.artifact("base", self.base.fingerprint))
        chat_base(root).rename(fetched)
        self.fetched = fetched

    def planned(self, write: bool = True, tools: Toolchain | None = None, **declared: t.Any) -> Run:
        raw = {"name": "mine", "base_model": BASE, "dataset": "homelab", "register": False, **declared}
        host = Host(self.tools if tools is None else tools, "cpu", write=write)
        return plan(self.layout, Request.finetune(raw), host)

    def text(self, run: Run) -> str:
        """The plan as it is shown."""
        return plan_text.text(self.plan_of(run))

    def plan_of(self, run: Run) -> dict[str, t.Any]:
        """The plan as plain values."""
        view = Engine(self.layout.root).preview(run)
        return planning_plan.make_plan(self.layout, run, view, Machine("cpu"))

    def calls(self) -> int:
        path = self.root / "calls"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def lab(tmp_path: Path) -> CheckedLab:
    return CheckedLab(tmp_path)


def test_difference_is_told_until_the_training_is_made(lab: CheckedLab) -> None:
    run = lab.planned()
    assert any("where qwen writes" in str(warning) for warning in warnings_of(run))
    assert lab.planned().id == run.id and lab.calls() == 1
    assert "not checked" not in lab.text(run)
    lab.make(run)
    assert warnings_of(lab.planned()) == []
    assert lab.calls() == 1


def test_no_change_checks_nothing(lab: CheckedLab) -> None:
    lab.make(lab.planned(tools=Toolchain()))
    run = lab.planned()
    assert lab.calls() == 0 and "base_unchecked" not in run.step("train").spec.options


def test_check_mode_says_not_checked_and_writes_nothing(lab: CheckedLab) -> None:
    before = lab.tree()
    run = lab.planned(write=False)
    assert "The files of the base: not checked (its files are checked when it is applied)" in lab.text(run)
    assert lab.plan_of(run)["base_unchecked_message"]["code"] == "base_models.checked_when_applied"
    assert lab.tree() == before and lab.calls() == 0
    assert run.id == lab.planned().id


def test_without_tools_the_plan_says_not_checked(lab: CheckedLab) -> None:
    text = lab.text(lab.planned(tools=Toolchain()))
    assert "The files of the base: not checked (LLaMA-Factory is not installed" in text


def test_base_that_cannot_be_trained_is_refused_before_it_is_fetched(lab: CheckedLab) -> None:
    config = {**CONFIG, "quantization_config": {"quant_method": "awq"}}
    (lab.fetched / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="quantized with awq") as caught:
        lab.planned()
    assert caught.value.details["options"] == ["base_model"]
    # in check mode, an earlier result counts
    with pytest.raises(InputError, match="quantized with awq"):
        lab.planned(write=False)
    assert lab.planned(tools=Toolchain()).steps


def test_text_that_stands_for_a_picture(lab: CheckedLab) -> None:
    info = lab.publish("drawn", [*rows(2), {"instruction": "Que montre <image> ?", "output": "Rien."}])
    resolved = {"template": "gemma3", "extra": {}}
    arguments: t.Any = (lab.layout, lab.base, ("drawn", info.fingerprint), {}, {"resolved": resolved}, Toolchain())
    with pytest.raises(InputError, match="Row 3 of the dataset drawn has the text <image>"):
        inputs.checked_base(*arguments, converted=True, write=True)
    resolved["template"] = "gemma2"
    assert inputs.checked_base(*arguments, converted=True, write=True)["resolved"] is resolved
