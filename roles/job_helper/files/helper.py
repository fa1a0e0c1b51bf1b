# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs root for the owner of a data directory: start a job outside of the caller's unit, control Ollama's unit.

systemd starts this program as root for each connection to its socket; the connection is its standard input. It reads
one request, a line, and answers with a line of JSON. Nothing that it executes comes from the request or from a file of
the owner: a request is one of

    status
    stop ollama
    start ollama          with the GPU, as it ran before
    hide-gpu ollama       restart it without the GPU
    start-job RUN/JOB     by their names; the unit runs the job as the owner

The file of settings beside this program, which only root can write, names the owner, the data directory and the unit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import typing as t

SETTINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.json")
DROP_IN = "/run/systemd/system/{unit}.d/ia-homelab-training.conf"
#: As in ``system.local_services`` of the core.
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "ROCR_VISIBLE_DEVICES": "-1", "GGML_VK_VISIBLE_DEVICES": "-1"}
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]"
REQUEST = re.compile(
    rf"(?P<verb>status|stop|start|hide-gpu|start-job)(?: (?P<target>ollama|{NAME}{{0,150}}/{NAME}{{0,70}}))?\n?\Z",
    re.ASCII,
)
LONGEST_REQUEST = 400
REQUEST_SECONDS = 10
SYSTEMCTL_SECONDS = 120


class RefusedError(Exception):
    """A request that is not carried out; the message is the answer."""


def systemctl(*arguments: str) -> str:
    """Run systemctl and return its output."""
    result = subprocess.run(
        ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C", "systemctl", "--no-ask-password", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SYSTEMCTL_SECONDS, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        reason = result.stderr.decode("utf-8", "replace").strip() or f"status {result.returncode}"
        raise RefusedError(f"systemctl {' '.join(arguments)}: {reason}")
    return result.stdout.decode("utf-8", "replace").strip()


def main_pid(unit: str) -> int:
    """Return the id of the main process of a unit; 0 if there is none."""
    text = systemctl("show", "--property=MainPID", "--value", unit)
    return int(text) if text.isdigit() else 0


def processes(unit: str) -> list[int]:
    """Return the ids of the processes of a unit."""
    group = systemctl("show", "--property=ControlGroup", "--value", unit)
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd"):
        try:
            with open(f"{root}{group}/cgroup.procs", encoding="ascii") as stream:
                return [int(line) for line in stream] if group else []
        except OSError:
            continue
    return []


def listening_ports(unit: str) -> list[int]:
    """Return the TCP ports on which the processes of a unit listen."""
    sockets = set()
    for pid in processes(unit):
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        except OSError:
            continue  # it has ended
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = [line.split() for line in stream][1:]
        except OSError:
            continue
        listening = [row for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
        ports.update(int(row[1].rpartition(":")[2], 16) for row in listening)
    return sorted(ports)


def runs_without_gpu(unit: str) -> bool:
    """Whether the process of a unit runs without a GPU: the drop-in may not be in effect."""
    pid = main_pid(unit)
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = stream.read().split(b"\0")
    except OSError:
        return False
    return all(f"{name}={value}".encode() in variables for name, value in NO_GPU.items())


def start(unit: str, verb: str) -> None:
    """Start or restart a unit. systemd limits the starts of a unit; trainings must not exhaust that limit."""
    try:
        systemctl("reset-failed", unit)
    except RefusedError:
        pass  # it is not loaded
    systemctl(verb, unit)


def hide_gpu(unit: str) -> None:
    """Restart a unit without a GPU; no-op if it already runs so. The drop-in does not outlive a reboot."""
    path = DROP_IN.format(unit=unit)
    if os.path.exists(path) and runs_without_gpu(unit):
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    lines = [f"Environment={name}={value}\n" for name, value in NO_GPU.items()]
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write("# While a training has the GPU.\n[Service]\n" + "".join(lines))
    os.replace(path + ".new", path)
    systemctl("daemon-reload")
    start(unit, "restart")


def show_gpu(unit: str) -> None:
    """Run a unit as it ran before :func:`hide_gpu` or a stop."""
    path = DROP_IN.format(unit=unit)
    hidden = runs_without_gpu(unit)
    if hidden or os.path.exists(path):
        try:
            os.unlink(path)
            os.rmdir(os.path.dirname(path))
        except OSError:
            pass  # it does not exist, or the directory has other drop-ins
        systemctl("daemon-reload")
    start(unit, "restart" if hidden else "start")


def start_job(target: str) -> dict[str, t.Any]:
    """Start the unit that runs a job as the owner; return the id of its process, 0 if it has already ended."""
    unit = f"ia-homelab-job@{target.replace('/', ':')}.service"
    systemctl("start", unit)
    return {"pid": main_pid(unit)}


def answer(settings: t.Mapping[str, t.Any], request: str) -> dict[str, t.Any]:
    """Carry out a request and return the values of the answer."""
    match = REQUEST.match(request)
    verb, target = match.group("verb", "target") if match else ("", None)
    unit = settings["ollama_unit"]
    if verb == "status" and target is None:
        active = systemctl("show", "--property=ActiveState", "--value", unit) == "active" if unit else False
        ollama = {"unit": unit, "active": active, "ports": listening_ports(unit) if active else []}
        return {"data_dir": settings["data_dir"], "uid": settings["uid"], "ollama": ollama}
    if verb == "start-job" and target and "/" in target:
        return start_job(target)
    if verb in ("stop", "start", "hide-gpu") and target == "ollama" and unit:
        if verb == "stop":
            systemctl("stop", unit)
        else:
            (show_gpu if verb == "start" else hide_gpu)(unit)
        return {}
    raise RefusedError("This is not a request of the helper.")


def main() -> int:
    """Answer one request; return the exit status."""
    with open(SETTINGS, encoding="utf-8") as stream:
        settings = json.load(stream)
    signal.alarm(REQUEST_SECONDS)
    connection = socket.socket(fileno=os.dup(0))
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    raw = b""
    while b"\n" not in raw and len(raw) < LONGEST_REQUEST:
        received = connection.recv(LONGEST_REQUEST)
        if not received:
            break
        raw += received
    signal.alarm(0)
    try:
        if uid not in (0, settings["uid"]):
            raise RefusedError("Only the owner of the data directory may use this helper.")
        result = {"ok": True, **answer(settings, raw.decode("ascii", "replace"))}
    except (RefusedError, OSError, subprocess.SubprocessError) as error:
        result = {"ok": False, "error": str(error)}
        sys.stderr.write(f"{raw[:LONGEST_REQUEST]!r} of uid {uid}: {error}\n")
    connection.sendall(json.dumps(result).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
