# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m ia_homelab_service SETTINGS.json``: run the service.

``python -m ia_homelab_service mcp SETTINGS.json`` serves one MCP client over standard input and output instead: the
same tools on the same store, whether the service runs or not.
"""

from __future__ import annotations

import gc
import sys


def main(arguments: list[str]) -> int:
    """Run it. More than a thousand modules are imported, and stay: looking for garbage among them takes a tenth of
    that time."""
    gc.disable()
    try:
        from .command import main as run
    finally:
        gc.freeze()
        gc.enable()
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
