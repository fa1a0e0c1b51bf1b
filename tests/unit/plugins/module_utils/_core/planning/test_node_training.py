# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune on several hosts, as planned by each host: common settings, refusals and the part of each host."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import Nodes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.node_training import lead
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, nvidia_smi, rows

LEADS = Nodes(0, ("pc-a", "pc-b"), ("10.0.0.1", "10.0.0.2"), 29400)
DECLARED: dict[str, t.Any] = {
    "name": "homelab-model",
    "base_model": "qwen2.5:0.5b",
    "dataset": "homelab",
    "nodes": ["pc-a", "pc-b"],
}


@pytest.fixture
def hosts(tmp_path: Path) -> tuple[PlanLab, PlanLab]:
    """The leading host and another one, with the same dataset."""
    labs = PlanLab(tmp_path / "pc-a"), PlanLab(tmp_path / "pc-b")
    for host in labs:
        host.publish("homelab", rows(20))
    return labs


def led(host: PlanLab, **more: t.Any) -> Run:
    return plan(host.layout, Request.finetune({**DECLARED, **more}), Host(Toolchain(), "cpu", nodes=LEADS.as_dict()))


def part(host: PlanLab, run: Run, session: str = "homelab-model-1:1", accelerator: str = "cpu", **more: t.Any) -> Run:
    nodes = dataclasses.replace(LEADS, rank=1, session=session)
    here = Host(Toolchain(), accelerator, nodes=nodes.as_dict(), lead=lead(run))
    return plan(host.layout, Request.finetune({**DECLARED, **more}), here)


def test_number_of_hosts_is_part_of_the_fingerprint(hosts: tuple[PlanLab, PlanLab]) -> None:
    host = hosts[0]
    alone = host.plan().step("train").spec
    together = led(host).step("train").spec
    assert together.settings == {**alone.settings, "nodes": 2}
    assert together.fingerprint != alone.fingerprint
    # other hosts do not change the training, and a single node is not a multi-host training
    assert led(host, nodes=["pc-b", "pc-c"]).step("train").spec.fingerprint == together.fingerprint
    assert host.plan(nodes=["pc-a"]).step("train").spec == alone


def test_nothing_is_checked_for_a_training_that_exists(
    hosts: tuple[PlanLab, PlanLab], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts[0].make(led(hosts[0]))
    monkeypatch.setattr(memory, "ram", lambda: memory.Ram(10**8, 10**8, 0))
    assert "few to learn from" not in led(hosts[0]).step("train").spec.options.get("warning", "")
    with pytest.raises(InputError, match="of the machine's memory"):
        led(hosts[0], epochs=1)


def test_multi_host_training_cannot_be_submitted_to_one_host(hosts: tuple[PlanLab, PlanLab]) -> None:
    with pytest.raises(
        InputError, match="several hosts must train it together, but it was submitted to only one of them"
    ):
        hosts[0].plan(nodes=["pc-a", "pc-b"])
    assert hosts[0].plan(write=False, nodes=["pc-a", "pc-b"]).step("train").spec.settings["nodes"] == 2


def test_other_host_only_takes_part_in_the_training(hosts: tuple[PlanLab, PlanLab]) -> None:
    run = led(hosts[0])
    joined = part(hosts[1], run)
    assert [step.label for step in joined.steps] == ["base", "train_node"]
    assert joined.goals == ("train_node",)
    spec = joined.step("train_node").spec
    assert spec.settings == {
        "training": run.step("train").spec.fingerprint,
        "session": "homelab-model-1:1",
        "rank": 1,
    }
    assert spec.options["resolved"] == run.step("train").spec.options["resolved"]
    assert Nodes.from_dict(spec.options["nodes"]).own_name == "pc-b"
    # each attempt of the leading host has its own run; the same attempt attaches to the same run
    assert part(hosts[1], run).id == joined.id
    assert part(hosts[1], run, "homelab-model-1:2").id != joined.id


def test_different_dataset_is_refused(hosts: tuple[PlanLab, PlanLab]) -> None:
    hosts[1].publish("homelab", rows(21))
    with pytest.raises(InputError, match=r"homelab-model: pc-b has another dataset than pc-a: \w{12}, not \w{12}\."):
        part(hosts[1], led(hosts[0]))


def test_different_base_is_refused(hosts: tuple[PlanLab, PlanLab]) -> None:
    with pytest.raises(InputError, match="pc-b has another base model than pc-a") as caught:
        part(hosts[1], led(hosts[0]), base_model="qwen2.5:7b")
    assert "declare base_revision" in caught.value.hint


def test_method_is_decided_by_the_leading_host(hosts: tuple[PlanLab, PlanLab]) -> None:
    run = led(hosts[0], method="auto")
    assert part(hosts[1], run, method="auto").step("train_node").spec.options["resolved"]["method"] == "lora"


def test_hosts_need_the_same_accelerator(
    hosts: tuple[PlanLab, PlanLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = led(hosts[0])
    monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path / 'bin', 24564, 24000)}:/usr/bin:/bin")
    with pytest.raises(InputError, match="pc-a trains on cpu, pc-b on cuda"):
        part(hosts[1], run, accelerator="cuda")


def test_training_that_does_not_fit_the_other_host_is_refused(
    hosts: tuple[PlanLab, PlanLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path / 'large', 81559, 81000)}:/usr/bin:/bin")
    more = {"base_model": "qwen2.5:7b", "method": "full", "extra": {}}
    raw = {**DECLARED, **more, "memory_check": "warn"}
    run = plan(hosts[0].layout, Request.finetune(raw), Host(Toolchain(), "cuda", nodes=LEADS.as_dict()))
    monkeypatch.setenv("PATH", f"{nvidia_smi(tmp_path / 'small', 8188, 8000)}:/usr/bin:/bin")
    with pytest.raises(InputError, match="GPU"):
        part(hosts[1], run, accelerator="cuda", **more)
