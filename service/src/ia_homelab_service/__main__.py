# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m ia_homelab_service SETTINGS.json``: run the service.

``python -m ia_homelab_service mcp SETTINGS.json`` serves one MCP client over standard input and output instead, with
the same tools on the same job store. The service need not run for that. The client's token is read from
``LLAMAFACTORY_TOKEN``, or from the file ``LLAMAFACTORY_TOKEN_FILE``.

``python -m ia_homelab_service sign-in-link [--token NAME] SETTINGS.json`` prints a link that signs a browser in to the
page of the running service, once and within five minutes, with the scopes of the token of that name.
"""

from __future__ import annotations

import logging
import os
import sys
import typing as t

import uvicorn
from fastapi import FastAPI

from ia_homelab_core.errors import CoreError

from . import settings
from .application.operations import Operations
from .http import access, sign_in_codes
from .http import app as http_app
from .http.header_timeout import HeaderTimeoutProtocol
from .mcp import server as mcp_server
from .openai import routes as openai_routes
from .rest import routes as rest_routes
from .settings import Settings
from .web import app as web_app


def create_service(configuration: Settings) -> FastAPI:
    """Return the application with all of its interfaces.

    :raises InputError: when no token is set and the settings do not say ``no_token``.
    """
    app = http_app.create_app(configuration)
    for interface in (rest_routes, openai_routes, mcp_server, web_app):
        interface.mount(app)
    return app


_USAGE = """\
Usage: python -m ia_homelab_service SETTINGS.json
       python -m ia_homelab_service mcp SETTINGS.json
       python -m ia_homelab_service sign-in-link [--token NAME] SETTINGS.json"""


def main(arguments: list[str]) -> int:
    """Run the service until it is stopped, or the command in the arguments."""
    *command, path = arguments or [""]
    if not command and path and not path.startswith("-"):
        return _run("The training service does not start", lambda: _serve(settings.load(path)))
    if command == ["mcp"]:
        return _run("MCP does not start", lambda: _serve_stdio(settings.load(path)))
    if command == ["sign-in-link"] or (command[:2] == ["sign-in-link", "--token"] and len(command) == 3):
        return _run("There is no link", lambda: _print_link(settings.load(path), *command[2:]))
    print(_USAGE, file=sys.stderr)
    return 2


def _run(failure: str, function: t.Callable[[], None]) -> int:
    """Call a function and return the exit status; print an error as a message for users."""
    try:
        function()
    except CoreError as error:
        print(f"{failure}: {error}", file=sys.stderr)
        return 2
    return 0


def _serve_stdio(configuration: Settings) -> None:
    granted = access.from_settings(configuration).scopes_on_host(os.environ)
    mcp_server.run_stdio(Operations(configuration), granted)


def _print_link(configuration: Settings, token_name: str = "") -> None:
    print(sign_in_codes.create_link(configuration, access.from_settings(configuration), token_name))


def _serve(configuration: Settings) -> None:
    app = create_service(configuration)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        http_app.guarded(app),
        host=configuration.host,
        port=configuration.port,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        http=HeaderTimeoutProtocol,
        # event streams stay open for hours; clients reconnect and get the events they missed
        timeout_graceful_shutdown=3,
        access_log=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
