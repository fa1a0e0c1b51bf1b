# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path below which a proxy serves the service: removed from requests, whether the proxy does or not, and added to
redirects.
"""

from __future__ import annotations

import urllib.parse

from starlette import types as asgi
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware.

    ``scope["path"]`` is the path without the prefix, and ``scope["root_path"]`` the prefix.

    :param prefix: such as ``/training``; empty for none.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if self.prefix and (path == self.prefix or path.startswith(f"{self.prefix}/")):
            path = path[len(self.prefix) :] or "/"
        inner = {**scope, "path": path, "root_path": self.prefix}

        async def with_location(message: asgi.Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                if "location" in answered:
                    answered["location"] = self._outside(answered["location"], Headers(scope=scope).get("host", ""))
            await send(message)

        await self.app(inner, receive, with_location)

    def _outside(self, location: str, host: str) -> str:
        """Return an address of this service as it is outside: a path, which keeps scheme and host of the client."""
        parts = urllib.parse.urlsplit(location)
        if parts.netloc not in ("", host) or not parts.path.startswith("/"):
            return location
        path = parts.path
        if self.prefix and path != self.prefix and not path.startswith(f"{self.prefix}/"):
            path = f"{self.prefix}{path}"
        return urllib.parse.urlunsplit(("", "", path, parts.query, parts.fragment))
