# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit of time for the header of a request, which uvicorn does not have.

Without one, a client that sends a byte now and then keeps connections open for ever. The request guard limits the time
of bodies.
"""

from __future__ import annotations

import asyncio
import typing as t

from uvicorn.protocols.http.auto import AutoHTTPProtocol

#: Seconds from the connection, or from the first byte of a further request, until its header has arrived.
HEADER_SECONDS = 20.0

_Protocol: t.Any = AutoHTTPProtocol


class HeaderTimeoutProtocol(_Protocol):  # type: ignore[misc]  # uvicorn selects the class when it is imported
    """uvicorn's protocol that closes connections whose next header does not arrive in time."""

    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits_for_header():
            self._start_header_timer()
        else:
            self._stop_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        super().connection_lost(exc)

    def _waits_for_header(self) -> bool:
        if self.transport.get_protocol() is not self:  # a websocket has another one
            return False
        return self.cycle is None or self.cycle.response_complete

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            loop = asyncio.get_running_loop()
            self._header_timer = loop.call_later(HEADER_SECONDS, self._header_is_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        self._header_timer = None
        if self._waits_for_header():
            self.transport.close()
