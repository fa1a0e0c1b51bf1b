# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unchanged tests of supervisors with jobs in containers, and further tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runners import docker
from ansible_collections.ia_homelab.llamafactory.tests.docker.test_runner_docker import shared
from ansible_collections.ia_homelab.llamafactory.tests.support.docker_lab import DockerLab
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.engine import test_supervisor

#: Tests that depend on process ids, and the tests here that replace them.
ONLY_PROCESSES = {
    "test_a_command_whose_record_was_lost_is_replaced": "test_container_without_record_is_followed",
    "test_workers_in_their_own_sessions_do_not_outlive_their_launcher": "test_no_process_outlives_the_first_one",
}

globals().update(shared(test_supervisor, ONLY_PROCESSES))


def test_excluded_tests_have_replacements() -> None:
    for name, instead in ONLY_PROCESSES.items():
        assert hasattr(test_supervisor, name) and instead in globals()


def test_container_without_record_is_followed(lab: DockerLab) -> None:
    run = lab.counting("a", steps=1, count=10, pause=0.05)
    lab.engine.submit(run)
    lab.wait_for_command(run)
    directory = Path(lab.job(run).directory)
    lab.kill(lab.identity(run, "supervisor.json"))
    (directory / "command.json").unlink()
    assert lab.apply(run).state == "succeeded"
    assert test_supervisor.starts(lab) == [0]
    assert lab.broken() == []


def test_no_process_outlives_the_first_one(lab: DockerLab) -> None:
    run = lab.run("a", f"setsid sh -c 'echo > {lab.root}/worker; exec sleep 1000' & sleep 1000")
    lab.engine.submit(run)
    lab.wait((lab.root / "worker").exists)
    lab.kill(lab.identity(run, "command.json"))
    assert lab.engine.follow(run.id, timeout=120, poll=0.02).state == "failed"
    assert lab.broken() == []


def test_long_log_is_not_kept_in_memory(lab: DockerLab) -> None:
    """128 MB of output are written to the job's log, not through the supervisor or the engine's log."""
    run = lab.run("a", f"dd if=/dev/zero bs=1M count=128; echo > {lab.root}/written; sleep 1000")
    lab.engine.submit(run)
    lab.wait((lab.root / "written").exists, timeout=60)
    directory = Path(lab.job(run).directory)
    assert (directory / "log.txt").stat().st_size > 128 << 20
    assert lab.engine.observe(run.id).state == "running"
    supervisor = lab.identity(run, "supervisor.json")
    assert supervisor is not None
    status = Path(f"/proc/{supervisor.pid}/status").read_text().split()
    assert int(status[status.index("VmHWM:") + 1]) < 100 << 10, "kibibytes"
    found = lab.kit.engine.inspect(docker.container_name(str(directory)))
    assert found is not None
    own_log = Path(found["LogPath"])
    assert own_log.stat().st_size < 1 << 20
    lab.engine.cancel(run.id)
    assert lab.engine.follow(run.id, timeout=60, poll=0.02).state == "cancelled"
    assert lab.broken() == []


def test_out_of_memory_names_the_limit(lab: DockerLab) -> None:
    run = lab.run("a", "dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?")
    run = dataclasses.replace(run, toolchain=dataclasses.replace(run.toolchain, memory_limit="32m"))
    view = lab.apply(run, timeout=60)
    assert view.state == "failed" and view.error is not None
    assert "for want of memory (RAM)" in view.error["message"] and "32m (memory_limit)" in view.error["message"]
