# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start supervisors so that they outlive the caller, its session and the SSH connection."""

from __future__ import annotations

import os
import shutil

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import sys
import tempfile
import typing as t

from ..errors import NotReadyError
from ..runs.job_context import data_dir_of
from ..runs.names import LAUNCH_FILE
from ..system import job_helper
from ..system.clock import utc_now
from ..system.environment import clean_environment
from ..system.files import discard, write_json
from ..system.ownership import denied_advice
from ..system.processes import Identity, identify
from .installation import PACKAGE

_RUN = "/run"

#: Sufficient for the core, which needs only the standard library.
_SYSTEM_PYTHON = "/usr/bin/python3"


def _under_systemd() -> bool:
    return os.geteuid() == 0 and os.path.isdir("/run/systemd/system") and shutil.which("systemd-run") is not None


def spawn(core_dir: str, python: str, command: str, argument: str, log: str, unit: str) -> Identity | None:
    """Start a command of the installed core (see ``main``); it outlives the caller, its session and the SSH connection.

    As root under systemd it runs as a transient unit (``KillMode=process``: the supervisor stops its own command). For
    another user the helper of the role ``job_helper`` starts a unit of that user's, so that the job is part of neither
    the unit nor the session of the caller. Elsewhere it is an orphaned process in its own session.

    :param core_dir: directory of the installed core, for ``PYTHONPATH``.
    :param python: path of the interpreter.
    :param argument: the only argument of the command, the directory of a job.
    :param log: file to which the output is appended.
    :param unit: name of the unit.
    :returns: the identity of the process; None when it has already ended.
    :raises NotReadyError: when it cannot be started.
    """
    env = {**clean_environment(), "PYTHONPATH": core_dir}
    argv = [python, "-m", f"{PACKAGE}.main", command, argument]
    os.close(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
    os.chmod(log, 0o644)
    pid = _spawn_unit(argv, env, log, unit) if _under_systemd() else _spawn_through_helper(argv, env, log, argument)
    if pid is None:
        pid = _spawn_orphan(argv, env, log)
    return identify(pid)


def _spawn_unit(argv: list[str], env: dict[str, str], log: str, unit: str) -> int | None:
    options: dict[str, t.Any] = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True}
    # Every user can read an argument list and the properties of a unit, so a proxy's password must not be in them;
    # and a file in /run does not survive a crash of the machine.
    env_path = ""
    try:
        fd, env_path = tempfile.mkstemp(prefix="ia-homelab-", suffix=".env", dir=_RUN)
        with os.fdopen(fd, "wb") as stream:
            stream.write(os.fsencode(environment_file(env)))
        started = subprocess.run(
            ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec",
             "--property=KillMode=process", "--property=OOMPolicy=continue", "--property=TasksMax=infinity",
             f"--property=WorkingDirectory={env['PYTHONPATH']}", f"--property=EnvironmentFile={env_path}",
             f"--property=StandardOutput=append:{log}", f"--property=StandardError=append:{log}", "--", *argv],
            stdout=subprocess.DEVNULL, check=False, **options,
        )  # fmt: skip
    except OSError:  # for example /run is full: nothing has been started
        return None
    finally:
        discard(env_path)
    if started.returncode != 0:
        return None
    shown = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", f"{unit}.service"],
        stdout=subprocess.PIPE,
        check=False,
        **options,
    )
    # 0 when it has already ended: no process has that id
    return int(shown.stdout.strip() or 0) if shown.returncode == 0 else 0


def _spawn_through_helper(argv: list[str], env: dict[str, str], log: str, job_dir: str) -> int | None:
    """Start a supervisor through the helper; None if that is not possible, and then nothing was started."""
    launch = os.path.join(job_dir, LAUNCH_FILE)
    if not os.path.exists(job_helper.SOCKET) or not os.path.isdir(job_dir):
        return None
    write_json(launch, {"argv": argv, "env": env, "cwd": env["PYTHONPATH"], "log": log}, 0o600)
    try:
        pid = job_helper.start_job(data_dir_of(job_dir), *os.path.abspath(job_dir).split(os.sep)[-2:])
    except NotReadyError as error:
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(f"{utc_now()} {error} The supervisor is started without it.\n")
        pid = None
    if pid is None:
        discard(launch)
    return pid


def environment_file(env: t.Mapping[str, str]) -> str:
    """Format variables as systemd reads them from a file (``EnvironmentFile=`` in systemd.exec(5)).

    Values are in double quotes, where a backslash escapes a quote or a backslash, and a line break stands for itself.
    """
    return "".join(
        '{}="{}"\n'.format(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in env.items()
    )


def _spawn_orphan(argv: list[str], env: dict[str, str], log: str) -> int:
    try:
        # The shell exits at once, so the child is reparented to init and never becomes a zombie.
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$@" >>"$0" 2>&1 & echo $!', log, *argv],
            stdin=subprocess.DEVNULL, capture_output=True,
            env=env, cwd=env["PYTHONPATH"], start_new_session=True, check=True, text=True,
        )  # fmt: skip
        return int(shell.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise NotReadyError("engine.supervisor_not_started", reason=error) from error


def current_python() -> str:
    """Return the path of the interpreter for supervisors: that of this process, or the system's.

    An interpreter in the home of root, for example, cannot be executed by a process that has become the owner.

    :raises NotReadyError: if this user can execute neither.
    """
    for python in (sys.executable, _SYSTEM_PYTHON):
        if python and os.access(python, os.X_OK):
            return python
    raise NotReadyError("engine.python_denied", path=sys.executable, advice=denied_advice(sys.executable))
