# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The displayed status of a run, and the states in it."""

from __future__ import annotations

import enum
import json
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.states import (
    ENDED,
    RunState,
    StepState,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView, StepView
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    read_record,
    write_json,
)


def test_states_are_stored_and_formatted_as_their_text(tmp_path: Path) -> None:
    """Stores of other versions, and clients, know the text alone."""
    path = f"{tmp_path}/state.json"
    for state in (*RunState, *StepState):
        write_json(path, {"state": state, state: 1})
        assert read_record(path) == {"state": state.value, state.value: 1}
        assert (str(state), f"{state}", f"{state:>10}") == (state.value, state.value, f"{state.value:>10}")
        assert state == state.value and {state.value: 1}[state] == 1
        assert not isinstance(str(state), enum.Enum)


def test_the_texts_of_the_states() -> None:
    """A changed text would make every existing store unreadable."""
    assert [state.value for state in RunState] == ["absent", "queued", "running", "succeeded", "failed", "cancelled"]
    assert [state.value for state in StepState] == ["whole", "idle", "needed", "running", "failed"]


def test_ended_states() -> None:
    assert [state for state in RunState if state.ended] == list(ENDED) == ["succeeded", "failed", "cancelled"]
    assert "running" not in ENDED and "succeeded" in ENDED


def test_pending_steps_are_those_a_goal_requires() -> None:
    steps = [StepView(state.value, "probe", "f" * 64, state, "", "") for state in StepState]
    assert RunView("id", "name", RunState.RUNNING, steps=steps).pending == ["needed", "running", "failed"]


def test_a_status_has_plain_values() -> None:
    """Ansible refuses to serialize values of other types than those of JSON."""
    steps = [StepView("train", "train", "f" * 64, StepState.WHOLE, "", "/data/x")]
    error = {"message": "m", "details": {"log": "/l"}}
    plain = RunView("id", "name", RunState.FAILED, steps=steps, error=error).as_dict()
    assert plain["steps"] == [
        {
            "label": "train",
            "kind": "train",
            "fingerprint": "f" * 64,
            "state": "whole",
            "reason": "",
            "path": "/data/x",
            "cause": {},
        }
    ]
    assert (type(plain["state"]), type(plain["steps"][0]["state"])) == (str, str)
    assert (plain["state"], plain["error"], plain["position"]) == ("failed", error, None)
    assert json.loads(json.dumps(plain)) == plain
    plain["error"]["details"]["log"] = "changed"
    assert error["details"] == {"log": "/l"}, "the status is a copy"
