# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection between two nodes of a training, ports to listen on, and a probe of the network between hosts."""

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
from ..messages.message import Message
from .nodes import LAST_PORT

#: The kernel also detects a lost host on an idle connection (tcp(7)): after 10 + 3 * 5 seconds without a packet, or
#: 20000 milliseconds after data was sent and not acknowledged.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20000}

#: Bytes of the longest message.
_MESSAGE_BYTES = 64 * 1024


class Connection:
    """A non-blocking connection that carries JSON objects, one per line.

    ``last_received``: when data last arrived (:func:`time.monotonic`). ``broken``: why the connection can no longer be
    used; None while it can.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.socket = connection
        self.last_received = time.monotonic()
        self.broken: Message | None = None
        self._read = b""
        self._unsent = b""

    def send(self, **message: t.Any) -> None:
        """Send an object. What the other end does not accept now is sent with the next object."""
        self._unsent += json.dumps(message).encode() + b"\n"
        with contextlib.suppress(BlockingIOError):
            try:
                while self._unsent:
                    self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                raise
            except OSError as error:
                self._break(error)
                self._unsent = b""

    def receive(self) -> list[dict[str, t.Any]]:
        """Return the objects that have arrived since the last call."""
        while True:
            try:
                piece = self.socket.recv(65536)
            except BlockingIOError:
                break
            except OSError as error:
                self._break(error)
                break
            if not piece:
                self.broken = self.broken or Message("distributed.connection_closed")
                break
            self._read += piece
            self.last_received = time.monotonic()
        *lines, self._read = self._read.split(b"\n")
        if len(self._read) > _MESSAGE_BYTES:
            self.broken = Message("distributed.not_a_node")
        found = []
        for line in lines:
            try:
                value = parse_json(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                self.broken = Message("distributed.not_a_node")
                break
            found.append(value)
        return found

    def _break(self, error: OSError) -> None:
        self.broken = self.broken or Message("distributed.system_error", reason=error.strerror or str(error))

    def address(self) -> str:
        """Return the address of this end."""
        return str(self.socket.getsockname()[0])

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.socket.close()


def listen(address: str, port: int) -> socket.socket:
    """Listen on a port: at the address if it belongs to this host, else at all addresses.

    :raises OSError: if the port is in use.
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
    """Return the addresses of a host name without loopback addresses, which a host's own name may have."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except OSError:
        return []
    loopback = address in ("localhost", "::1") or address.startswith("127.")
    return sorted(ip for ip in found if loopback or not (ip == "::1" or ip.startswith("127.")))


def free_port(address: str, first: int, last: int = LAST_PORT) -> int:
    """Return the first free port of a range.

    :raises NotReadyError: if all are in use.
    """
    for port in range(first, last + 1):
        with contextlib.suppress(OSError):
            listen(address, port).close()
            return port
    raise NotReadyError("distributed.ports_taken", first=first, last=last)


def unreachable(own_name: str, other: str, address: str, port: int, error: OSError) -> NotReadyError:
    """Return the error for a port of another node that cannot be reached."""
    reason = (
        Message("distributed.no_answer")
        if isinstance(error, (socket.timeout, TimeoutError))
        else Message("distributed.system_error", reason=error.strerror or str(error))
    )
    return unreachable_because(own_name, other, address, port, reason)


def unreachable_because(own_name: str, other: str, address: str, port: int, reason: Message) -> NotReadyError:
    """Return the error for a port of another node that cannot be used, with the reason."""
    return NotReadyError(
        "distributed.unreachable",
        host=own_name,
        other=other,
        address=address,
        port=port,
        reason=reason,
        details={"from": own_name, "to": other, "address": address, "port": port},
    )


#: The answer to a probe, and the seconds for which a host answers probes.
_GREETING = b"ia-homelab node\n"
_ANSWER_SECONDS = 300.0
#: Seconds that a probe waits for the answer, and the number of attempts.
_PROBE_SECONDS, _PROBES = 5.0, 3


def answer_probes(address: str, ports: t.Sequence[int], callers: int) -> list[int]:
    """Answer :func:`probe` on some ports, in a background process that ends after five minutes at the latest.

    :param address: address at which other hosts probe this one.
    :param ports: 0 for any free port.
    :param callers: number of hosts that probe each port; a port is closed when it has answered all of them.
    :returns: the ports.
    :raises OSError: if one of them is in use.
    """
    servers = [listen(address, port) for port in ports]
    found = [int(server.getsockname()[1]) for server in servers]
    child = os.fork()
    if child == 0:
        try:
            if os.fork() == 0:
                _answer_probes(servers, callers)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for server in servers:
        server.close()
    return found


def _answer_probes(servers: t.Sequence[socket.socket], callers: int) -> None:
    os.setsid()
    os.chdir("/")
    kept = {server.fileno() for server in servers}
    null = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)  # Ansible waits until its pipes are closed
    for handle in range(3, 256):
        if handle not in kept:
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
                        connection.sendall(_GREETING)
                        left[server] -= connection.recv(len(_GREETING)) == _GREETING
                if left[server] <= 0:
                    selector.unregister(server)
                    server.close()
                    del left[server]


def probe(own_name: str, other: str, address: str, port: int) -> NotReadyError | None:
    """Connect to a port of another host on which :func:`answer_probes` listens.

    :param own_name: name of this host.
    :param other: name of the other host.
    :returns: the error if it cannot be reached.
    """
    problem: NotReadyError | None = None
    for attempt in range(_PROBES):
        if attempt:
            time.sleep(0.5)
        try:
            with socket.create_connection((address, port), _PROBE_SECONDS) as connection:
                connection.sendall(_GREETING)
                if connection.recv(len(_GREETING)) == _GREETING:
                    return None
            reason = Message("distributed.other_program_answers")
            problem = unreachable_because(own_name, other, address, port, reason)
        except OSError as error:
            problem = unreachable(own_name, other, address, port, error)
    return problem
