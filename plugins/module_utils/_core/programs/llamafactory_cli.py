# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs LLaMA-Factory's own command line, with start-up and exit a third faster.

Run as a script by the Python of LLaMA-Factory's environment or image: ``llamafactory_cli.py train FILE``, or ``export
FILE``. It runs ``llamafactory.cli`` with those arguments, and keeps its exit status and output. A training may render
the probes of its chat template before (:func:`render_probes`).

LLaMA-Factory imports about 4000 modules that stay in use until the end. Garbage collection during the imports finds
nothing, and the teardown at interpreter exit has no effect, so both are skipped. They take most of the time of a small
model's training or merge.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import sys

#: Variable with the path of a request for probes (``render_probes.py``), which also names the file of the result.
PROBES_REQUEST = "IA_PROBES_REQUEST"

#: Exit status of the process; 1 until it is known, which covers exceptions.
STATUS = 1


def exit_now() -> None:
    """Exit immediately, without interpreter teardown.

    Must be the first registered exit handler: it then runs last, after all threads have ended and all other handlers
    have run.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(STATUS)


def load() -> None:
    """Import what the command line will import, unless it only launches other processes (``launcher.py``: torchrun)."""
    from llamafactory.extras.misc import get_device_count, is_env_enabled

    if not is_env_enabled("FORCE_TORCHRUN") and get_device_count() <= 1:
        import llamafactory.train.tuner  # noqa: F401


def render_probes() -> None:
    """Render the probes of the chat template if the caller asked for them, in the process that has everything loaded.

    A failure does not end the training: the result then has the reason, and a registration finds another way.
    """
    path = os.environ.pop(PROBES_REQUEST, "")
    if not path:
        return
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    about = {"template": request["template"], "tool_format": request.get("tool_format")}
    try:
        program = importlib.import_module("render_probes")  # beside this file, which is no package here
        result = {**about, **program.render(request)}
    except Exception as error:  # LLaMA-Factory raises anything
        result = {**about, "probes": {}, "error": f"{type(error).__name__}: {error}"}
    temporary = f"{request['output']}.new"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump({"schema": 1, **result}, stream, ensure_ascii=False)
    os.replace(temporary, request["output"])


def main() -> None:
    """Run LLaMA-Factory's command line."""
    gc.disable()
    try:
        load()
    finally:
        gc.freeze()
        gc.enable()
    with contextlib.suppress(OSError, ValueError, KeyError):
        render_probes()
    from llamafactory.cli import main as run_cli

    run_cli()


if __name__ == "__main__":
    atexit.register(exit_now)
    try:
        main()
        STATUS = 0
    except SystemExit as end:
        STATUS = 0 if end.code is None else end.code if isinstance(end.code, int) else 1
        raise
