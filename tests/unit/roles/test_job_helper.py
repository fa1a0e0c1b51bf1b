# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The helper of the role ``job_helper`` behind a real socket, with a stand-in for systemctl.

``molecule/service`` has the real systemd.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import launcher
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import job_helper, local_services
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import identify
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import until
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port

FILES = Path(__file__).resolve().parents[3] / "roles" / "job_helper" / "files"
UID = 12345

#: Records its arguments; ``show`` answers from files, and ``start`` of a job runs what the unit would run.
SYSTEMCTL = r"""#!/bin/sh
shift
echo "$*" >> ROOT/called
case $1 in
    show) cat "ROOT/${2#--property=}" ;;
    start) case $2 in ia-homelab-job@*)
        name=${2#ia-homelab-job@} && name=${name%.service}
        setsid setpriv --reuid UID --regid UID --clear-groups PYTHON -I ROOT/start_job.py ROOT/data "$name" &
        echo $! > ROOT/MainPID ;;
    esac ;;
esac
"""


class Helper:
    """The helper, its socket, and a data directory of the user with the id ``UID``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        program = root / "bin" / "systemctl"
        program.parent.mkdir()
        text = SYSTEMCTL.replace("ROOT", str(root)).replace("UID", str(UID)).replace("PYTHON", "/usr/bin/python3")
        program.write_text(text)
        program.chmod(0o755)
        source = (FILES / "helper.py").read_text()
        assert "PATH=/usr/bin:/bin" in source and '"/run/systemd/system' in source
        source = source.replace("PATH=/usr/bin:/bin", f"PATH={root}/bin:/usr/bin:/bin")
        (root / "helper.py").write_text(source.replace('"/run/systemd/system', f'"{root}/units'))
        shutil.copy(FILES / "start_job.py", root)
        settings = {"data_dir": str(root / "data"), "uid": UID, "ollama_unit": "ollama.service"}
        (root / "settings.json").write_text(json.dumps(settings))
        for name, value in {"MainPID": "0", "ActiveState": "active", "ControlGroup": ""}.items():
            (root / name).write_text(value + "\n")
        (root / "called").touch()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(root / "helper.sock"))
        os.chmod(root / "helper.sock", 0o666)
        self.server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self.server.accept()
                with connection:
                    subprocess.run(
                        ["/usr/bin/python3", "-I", str(self.root / "helper.py")],
                        stdin=connection, stderr=subprocess.DEVNULL, check=False,
                    )  # fmt: skip

    def called(self) -> list[str]:
        """The calls of systemctl that change something."""
        return [line for line in (self.root / "called").read_text().splitlines() if not line.startswith("show")]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Helper]:
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(0o755)
    made = Helper(tmp_path)
    monkeypatch.setattr(job_helper, "SOCKET", str(tmp_path / "helper.sock"))
    yield made
    made.server.close()


def as_user(function: t.Callable[[], t.Any], uid: int = UID) -> t.Any:
    """Return what a function returns in a process of another user; an error of the core is its message."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                result = function()
            except NotReadyError as error:
                result = error.message
            os.write(write, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as stream:
        return json.loads(stream.read())


def ask(helper: Helper, raw: bytes) -> dict[str, t.Any]:
    """Send a request as root and return the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(helper.root / "helper.sock"))
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer: dict[str, t.Any] = json.loads(connection.makefile("rb").read())
        return answer


@pytest.mark.parametrize(
    "request_line",
    [
        b"", b"\n", b"stop\n", b"stop ssh\n", b"stop ollama.service\n", b"start-job\n", b"start-job ollama\n",
        b"start-job ../x\n", b"start-job a/../b\n", b"start-job a/b/c\n", b"start-job .a/b\n", b"start-job a/-b\n",
        b"start-job a/b --now\n", b"start-job a/b.service\nstop ollama\n", b"start-job a%i/b\n", b"status x\n",
        b"status ollama\n", b"restart ollama\n", "start-job a/\u0661\n".encode(), b"stop a/b\n", b"x" * 390,
    ],
)  # fmt: skip
def test_anything_else_is_refused(helper: Helper, request_line: bytes) -> None:
    assert ask(helper, request_line) == {"ok": False, "error": "This is not a request of the helper."}
    assert helper.called() == []


def test_other_users_are_refused(helper: Helper) -> None:
    message = as_user(lambda: job_helper.control("stop"), 4711)
    assert "Only the owner of the data directory may use this helper." in message
    assert as_user(lambda: list(job_helper.controlled_unit()), 4711) == ["", []]
    assert helper.called() == []


def test_ollama_is_stopped_and_started(helper: Helper) -> None:
    unit = local_services.Unit("ollama.service")

    def all_of_it() -> None:
        unit.stop()
        unit.on_cpu()
        unit.restore()

    assert as_user(all_of_it) is None
    assert helper.called() == [
        "stop ollama.service",
        "daemon-reload",
        "reset-failed ollama.service",
        "restart ollama.service",
        "daemon-reload",
        "reset-failed ollama.service",
        "start ollama.service",
    ]
    assert not (helper.root / "units").exists() or list((helper.root / "units").iterdir()) == []


def test_only_its_own_unit_is_controlled(helper: Helper) -> None:
    """systemd itself decides on another unit, and refuses."""
    with contextlib.suppress(NotReadyError):
        as_user(lambda: local_services.Unit("ssh.service").stop())
    assert helper.called() == []


def test_the_unit_behind_a_port_is_found(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    unit = job_helper.UnitStatus("ollama.service", (port,))
    monkeypatch.setattr(job_helper, "controlled_unit", lambda: unit)
    found = local_services.find(f"http://127.0.0.1:{port}", "unix:///no/engine/here")
    assert isinstance(found, local_services.Unit) and found.name == "ollama.service"
    assert local_services.find(f"http://127.0.0.1:{free_port()}", "unix:///no/engine/here") is None


def test_a_supervisor_runs_in_the_unit_of_its_job(helper: Helper) -> None:
    """It executes what the owner has written, as the owner, with the output in the owner's log."""
    job = helper.root / "data/jobs/active/run-1/step-0-1"
    job.mkdir(parents=True)
    core = helper.root / "core"
    (core / launcher.PACKAGE).mkdir(parents=True)
    (core / launcher.PACKAGE / "__init__.py").touch()
    (core / launcher.PACKAGE / "main.py").write_text(
        "import os, sys, time\n"
        "print(os.getresuid(), os.getgroups(), sys.argv[1:], os.getcwd(), flush=True)\n"
        "time.sleep(30)\n"
    )
    for path in [core, *core.rglob("*")]:
        path.chmod(0o755)
    for path in [helper.root / "data", *(helper.root / "data").rglob("*")]:
        os.chown(path, UID, UID)
    log = job / "supervisor.log"

    def spawn() -> t.Any:
        identity = launcher.spawn(str(core), "/usr/bin/python3", "supervise", str(job), str(log), "unused")
        return identity.as_dict() if identity else None

    started = as_user(spawn)
    assert helper.called() == ["start ia-homelab-job@run-1:step-0-1.service"]
    try:
        line = until(log.read_text, 30)
        assert line.strip() == f"({UID}, {UID}, {UID}) [] ['supervise', '{job}'] {core}"
        identity = identify(int(started["pid"]))
        assert identity is not None and identity.as_dict() == started
        assert log.stat().st_uid == UID
        assert not (job / "launch.json").exists(), "it may contain the password of a proxy"
    finally:
        os.kill(int(started["pid"]), 9)


def test_a_job_of_another_data_directory_is_not_started_through_it(helper: Helper, tmp_path: Path) -> None:
    assert as_user(lambda: job_helper.start_job(str(tmp_path / "elsewhere"), "run", "job-1")) is None
    assert helper.called() == []


def test_jobs_do_not_run_as_root(helper: Helper) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(helper.root / "start_job.py"), str(helper.root / "data"), "run:job"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "Jobs do not run as root.\n")


def test_units_are_of_the_owner_and_execute_files_of_root() -> None:
    """The units as the role writes them. systemd itself is in ``molecule/service``."""
    role = FILES.parent
    names = yaml.safe_load((role / "vars" / "main.yml").read_text(encoding="utf-8"))
    values = {
        **names,
        "job_helper_uid": UID,
        "job_helper_gid": UID,
        "job_helper_groups": [],
        "job_helper_data_dir": "/data",
    }

    def unit(name: str) -> dict[str, list[str]]:
        """Return the values of each key."""
        text = jinja2.Template((role / "templates" / f"{name}.j2").read_text(encoding="utf-8")).render(values)
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            if "=" in line and not line.startswith("#"):
                found.setdefault(line.partition("=")[0], []).append(line.partition("=")[2])
        return found

    job, listener, helper = (unit(name) for name in ("job.service", "helper.socket", "helper.service"))
    assert (job["User"], job["Group"], job["NoNewPrivileges"]) == ([str(UID)], [str(UID)], ["true"])
    assert job["ExecStart"] == ["/usr/bin/python3 -I /opt/ia-homelab/helper/start_job.py /data %i"]
    assert (listener["SocketUser"], listener["SocketGroup"], listener["SocketMode"]) == (["root"], [str(UID)], ["0660"])
    assert helper["ExecStart"] == ["/usr/bin/python3 -I /opt/ia-homelab/helper/helper.py"]


def test_without_a_helper_nothing_is_controlled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_helper, "SOCKET", "/no/socket/here")
    assert job_helper.controlled_unit() == ("", ())
    assert job_helper.start_job("/data", "run", "job-1") is None
    with pytest.raises(NotReadyError, match="did not answer 'stop ollama'"):
        job_helper.control("stop")
