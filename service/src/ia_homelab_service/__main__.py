# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m ia_homelab_service SETTINGS.json``: run the service.

``python -m ia_homelab_service mcp SETTINGS.json`` serves one MCP client over standard input and output instead, with
the same tools on the same job store. The service need not run for that.
"""

from __future__ import annotations

import logging
import sys

import uvicorn
from fastapi import FastAPI

from ia_homelab_core.errors import CoreError

from . import settings
from .application.operations import Operations
from .http import app as http_app
from .mcp import server as mcp_server
from .openai import routes as openai_routes
from .rest import routes as rest_routes
from .settings import Settings
from .web import app as web_app


def create_service(configuration: Settings) -> FastAPI:
    """Return the application with all of its interfaces.

    :raises InputError: when the settings would give other machines access without a token.
    """
    app = http_app.create_app(configuration)
    for interface in (rest_routes, openai_routes, mcp_server, web_app):
        interface.mount(app)
    return app


def main(arguments: list[str]) -> int:
    """Run the service until it is stopped."""
    over_stdio = arguments[:1] == ["mcp"]
    if len(arguments) != 1 + over_stdio:
        print("Usage: python -m ia_homelab_service [mcp] SETTINGS.json", file=sys.stderr)
        return 2
    try:
        configuration = settings.load(arguments[-1])
        if over_stdio:
            mcp_server.run_stdio(Operations(configuration))
            return 0
        app = create_service(configuration)
    except CoreError as error:
        print(f"The training service does not start: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        http_app.guarded(app),
        host=configuration.host,
        port=configuration.port,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        # event streams stay open for hours; clients reconnect and get the events they missed
        timeout_graceful_shutdown=3,
        access_log=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
