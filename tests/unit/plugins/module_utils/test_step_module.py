# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a step module, without Ansible."""

from __future__ import annotations

import dataclasses
import os
import shutil
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _step_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.lease_record import LeaseRecord


@dataclasses.dataclass
class FakeModule:
    """The part of AnsibleModule that the edge uses."""

    params: dict[str, t.Any]
    check_mode: bool = False
    warnings: list[str] = dataclasses.field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_complete_results_need_no_record_of_their_run(lab: Lab) -> None:
    """They may come from another run, or from a run whose record was removed."""
    run = lab.counting("a", steps=1, count=1)
    module: t.Any = FakeModule({"data_dir": str(lab.data), "runs": None, "wait": True, "timeout": None})
    first = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert first["changed"] is True and first["runs"][0]["state"] == "succeeded"
    shutil.rmtree(lab.data / "jobs" / "done")
    again = _step_module.follow_step(module, ("probe",), lambda _engine: run)
    assert (again["changed"], again["path"]) == (False, first["path"])


PARAMS = {"ollama_url": "http://127.0.0.1:9", "toolchain": {"llamafactory_image": "lf", "llama_cpp_image": "cpp"}}


@pytest.mark.parametrize(
    ("runner", "image", "name"),
    [("auto", "lf", "docker"), ("docker", "lf", "docker"), ("process", "", "process")],
)
def test_runner_of_the_toolchain(runner: str, image: str, name: str) -> None:
    tools = _step_module.toolchain({**PARAMS, "runner": runner})
    assert (tools.llamafactory_image, tools.runner) == (image, name)


def test_unusable_runners_are_refused() -> None:
    with pytest.raises(InputError, match="There is no runner 'podman'") as caught:
        _step_module.toolchain({**PARAMS, "runner": "podman"})
    assert caught.value.hint == f"The runners are auto, {', '.join(sorted(_step_module.RUNNERS))}."
    with pytest.raises(InputError, match="The runner docker needs an image"):
        _step_module.toolchain({**PARAMS, "runner": "docker", "toolchain": {}})


def test_root_does_not_work_for_the_user_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {**PARAMS, "toolchain": {**PARAMS["toolchain"], "container_user": "1000:1000"}}  # type: ignore[dict-item]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(InputError, match="container_user is 1000:1000, and root owns the data directory"):
        _step_module.toolchain(params)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert _step_module.toolchain(params).container_user == "1000:1000"


def test_another_runner_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line in the registry is all that a runner needs."""
    monkeypatch.setitem(_step_module.RUNNERS, "podman", True)
    tools = _step_module.toolchain({**PARAMS, "runner": "podman"})
    assert (tools.runner_for("lf"), tools.runner_for(""), tools.runner) == ("podman", "process", "podman")
    monkeypatch.setitem(_step_module.RUNNERS, "batch", False)
    assert _step_module.toolchain({**PARAMS, "runner": "batch"}).runner == "batch"


@pytest.mark.parametrize("check", [False, True])
def test_a_result_that_cannot_be_checked_is_a_warning(lab: Lab, check: bool) -> None:
    """Ollama is stopped for the training of another fine-tune: the receipt counts, and that is said."""
    step = make_step("ollama_probe", {}, {}, {"argv": ["true"], "model": "m"}, "register")
    with fake_ollama() as ollama:
        ollama.models = {"m:latest": "1" * 64}
        run = make_run("a", [step], ["register"], Toolchain(ollama_url=ollama.url))
        assert lab.apply(run).state == "succeeded"
        LeaseRecord(lab, ollama.url)
    module: t.Any = FakeModule({"data_dir": str(lab.data), "runs": None, "wait": True, "timeout": None}, check)
    result = _step_module.follow_step(module, ("ollama_probe",), lambda _engine: run)
    assert result["changed"] is False
    assert module.warnings == ["a: register is not checked: Ollama is stopped for the training other."]
