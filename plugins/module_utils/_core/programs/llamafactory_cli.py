# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLaMA-Factory's own command line, begun and ended a third faster.

Run as a script by the Python of LLaMA-Factory's environment or image: ``llamafactory_cli.py train FILE``, or ``export
FILE``. What is run is ``llamafactory.cli``, with those arguments; exit status and output are its own.

It imports about 4000 modules, which all stay: collecting garbage among them meanwhile finds none, and taking them down
again at the end puts nothing in order. Both are left out. A small model's training or merge spends most of its time so.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys

#: What the process ends with; 1 as long as nothing else is known, as after an exception.
STATUS = 1


def leave() -> None:
    """End here and now. Registered before anything else, it runs after whatever is to be done at the end: threads are
    waited for before, and what was registered later has had its turn."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(STATUS)


def load() -> None:
    """Import what the command line will, unless it only starts others that do (its ``launcher.py``: torchrun)."""
    from llamafactory.extras.misc import get_device_count, is_env_enabled

    if not is_env_enabled("FORCE_TORCHRUN") and get_device_count() <= 1:
        import llamafactory.train.tuner  # noqa: F401


def main() -> None:
    """Run it."""
    gc.disable()
    try:
        load()
    finally:
        gc.freeze()
        gc.enable()
    from llamafactory.cli import main as run

    run()


if __name__ == "__main__":
    atexit.register(leave)
    try:
        main()
        STATUS = 0
    except SystemExit as end:
        STATUS = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        raise
