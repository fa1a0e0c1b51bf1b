# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulates two hosts on this machine: each has its own network interface and address, processes, host name, and a
data directory at the same path. A switch connects them.

They are namespaces of the kernel (network, PID, mount, UTS; with a user namespace around them where this is not root),
so creating them takes a second, and a cable can be pulled. As a program, this file is the first process
of a host, and a replacement for ``ssh`` that runs a command in the host's namespaces.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

#: Path of a host's own data: data directory and base model.
HOME = "/mnt"
_NETWORK = "10.77.0"


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def _be_host(name: str, address: str, home: str, lab: str) -> None:
    """Act as the first process of a host."""
    (Path(lab) / f"{name}.started").touch()
    while subprocess.run(["ip", "link", "show", "eth0"], capture_output=True, check=False).returncode:
        time.sleep(0.05)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _run("hostname", name)
    hosts = Path(home) / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")  # as Debian's installer has it
    _run("mount", "--bind", str(hosts), "/etc/hosts")
    _run("mount", "--bind", home, HOME)
    _run("mount", "-t", "tmpfs", "none", "/run")  # no systemd of the machine's
    (Path(HOME) / "up").touch()
    signal.signal(signal.SIGCHLD, lambda _number, _frame: _reap())
    while True:
        time.sleep(3600)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class NodeLab:
    """Hosts that are connected by a switch.

    :param root: a directory for this test.
    """

    def __init__(self, root: Path, names: t.Sequence[str]) -> None:
        self.root = root
        self.names = tuple(names)
        self.hosts: dict[str, int] = {}
        self._user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self._processes: list[subprocess.Popen[bytes]] = []
        root.mkdir(parents=True)
        program = root / "ssh"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} ssh "$@"\n')
        program.chmod(0o755)

    def start(self) -> None:
        """Create the hosts."""
        holder = [
            "unshare",
            *self._user,
            "--net",
            "--mount",
            "sh",
            "-c",
            f"touch {self.root}/switch; exec sleep 100000",
        ]
        self.switch = self._spawn(holder)
        _until((self.root / "switch").exists)
        self.inside("ip", "link", "add", "switch", "type", "bridge")
        self.inside("ip", "address", "add", f"{_NETWORK}.1/24", "dev", "switch")
        for interface in ("lo", "switch"):
            self.inside("ip", "link", "set", interface, "up")
        for number in range(len(self.names)):
            self.boot(self.names[number])
        (self.root / "hosts.json").write_text(json.dumps(self.hosts))

    def boot(self, name: str) -> None:
        """Boot a host, also after :meth:`power_off`."""
        number = self.names.index(name)
        home = self.home(name)
        home.mkdir(exist_ok=True)
        for mark in (home / "up", self.root / f"{name}.started"):
            mark.unlink(missing_ok=True)
        argv = [sys.executable, os.path.abspath(__file__), name, self.address(name), str(home), str(self.root)]
        private = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
        outer = self._spawn([*self.within(), *private, *argv])
        _until((self.root / f"{name}.started").exists)
        first = int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
        self.hosts[name] = first
        self.inside("ip", "link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", str(first))
        self.inside("ip", "link", "set", f"port{number}", "master", "switch", "up")
        _until((home / "up").exists)
        (self.root / "hosts.json").write_text(json.dumps(self.hosts))

    def _spawn(self, argv: t.Sequence[str]) -> int:
        # they end with this process in any case
        bound = ["setpriv", "--pdeathsig", "KILL", *argv]
        process = subprocess.Popen(bound, stdin=subprocess.DEVNULL, start_new_session=True)
        self._processes.append(process)
        return process.pid

    def home(self, name: str) -> Path:
        """The directory that a host has at :data:`HOME`."""
        return self.root / name

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"{_NETWORK}.{11 + self.names.index(name)}"

    def within(self) -> list[str]:
        """The command prefix that runs a command in the namespaces of the switch."""
        kinds = ["--user", "--preserve-credentials", "--mount"] if self._user else []
        return ["nsenter", f"--target={self.switch}", *kinds, "--net"]

    def inside(self, *argv: str) -> None:
        """Run a command in the namespaces of the switch."""
        _run(*self.within(), *argv)

    def variables(self, name: str) -> dict[str, t.Any]:
        """Connection variables of a host."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": self.address(name),
            "ansible_ssh_executable": str(self.root / "ssh"),
            "ansible_ssh_args": f"-o Lab={self.root} -o Name={name}",
            "ansible_ssh_transfer_method": "piped",
            "ansible_python_interpreter": sys.executable,
        }

    def on(self, name: str, *argv: str) -> str:
        """Run a command on a host; return its output."""
        done = subprocess.run([*enter(self.root, name), *argv], check=True, capture_output=True, text=True)
        return done.stdout

    def pull_the_cable(self, name: str) -> None:
        """Drop all packets of a host without notification."""
        self.inside("ip", "link", "set", f"port{self.names.index(name)}", "down")

    def plug_in(self, name: str) -> None:
        """The opposite of :meth:`pull_the_cable`."""
        self.inside("ip", "link", "set", f"port{self.names.index(name)}", "up")

    def power_off(self, name: str) -> None:
        """Pull the cable, then end all processes of a host: the others get no notification."""
        self.pull_the_cable(name)
        os.kill(self.hosts.pop(name), signal.SIGKILL)
        self.inside("ip", "link", "delete", f"port{self.names.index(name)}")

    def stop(self) -> None:
        """End all hosts."""
        for pid in self.hosts.values():
            _kill(pid)
        for process in reversed(self._processes):
            _kill(process.pid)
            process.wait()


def enter(root: Path, name: str) -> list[str]:
    """The command prefix that runs a command on a host."""
    pid = json.loads((root / "hosts.json").read_text())[name]
    user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={pid}", *user, "--net", "--mount", "--pid", "--uts"]


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _until(true: t.Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} seconds"
        time.sleep(0.05)


def _be_ssh(argv: t.Sequence[str]) -> None:
    """Run the command at the end of an ssh command line on the host it is for."""
    given = dict(word.split("=", 1) for word in argv if word.startswith(("Lab=", "Name=")))
    os.execvp("nsenter", [*enter(Path(given["Lab"]), given["Name"]), "sh", "-c", argv[-1]])


if __name__ == "__main__":
    if sys.argv[1] == "ssh":
        _be_ssh(sys.argv[2:])
    _be_host(*sys.argv[1:])
