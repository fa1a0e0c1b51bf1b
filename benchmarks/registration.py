# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs a registration that the server proves its prompts: with the proof, and without it.

A model of two megabytes, on the current and on the oldest supported Ollama. Each registration is of another model, so
that each is created, loaded and answers. Needs the variables that ``./test.sh tools`` prints.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import typing as t
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import register  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.real import test_served_prompts_real as served  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import (  # noqa: E402
    PROGRAMS,
    Server,
    free_port,
    program_of,
)

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "5"))


def seconds(made: served.Made, url: str, name: str) -> float:
    """Duration of a registration."""
    ctx = made.registration(url, name)
    began = time.perf_counter()
    made.register(ctx)
    return time.perf_counter() - began


def unproven(*_arguments: t.Any, **_options: t.Any) -> dict[str, t.Any]:
    """Stands in for the proof: nothing is asked."""
    return {"probes": [], "counted": [], "skipped": {}}


def main() -> None:
    """Print the medians for each server."""
    with tempfile.TemporaryDirectory(prefix="benchmark.") as root:
        for made in served.prepared(Path(root) / "host"):
            for version in PROGRAMS:
                directory = Path(root) / version
                directory.mkdir()
                server = Server(program_of(version), directory, free_port())
                server.start()
                try:
                    proven = [seconds(made, server.url, f"proven-{number}") for number in range(TIMES)]
                    with mock.patch.object(register, "prove", unproven):
                        plain = [seconds(made, server.url, f"plain-{number}") for number in range(TIMES)]
                finally:
                    server.stop()
                with_proof, without = statistics.median(proven), statistics.median(plain)
                print(f"{version}: {without:.2f} s, with the proof {with_proof:.2f} s (+{with_proof - without:.2f} s)")


if __name__ == "__main__":
    main()
