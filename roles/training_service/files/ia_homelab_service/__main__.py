# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m ia_homelab_service SETTINGS.json``: run the service.

``python -m ia_homelab_service mcp SETTINGS.json`` serves one MCP client over standard input and output instead: the
same tools on the same store, whether the service runs or not.
"""

from __future__ import annotations

import logging
import sys

import uvicorn

from ia_homelab_core.errors import CoreError

from . import app, mcp_server, page, settings
from .operations import Operations


def main(arguments: list[str]) -> int:
    """Run the service until it is stopped."""
    over_stdio = arguments[:1] == ["mcp"]
    if len(arguments) != 1 + over_stdio:
        print("Usage: python -m ia_homelab_service [mcp] SETTINGS.json", file=sys.stderr)
        return 2
    try:
        found = settings.load(arguments[-1])
        if over_stdio:
            mcp_server.run_stdio(Operations(found))
            return 0
        made = app.create_app(found)
        page.mount(made)
    except CoreError as error:
        print(f"The training service does not start: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(
        app.guarded(made),
        host=found.host,
        port=found.port,
        lifespan="on",
        server_header=False,
        proxy_headers=False,
        # streams are open for hours: what they miss they get when they come back
        timeout_graceful_shutdown=3,
        access_log=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
