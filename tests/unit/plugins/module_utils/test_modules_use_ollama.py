# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules and steps that use Ollama share it: they wait for a training that has it stopped, and say for which."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step
from ansible_collections.ia_homelab.llamafactory.plugins.modules import evaluate, ollama_model
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils.test_step_module import FakeModule

STATES: dict[str, dict[str, t.Any]] = {
    "evaluate": {"model": "m:new", "against": "", "gate": {"prompts": [{"prompt": "1?"}]}, "required": True},
    "absent": {"name": "m:new", "state": "absent"},
    "rolled_back": {"name": "m", "state": "rolled_back", "version": ""},
}


@pytest.mark.parametrize("what", STATES)
def test_a_module_waits_for_the_training_that_has_stopped_ollama(lab: Lab, what: str) -> None:
    with fake_ollama() as ollama:
        ollama.models["m:new"] = "digest"
        lease = LeaseRecord(lab, ollama.url)
        params = {"data_dir": str(lab.data), "ollama_url": ollama.url, "timeout": 0, **STATES[what]}
        module: t.Any = FakeModule(params)
        function = evaluate.body if what == "evaluate" else ollama_model.act
        with pytest.raises(NotReadyError, match="This needs Ollama, which is stopped for the training other"):
            function(module)
        assert ollama.requests == [], "it is asked nothing"
        lease.remove()


def test_the_steps_that_use_ollama_wait_for_it() -> None:
    """The supervisor of such a step holds Ollama until the job ends (``test_ollama_use.py``)."""
    steps = [get_step(kind) for kind in KINDS if kind != "dataset"]
    assert [step.kind for step in steps if step.uses_ollama] == ["register", "evaluate", "promote", "retain"]
