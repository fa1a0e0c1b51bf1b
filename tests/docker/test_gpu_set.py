# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container gets exactly the chosen GPUs.

No NVIDIA driver is there: the devices are those of a CDI specification of the test's own, which the engine really
injects.
"""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners.runner import Probe
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.own_engine import own_engine
from ansible_collections.ia_homelab.llamafactory.tests.support.runner_kit import DockerKit
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.runners import test_process

job_dir = test_process.job_dir


def device(name: str) -> dict[str, t.Any]:
    node = {"path": f"/dev/nvidia{name}", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3}
    return {"name": name, "containerEdits": {"deviceNodes": [node], "env": [f"GPU_{name}=given"]}}


@pytest.fixture(scope="module")
def url(image: str, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """Address of an engine with two GPUs."""
    specifications = tmp_path_factory.mktemp("cdi")
    specification = {
        "cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [device("0"), device("1")],
    }  # fmt: skip
    (specifications / "nvidia.json").write_text(json.dumps(specification))
    settings = {"features": {"cdi": True}, "cdi-spec-dirs": [str(specifications)]}
    with own_engine(image, **settings) as engine:
        yield engine.url


@pytest.mark.parametrize(
    ("gpus", "given"),
    [("nvidia.com/gpu=1", {"1"}), ("nvidia.com/gpu=0, nvidia.com/gpu=1", {"0", "1"}), ("", set())],
)
def test_container_gets_the_chosen_gpus(url: str, kit: DockerKit, job_dir: str, gpus: str, given: set[str]) -> None:
    write_json(os.path.join(os.path.dirname(job_dir), "run.json"), {"toolchain": {"docker_host": url}})
    kit.more = {"gpus": gpus}
    runner = kit.runner()
    runner.start(kit.shell("env; ls /dev"), job_dir)
    assert kit.until_it_ends(runner, job_dir) == Probe("ended", 0)
    told = Path(job_dir, "log.txt").read_text().split()
    assert {name for name in ("0", "1") if f"nvidia{name}" in told} == given
    assert {name for name in ("0", "1") if f"GPU_{name}=given" in told} == given
