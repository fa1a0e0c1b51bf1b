# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The MCP server, over streamable HTTP and over standard input and output."""

from __future__ import annotations

import typing as t

from fastapi import FastAPI
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ia_homelab_core.version import VERSION

from ..application.operations import Operations
from ..http.access import READ
from ..http.security import SecuredApp, granted_scopes, needs
from .tools import ScopeLookup, Tools

INSTRUCTIONS = """\
Fine-tunes language models on the PC IA and serves them in Ollama. Usual order: llamafactory_datasets (what there is to
train on), llamafactory_estimate (what it would take; changes nothing), llamafactory_train, then llamafactory_status
with wait_seconds until the status is succeeded, then llamafactory_export to have the model in Ollama. One training at a
time has the GPU; the others wait in the queue. The same request again is the same job, so calling twice does no harm.
"""


def build(operations: Operations, scopes: ScopeLookup) -> MCPServer[t.Any]:
    """Return the server.

    :param scopes: returns the scopes of a request.
    """
    tools = Tools(operations, scopes)
    server: MCPServer[t.Any] = MCPServer(
        "ia_homelab.llamafactory", title="LLaMA-Factory on the PC IA", instructions=INSTRUCTIONS, version=VERSION,
        log_level="WARNING", tools=tools.all(),
    )  # fmt: skip
    tools.add_resources(server)
    return server


class _WithSlash(SecuredApp):
    """The application of ``/mcp`` at the address with a slash."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__({**scope, "path": "/mcp"}, receive, send)


def mount(app: FastAPI) -> None:
    """Add ``/mcp`` (streamable HTTP) to the application.

    It is stateless: requests are independent, so a restart of the service does not affect clients. Every request needs
    the scope ``read``, and each tool declares its own.
    """
    operations: Operations = app.state.operations
    server = build(operations, granted_scopes)
    inner = server.streamable_http_app(
        streamable_http_path="/mcp",
        stateless_http=True,
        max_request_body_size=operations.settings.max_body_bytes,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    # both answer: clients do not follow a redirect of a POST, or lose their token on the way
    app.router.routes.append(Route("/mcp", SecuredApp(inner, needs(READ)), methods=None, include_in_schema=False))
    app.router.routes.append(Route("/mcp/", _WithSlash(inner, needs(READ)), methods=None, include_in_schema=False))
    app.state.lifespans.append(server.session_manager.run())


def run_stdio(operations: Operations, granted: t.Container[str]) -> None:
    """Serve one client over standard input and output, until it disconnects.

    :param granted: the scopes of the client.
    """
    build(operations, lambda _request: granted).run("stdio")
