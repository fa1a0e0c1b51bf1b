# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules report while a training has Ollama stopped: they neither fail in check mode nor claim anything."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord
from ansible_collections.ia_homelab.llamafactory.tests.support.modules import call

URL = "http://127.0.0.1:9"
GATE = {"prompts": [{"prompt": "Qui es-tu ?", "contains": "homelab"}]}


@pytest.fixture
def lease(lab: Lab) -> LeaseRecord:
    Layout(str(lab.data)).create()
    return LeaseRecord(lab, URL)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text, *_more: found.append(text))
    return found


def evaluation(lab: Lab, **more: t.Any) -> dict[str, t.Any]:
    return {"model": "m", "gate": GATE, "ollama_url": URL, "data_dir": str(lab.data), "timeout": 0, **more}


def test_evaluate(lab: Lab, lease: LeaseRecord, warnings: list[str]) -> None:
    failed = call("evaluate", evaluation(lab))
    assert failed["failed"] and failed["msg"].startswith("This needs Ollama, which is stopped for the training other.")
    checked = call("evaluate", evaluation(lab), check=True)
    assert (checked["changed"], checked["passed"], checked["report"]) == (False, None, {})
    assert warnings == ["m is not checked: Ollama is stopped for the training other."]
    lease.remove()
    assert "No Ollama server answers" in call("evaluate", evaluation(lab))["msg"]


@pytest.mark.parametrize("state", ["absent", "rolled_back"])
def test_ollama_model(lab: Lab, lease: LeaseRecord, warnings: list[str], state: str) -> None:
    arguments = {"state": state, "name": "m", "ollama_url": URL, "data_dir": str(lab.data), "timeout": 0}
    failed = call("ollama_model", arguments)
    assert failed["failed"] and failed["msg"].startswith("This needs Ollama, which is stopped for the training other.")
    checked = call("ollama_model", arguments, check=True)
    assert not checked.get("failed") and checked["changed"] is False
    assert warnings == ["m is not checked: Ollama is stopped for the training other."]
    lease.remove()
    assert call("ollama_model", arguments)["failed"]


def test_ollama_model_info(lab: Lab, lease: LeaseRecord) -> None:
    arguments = {"name": "m", "ollama_url": URL, "data_dir": str(lab.data)}
    failed = call("ollama_model_info", arguments)
    assert failed["msg"].startswith("The models are not checked: Ollama is stopped for the training other.")
    lease.remove()
    assert failed["failed"] and "No Ollama server answers" in call("ollama_model_info", arguments)["msg"]


def test_ollama_info(lab: Lab, lease: LeaseRecord) -> None:
    arguments = {"tools_dir": str(lab.root), "data_dir": str(lab.root), "version": "0.24.0", "url": URL}
    assert call("ollama_info", arguments)["lease"] == {}
    arguments["jobs_dir"] = str(lab.data)
    assert call("ollama_info", arguments)["lease"] == {"name": "other", "policy": "stop", "kind": "unit"}
    assert call("ollama_info", {**arguments, "url": "http://127.0.0.1:10"})["lease"] == {}
    lease.remove()
    assert call("ollama_info", arguments)["lease"] == {}
