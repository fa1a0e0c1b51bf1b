# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of a build: lock, log, marker, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.components import (
    MARKER,
    component,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.workspace import (
    Workspace,
    prepare_child,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    tools = tmp_path / "tools"
    made = component(str(tools), "converter", "converter", pins="a==1")
    return Workspace(tools, made, str(tools / "builder"))


def is_locked(workspace: Workspace) -> bool:
    with open(workspace.tools_dir / ".lock", "rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_the_lock_is_held_by_commands_that_are_still_running(workspace: Workspace) -> None:
    with workspace.locked():
        assert is_locked(workspace)
        workspace.run(["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], "Leaving a process behind")
        left = int(workspace.log.read_text().split()[-1])
    try:
        assert is_locked(workspace), "another build would work in the same directory"
    finally:
        os.kill(left, 9)
    deadline = time.monotonic() + 60
    while is_locked(workspace) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_locked(workspace)


def test_a_command_ends_with_the_process_that_builds(workspace: Workspace) -> None:
    program = (
        f"import subprocess, time\nfrom {prepare_child.__module__} import prepare_child\n"
        "child = subprocess.Popen(['/bin/sleep', '60'], preexec_fn=prepare_child)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, parent.pid)
        parent.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("the command outlived the process that started it")


def test_a_command_that_fails_is_reported_with_its_last_lines(workspace: Workspace) -> None:
    with workspace.locked():
        assert workspace.run(["/bin/echo", "before"], "Saying something") == "before\n"
        with pytest.raises(NotReadyError) as failure:
            workspace.run(["/bin/sh", "-c", "seq 100; echo broken >&2; exit 7"], "Building it")
        with pytest.raises(NotReadyError, match="Building it: /no/such/program does not start"):
            workspace.run(["/no/such/program"], "Building it")
    text = str(failure.value)
    assert text.startswith(f"Building it failed (exit 7); the log is {workspace.log}\n")
    assert text.endswith("99\n100\nbroken") and "\n50\n" not in text and "before" not in text
    assert "$ /bin/echo before\nbefore\n" in workspace.log.read_text()


def test_commands_use_the_builder_and_no_other_python(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "0")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    env = workspace.environment()
    assert "PYTHONPATH" not in env and "VIRTUAL_ENV" not in env
    assert env["PATH"].startswith(f"{workspace.tools_dir}/builder/bin:")
    assert env["PIP_DISABLE_PIP_VERSION_CHECK"] == "0", "the host's setting stays"
    assert "PIP_INDEX_URL" not in env
    workspace.index_url = "https://index.test/simple"
    assert workspace.environment()["PIP_INDEX_URL"] == "https://index.test/simple"
    assert workspace.environment()["UV_DEFAULT_INDEX"] == "https://index.test/simple"


def test_a_disk_without_room_is_refused_before_the_build(workspace: Workspace) -> None:
    with workspace.locked():
        workspace.need_space(0)
        with pytest.raises(NotReadyError, match="GiB free and about 1073741824 GiB are needed") as refused:
            workspace.need_space(1 << 30)
    assert refused.value.details["needed_bytes"] == 1 << 60


def test_an_error_of_the_disk_names_the_file_and_the_log(workspace: Workspace) -> None:
    with pytest.raises(NotReadyError) as failure:
        with workspace.locked():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/file")
    assert failure.value.message == "/data/file: No space left on device."
    assert str(workspace.log) in failure.value.hint
    assert not is_locked(workspace)


def test_a_directory_that_cannot_be_written_is_reported(tmp_path: Path, workspace: Workspace) -> None:
    workspace.tools_dir.parent.joinpath("tools").write_text("a file, not a directory")
    with pytest.raises(NotReadyError, match="tools cannot be written: (File exists|Not a directory)"):
        with workspace.locked():
            raise AssertionError("not reached")


def test_root_runs_no_program_that_another_user_can_replace(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = Path(workspace.builder_dir)
    builder.mkdir(parents=True)
    workspace.tools_dir.chmod(0o755)
    builder.chmod(0o755)
    real = Path.stat
    owners = {workspace.tools_dir: 0, builder: 0}

    def owned(path: Path, **more: t.Any) -> t.Any:
        found = real(path, **more)
        if path not in owners:
            return found
        return os.stat_result([*found[:4], owners[path], *found[5:]])

    monkeypatch.setattr(Path, "stat", owned)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with workspace.locked():
        pass
    for path in owners:
        path.chmod(0o775)
        with pytest.raises(NotReadyError, match=f"{path} can be changed by users other than root"):
            with workspace.locked():
                raise AssertionError("not reached")
        path.chmod(0o755)
        owners[path] = 1000
        with pytest.raises(NotReadyError, match="chown -R root:"):
            with workspace.locked():
                raise AssertionError("not reached")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with workspace.locked():
            pass
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        owners[path] = 0


def test_everybody_can_use_what_a_strict_umask_installs(workspace: Workspace) -> None:
    before = os.umask(0o077)
    try:
        with workspace.locked():
            workspace.run(["/bin/mkdir", workspace.path], "Making a directory")
            workspace.mark(workspace.path, time.monotonic())
        assert os.umask(0o077) == 0o077, "the umask of the process is restored"
    finally:
        os.umask(before)
    for path in (workspace.tools_dir, workspace.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((workspace.path / MARKER).stat().st_mode) == 0o644


def test_a_result_is_marked_then_takes_the_place_of_an_interrupted_one(workspace: Workspace) -> None:
    with workspace.locked():
        (workspace.path / "half").mkdir(parents=True)
        (workspace.tools_dir / f".work-{workspace.path.name}").mkdir()
        (workspace.tools_dir / f".work-{workspace.path.name}" / "left").touch()
        work = workspace.work_dir()
        assert list(work.iterdir()) == []
        (work / "result").mkdir()
        workspace.mark(work / "result", time.monotonic() - 2, method="test")
        workspace.publish(work / "result")
    assert [path.name for path in workspace.path.iterdir()] == [MARKER]
    record = json.loads((workspace.path / MARKER).read_text())
    assert record["inputs"] == dict(workspace.component.inputs) and record["method"] == "test"
    assert record["key"] == workspace.component.key and record["seconds"] >= 2
    with workspace.locked():
        workspace.remove_caches()
    assert not work.exists() and workspace.path.exists()
