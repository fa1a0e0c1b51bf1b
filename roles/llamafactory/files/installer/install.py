# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one component of the toolchain: ``install.py NAME``, probe.py's report on standard input.

Prints ``{"changed": bool, "path": …, "seconds": …}``; what went wrong goes to standard error, exit 1.
"""

from __future__ import annotations

import json
import os
import sys
import time

from environments import make_builder, make_environment
from llama_cpp import make_headers, make_llama_cpp
from workshop import Failed, Workshop

MAKERS = {
    "builder": make_builder,
    "llamafactory": make_environment,
    "converter": make_environment,
    "llama_cpp": make_llama_cpp,
    "headers": make_headers,
}


def main() -> int:
    name = sys.argv[1]
    shop = Workshop(json.load(sys.stdin), name)
    started = time.monotonic()
    # Building must not get in the way of what the host is there for.
    os.nice(5)
    try:
        with shop.locked():
            # Another play may have made it while this one waited for the lock.
            changed = not shop.whole()
            if changed:
                MAKERS[name](shop)
            shop.tidy()
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; the log is {shop.log}", file=sys.stderr)
        return 1
    print(json.dumps({"changed": changed, "path": str(shop.path), "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
