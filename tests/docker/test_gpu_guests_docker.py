# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that needs the GPU also waits for foreign processes: the same tests as for processes."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import gpu_users
from ansible_collections.ia_homelab.llamafactory.tests.docker.test_runner_docker import shared
from ansible_collections.ia_homelab.llamafactory.tests.support.docker_lab import DockerLab
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.engine import test_gpu_users

gpu_processes = test_gpu_users.gpu_processes
globals().update(shared(test_gpu_users, ()))


def test_container_of_a_job_is_not_foreign(lab: DockerLab, gpu_processes: Path) -> None:
    """The driver reports the process id of the host."""
    run = lab.run("a", f"echo > {lab.root}/begun; sleep 1000")
    lab.engine.submit(run)
    lab.wait((lab.root / "begun").exists, timeout=60)
    inside = lab.identity(run, "command.json")
    assert inside is not None
    gpu_processes.write_text(f"{test_gpu_users.HEADER}\nGPU-1, {inside.pid}, 9000 MiB, sh")
    assert gpu_users.foreign_processes() is None
    gpu_processes.write_text(f"{test_gpu_users.HEADER}\nGPU-1, {os.getpid()}, 9000 MiB, sh")
    assert f"pid {os.getpid()}" in str(gpu_users.foreign_processes())
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=60, poll=0.05).state == "cancelled"
