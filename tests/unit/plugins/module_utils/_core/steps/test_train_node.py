# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distributed training as a step: the command of each node, the checkpoint it resumes from, and its artifact."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.node_link import Leader, Member
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import (
    AGREEMENT_FILE,
    Nodes,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train import TrainStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.train_node import TrainNodeStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import (
    normalise,
    resolved,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, DATASET, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_checkpoint

NODES = Nodes(0, ("pc-a", "pc-b"), ("10.0.0.1", "10.0.0.2"), 29400)
UPSTREAM = {"base": BASE, "dataset": DATASET}


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    return StepLab(tmp_path)


def options(rank: int, accelerator: str = "cpu", **declared: t.Any) -> dict[str, t.Any]:
    values = resolved(normalise({"template": "qwen", **declared}))
    nodes = dataclasses.replace(NODES, rank=rank).as_dict()
    return {"resolved": values, "accelerator": accelerator, "name": "pair", "nodes": nodes}


def leader_context(lab: StepLab, accelerator: str = "cpu", **agreed: t.Any) -> StepContext:
    """Context of a job on the leading host, after the nodes have connected."""
    ctx = lab.context("train", UPSTREAM, options(0, accelerator))
    write_json(
        os.path.join(ctx.job_dir, AGREEMENT_FILE), {"port": 29401, "master": "10.0.0.1", "interface": "eth0", **agreed}
    )
    return ctx


def member_context(lab: StepLab, accelerator: str = "cpu", **agreed: t.Any) -> StepContext:
    """Context of a job on the other host."""
    training = leader_context(lab, accelerator, **agreed).spec.fingerprint
    ctx = lab.context("train_node", UPSTREAM, options(1, accelerator), training=training, session="run:1", rank=1)
    os.makedirs(ctx.work)
    return ctx


def configuration(ctx: StepContext) -> dict[str, t.Any]:
    config: dict[str, t.Any] = yaml.safe_load(Path(ctx.job_dir, "train.yaml").read_text(encoding="utf-8"))
    return config


def test_both_nodes_start_the_same_training_with_their_own_ranks(lab: StepLab) -> None:
    ctx = leader_context(lab)
    command = TrainStep().command(ctx)
    assert command is not None
    config = configuration(ctx)
    assert config["save_on_each_node"] is True
    member = member_context(lab)
    member_command = TrainNodeStep().command(member)
    assert member_command is not None
    assert configuration(member) == config
    ranks = [started.env["NODE_RANK"] for started in (command, member_command)]
    assert ranks == ["0", "1"]
    for started in (command, member_command):
        assert {started.env[name] for name in ("FORCE_TORCHRUN", "NPROC_PER_NODE")} == {"1"}
        assert (started.env["NNODES"], started.env["MASTER_ADDR"], started.env["MASTER_PORT"]) == (
            "2",
            "10.0.0.1",
            "29401",
        )
        assert started.env["GLOO_SOCKET_IFNAME"] == "eth0"


def test_gpu_training_resumes_from_the_common_checkpoint(lab: StepLab) -> None:
    ctx = leader_context(lab, "cuda", resume=80)
    os.makedirs(ctx.work)
    for step in (80, 90):
        write_checkpoint(ctx.work, step)
    link = TrainStep().link(ctx, "run:1")
    assert isinstance(link, Leader)
    assert (sorted(link.checkpoints), link.trained) == ([80, 90], False)
    TrainStep().command(ctx)
    assert configuration(ctx)["resume_from_checkpoint"] == os.path.join(ctx.work, "checkpoint-80")
    assert os.listdir(ctx.work) == ["checkpoint-80"]
    assert "It resumes from the last checkpoint that all nodes have." in Path(ctx.job_dir, "log.txt").read_text()


def test_cpu_training_starts_from_the_beginning_with_a_message(lab: StepLab) -> None:
    ctx = member_context(lab)
    work = lab.layout.work("train", str(ctx.spec.settings["training"]))
    os.makedirs(work)
    write_checkpoint(work, 80)
    link = TrainNodeStep().link(ctx, "")
    assert isinstance(link, Member)
    assert (link.checkpoints, link.nodes.session) == ([], "run:1")
    TrainNodeStep().command(ctx)
    assert "resume_from_checkpoint" not in configuration(ctx)
    assert os.listdir(work) == []
    assert "on a CPU several processes cannot resume from a checkpoint" in Path(ctx.job_dir, "log.txt").read_text()


def test_artifact_of_a_member_is_a_receipt_only(lab: StepLab) -> None:
    ctx = member_context(lab)
    work = lab.layout.work("train", str(ctx.spec.settings["training"]))
    TrainNodeStep().command(ctx)
    Path(work, "trainer_log.jsonl").write_text('{"current_steps": 100, "total_steps": 100, "loss": 0.1}\n')
    failed = os.path.join(os.path.dirname(ctx.work), ".work-" + "0" * 64)
    os.makedirs(failed)
    assert TrainNodeStep().finish(ctx) == {
        "node": "pc-b",
        "nodes": ["pc-a", "pc-b"],
        "training": ctx.spec.settings["training"],
        "steps": 100,
    }
    assert not os.path.exists(work)
    assert not os.path.exists(failed)


def test_no_command_after_the_training_has_finished(lab: StepLab) -> None:
    ctx = member_context(lab, trained=True)
    assert TrainNodeStep().command(ctx) is None
    assert "steps" not in TrainNodeStep().finish(ctx)


def test_a_node_cannot_save_alone_when_stopped(lab: StepLab) -> None:
    package = lab.root / "lf/lib/python3.11/site-packages/transformers"
    package.mkdir(parents=True)
    (package / "trainer_jit_checkpoint.py").touch()
    ctx = leader_context(lab)
    TrainStep().command(ctx)
    assert "enable_jit_checkpoint" not in configuration(ctx)
    sent: list[int] = []
    assert TrainStep().stop(ctx, sent.append) <= 10
    assert sent == [signal.SIGTERM]


def test_container_uses_the_host_network(lab: StepLab) -> None:
    ctx = leader_context(lab)
    command = TrainStep().command(
        dataclasses.replace(ctx, toolchain=dataclasses.replace(lab.tools, llamafactory_image="x"))
    )
    assert command is not None
    assert command.container is not None
    assert command.container.network == "host"
    assert (command.argv[:2], os.path.basename(command.argv[3])) == (["/bin/sh", "-c"], "llamafactory_cli.py")


def test_deepspeed_uses_the_multi_process_launcher(lab: StepLab) -> None:
    values = {**options(0, extra={"deepspeed": "/etc/ds.json"}), "nodes": None}
    command = TrainStep().command(lab.context("train", UPSTREAM, values))
    assert command is not None
    assert command.env["FORCE_TORCHRUN"] == "1"
    assert "NNODES" not in command.env


def test_a_file_that_has_changed_since_the_plan_is_refused(lab: StepLab, tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text("{}")
    values = {**options(0, extra={"deepspeed": str(path)}), "nodes": None}
    content = "sha256:" + hashlib.sha256(b"{}").hexdigest()
    ctx = lab.context("train", UPSTREAM, values, extra={"deepspeed": content})
    assert TrainStep().command(ctx) is not None
    path.write_text('{"zero_optimization": {"stage": 3}}')
    with pytest.raises(InputError, match="has changed since the training was planned"):
        TrainStep().command(ctx)


def test_stale_lock_of_a_killed_deepspeed_build_is_deleted(lab: StepLab) -> None:
    values = {**options(0, extra={"deepspeed": {"zero_optimization": {"stage": 3}}}), "nodes": None}
    ctx = lab.context("train", UPSTREAM, values)
    command = TrainStep().command(ctx)
    assert command is not None
    directory = os.path.join(command.env["TORCH_EXTENSIONS_DIR"], "deepspeed_shm_comm")
    assert directory.startswith(ctx.layout.path("cache"))
    os.makedirs(directory)
    for name in ("lock", "deepspeed_shm_comm.so"):
        Path(directory, name).touch()
    assert TrainStep().command(ctx) == command
    assert os.listdir(directory) == ["deepspeed_shm_comm.so"]
    # another installation has another PyTorch
    other = dataclasses.replace(ctx, toolchain=dataclasses.replace(ctx.toolchain, llamafactory_image="x"))
    again = TrainStep().command(other)
    assert again is not None
    assert again.env["TORCH_EXTENSIONS_DIR"] != command.env["TORCH_EXTENSIONS_DIR"]
