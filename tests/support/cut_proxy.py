# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP proxy that cuts connections after a number of bytes of each answer."""

from __future__ import annotations

import socket
import threading
import typing as t


class CutProxy:
    """Forwards connections to a port of this machine.

    :param port: the target port.
    :param budgets: bytes that the first, second… connection returns before it is cut; later ones are not cut.
    """

    def __init__(self, port: int, budgets: t.Sequence[int]) -> None:
        self._port, self._budgets = port, list(budgets)
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop accepting connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            budget = self._budgets[self.connections] if self.connections < len(self._budgets) else None
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()  # the server is down
                continue
            for source, sink, left in ((client, server, None), (server, client, budget)):
                threading.Thread(target=_pass_on, args=(source, sink, left), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, left: int | None) -> None:
    try:
        while block := source.recv(4096):
            if left is not None:
                block = block[:left]
                left -= len(block)
            sink.sendall(block)
            if left == 0:
                break
    except OSError:
        pass  # closed by the other direction
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()
