# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""2 000 rows are asked in flat memory: neither questions nor answers are kept in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support import many_rows
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama


def grown(root: Path, server: FakeOllama, count: int) -> int:
    """By how many kilobytes the resident memory of the worker has grown, when it has asked two models all rows."""
    root.mkdir()
    argv = [sys.executable, many_rows.__file__, str(root), server.url, str(count)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        server.models.update(json.loads(worker.stdout.readline()))
        server.requests.clear()
        worker.stdin.write("\n")
        worker.stdin.close()
        found = json.loads(worker.stdout.read().splitlines()[-1])
    assert found["items"] == count and len(server.bodies("/api/chat")) == 2 * count
    return int(found["after"]) - int(found["before"])


@pytest.mark.slow
def test_two_thousand_rows_in_flat_memory(tmp_path: Path) -> None:
    """Eight megabytes of rows, and eight of answers by each of two models; the places of the answers stay in memory."""
    with fake_ollama() as server:
        server.reply = lambda _model, _prompt: "y" * 4000
        few, many = grown(tmp_path / "few", server, 100), grown(tmp_path / "many", server, 2000)
    assert many < few + 8_000, (few, many)
