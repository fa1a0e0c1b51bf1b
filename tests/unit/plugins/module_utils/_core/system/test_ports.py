# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners and facts of processes, from the kernel of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ports
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import until

#: No process has this id: it is above the largest that Linux allows.
NOBODY = 2**22 + 1


@pytest.fixture
def sleeper() -> t.Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own."""
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait", "a b", ""], env={"FIRST": "1=2", "EMPTY": ""})
    yield process
    for pid in [*ports.children(process.pid), process.pid]:
        os.kill(pid, 9)
    process.wait()


def loopbacks() -> list[tuple[int, str]]:
    """The families of addresses that this machine has."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as trial:
        trial.bind(("::1", 0))
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    return [(socket.AF_INET, "127.0.0.1")]


@pytest.mark.parametrize(("family", "host"), loopbacks())
def test_a_listener_is_found_as_long_as_it_listens(family: int, host: str) -> None:
    with socket.socket(family) as server:
        server.bind((host, 0))
        port = server.getsockname()[1]
        assert ports.listeners(port) == [], "bound, but it does not listen"
        assert not ports.accepts(host, port)
        server.listen()
        assert ports.listeners(port) == [os.getpid()]
        assert ports.accepts(host, port)
        with socket.create_connection((host, port)) as client:
            assert ports.listeners(client.getsockname()[1]) == [], "a client of it is no listener"
    assert ports.listeners(port) == []
    assert not ports.accepts(host, port)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", True),
        ("192.0.2.1", False),  # for documentation: RFC 5737
        ("no-such-host.invalid", False),
    ],
)
def test_only_addresses_of_this_host_are_local(host: str, local: bool) -> None:
    assert ports.is_local(host) is local


def test_facts_of_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    (child,) = until(lambda: ports.children(sleeper.pid), 10)
    assert child in ports.children(os.getpid()) and sleeper.pid in ports.children(os.getpid()), "all descendants"
    assert ports.children(child) == []
    assert ports.arguments(sleeper.pid) == ["/bin/sh", "-c", "sleep 60 & wait", "a b", ""], "empty ones count too"
    assert os.path.samefile(ports.program(sleeper.pid), "/bin/sh")
    assert {"FIRST": "1=2", "EMPTY": ""}.items() <= ports.variables(sleeper.pid).items()
    assert os.path.samefile(ports.program(os.getpid()), sys.executable)


def test_a_process_that_has_ended_has_no_facts() -> None:
    assert ports.arguments(NOBODY) == []
    assert ports.program(NOBODY) == ""
    assert ports.variables(NOBODY) == {}
    assert ports.cgroups(NOBODY) == ""
    assert ports.container_ids(NOBODY) == set()
    assert ports.children(NOBODY) == []


def test_ids_of_containers_in_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = f"0::/system.slice/docker-{'a' * 64}.scope\n1:cpu:/docker/{'b' * 64}/inner\n2:x:/user.slice/{'c' * 63}\n"
    monkeypatch.setattr(ports, "cgroups", lambda _pid: groups)
    assert ports.container_ids(1) == {"a" * 64, "b" * 64}
