# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host as the job user: stops, restarts and restores the unit at Ollama's port; prints what it sees."""

from __future__ import annotations

import subprocess
import time

from ia_homelab_core.system import ports
from ia_homelab_core.system.local_services import Unit, find

URL = "http://127.0.0.1:11434"


def state() -> str:
    """Whether the unit is active, and how the drop-in has changed it."""
    shown = ["systemctl", "show", "--property=ActiveState,Environment", "ollama.service"]
    lines = subprocess.run(shown, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    values = dict(line.split("=", 1) for line in lines)
    hidden = [word for word in values.get("Environment", "").split() if word.startswith("CUDA")]
    return " ".join([values["ActiveState"], *hidden])


def wait() -> None:
    """Wait until the port answers."""
    while not ports.accepts("127.0.0.1", 11434):
        time.sleep(0.1)


server = find(URL, "unix:///no/engine/here")
assert isinstance(server, Unit), server
print(server.description)
server.stop()
print(state())
server.on_cpu()
print(state())
server.restore()
print(state())
wait()
server.restore()
print("again", state())
