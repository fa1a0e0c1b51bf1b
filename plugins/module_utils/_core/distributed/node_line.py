# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection between two nodes of a training, and the ports they listen on."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import socket
import time
import typing as t

from ..errors import NotReadyError
from ..json_text import parse_json
from .nodes import LAST_PORT

#: The kernel finds a host that is gone also while both ends have nothing to say (tcp(7)): after 10 + 3 * 5 seconds of
#: silence, or 20000 milliseconds after something was sent and not acknowledged.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20000}

_LONGEST_LINE = 64 * 1024


class Line:
    """One connection, with whole JSON objects on it; never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.socket = connection
        self.heard = time.monotonic()
        self.broken = ""
        self._read = b""
        self._unsent = b""

    def send(self, **message: t.Any) -> None:
        """Send an object, as far as the other end takes it; the rest goes with the next one."""
        self._unsent += json.dumps(message).encode() + b"\n"
        with contextlib.suppress(BlockingIOError):
            try:
                while self._unsent:
                    self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                raise
            except OSError as error:
                self.broken = self.broken or error.strerror or str(error)
                self._unsent = b""

    def receive(self) -> list[dict[str, t.Any]]:
        """What has come meanwhile; :attr:`broken` says afterwards whether more can come."""
        while True:
            try:
                piece = self.socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                self.broken = self.broken or error.strerror or str(error)
                break
            if not piece:
                self.broken = self.broken or "it closed the connection"
                break
            self._read += piece
            self.heard = time.monotonic()
        *lines, self._read = self._read.split(b"\n")
        if len(self._read) > _LONGEST_LINE:
            self.broken = "it speaks something else"
        found = []
        for line in lines:
            try:
                value = parse_json(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                self.broken = "it speaks something else"
                break
            found.append(value)
        return found

    def address(self) -> str:
        """This end's own address."""
        return str(self.socket.getsockname()[0])

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.socket.close()


def listen(address: str, port: int) -> socket.socket:
    """Listen on a port: at that address if it is this host's own, else at all.

    :raises OSError: when it is taken.
    """
    for host in [*_own(address), "::", "0.0.0.0"]:  # noqa: S104
        with contextlib.suppress(OSError):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM)
            try:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if host == "::":
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                server.bind((host, port))
                server.listen(64)
                server.setblocking(False)
                return server
            except OSError as error:
                server.close()
                if error.errno == errno.EADDRINUSE:
                    break
                raise
    raise OSError(errno.EADDRINUSE, f"port {port} is taken")


def _own(address: str) -> list[str]:
    """The addresses that a name has and that are this host's, loopbacks left out (a host's own name may have one)."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except OSError:
        return []
    loopback = address in ("localhost", "::1") or address.startswith("127.")
    return sorted(ip for ip in found if loopback or not (ip == "::1" or ip.startswith("127.")))


def free_port(address: str, first: int, last: int = LAST_PORT) -> int:
    """The first port that nobody listens on.

    :raises NotReadyError: when all are taken.
    """
    for port in range(first, last + 1):
        with contextlib.suppress(OSError):
            listen(address, port).close()
            return port
    raise NotReadyError("distributed.ports_taken", first=first, last=last)


def unreachable(me: str, other: str, address: str, port: int, error: OSError) -> NotReadyError:
    """The error for a port of another node that cannot be reached."""
    reason = "no answer" if isinstance(error, (socket.timeout, TimeoutError)) else (error.strerror or str(error))
    return NotReadyError(
        "distributed.unreachable",
        host=me,
        other=other,
        address=address,
        port=port,
        reason=reason,
        details={"from": me, "to": other, "address": address, "port": port},
    )


#: What a host that is asked whether it can be reached answers, and how long it does.
_HERE = b"ia-homelab node\n"
_ANSWER_SECONDS = 300.0
#: Seconds for an answer, and how often it is asked for.
_DIAL_SECONDS, _DIALS = 5.0, 3


def answer(address: str, ports: t.Sequence[int], callers: int) -> list[int]:
    """Let a process of its own answer on some ports for a while, to whoever tries to reach this host.

    :param address: where the others try to reach it.
    :param ports: 0 for any that is free.
    :param callers: a port is given back when it has answered so many there; all at the latest after five minutes.
    :returns: the ports.
    :raises OSError: when one of them is taken.
    """
    servers = [listen(address, port) for port in ports]
    found = [int(server.getsockname()[1]) for server in servers]
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                _answer(servers, callers)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for server in servers:
        server.close()
    return found


def _answer(servers: t.Sequence[socket.socket], callers: int) -> None:
    os.setsid()
    os.chdir("/")
    keep = {server.fileno() for server in servers}
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)  # Ansible waits for the ends of its pipes
    for handle in range(3, 256):
        if handle not in keep:
            with contextlib.suppress(OSError):
                os.close(handle)
    left = dict.fromkeys(servers, callers)
    end = time.monotonic() + _ANSWER_SECONDS
    with selectors.DefaultSelector() as selector:
        for server in servers:
            selector.register(server, selectors.EVENT_READ)
        while left and time.monotonic() < end:
            for key, _events in selector.select(1.0):
                server = t.cast(socket.socket, key.fileobj)
                with contextlib.suppress(OSError):
                    connection = server.accept()[0]
                    with connection:
                        connection.settimeout(1.0)
                        connection.sendall(_HERE)
                        left[server] -= connection.recv(len(_HERE)) == _HERE
                if left[server] <= 0:
                    selector.unregister(server)
                    server.close()
                    del left[server]


def dial(me: str, other: str, address: str, port: int) -> NotReadyError | None:
    """Try to reach a port of another host that :func:`answer` holds; what is in the way.

    :param me: name of this host.
    :param other: name of the other one.
    """
    problem: OSError = OSError("it was not tried")
    for attempt in range(_DIALS):
        if attempt:
            time.sleep(0.5)
        try:
            with socket.create_connection((address, port), _DIAL_SECONDS) as connection:
                connection.sendall(_HERE)
                if connection.recv(len(_HERE)) == _HERE:
                    return None
                problem = OSError("something else answers there")
        except OSError as error:
            problem = error
    return unreachable(me, other, address, port, problem)
