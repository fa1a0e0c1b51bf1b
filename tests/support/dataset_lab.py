# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows, the resulting files, check and run in sequence, and separate Python processes to measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    Outcome,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source

HOMELAB = Declaration("homelab")


def row(number: int, output: str = "") -> dict[str, str]:
    """A unique row."""
    return {"instruction": f"question {number}", "output": output or f"réponse {number}", "system": "s"}


def records(*rows: dict[str, str]) -> list[Source]:
    """Rows in memory."""
    return [Source("records", records=list(rows))]


def file_of(path: Path, *rows: dict[str, str]) -> Source:
    """Rows in a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path.name, str(path))


def tree(root: str) -> dict[str, tuple[bytes, int]]:
    """Content and mtime of every file below a directory, and the directories."""
    found: dict[str, tuple[bytes, int]] = {}
    for folder, dirs, names in os.walk(root):
        for name in dirs:
            found[os.path.join(folder, name)] = (b"", 0)
        for name in names:
            path = os.path.join(folder, name)
            found[path] = (Path(path).read_bytes(), os.stat(path).st_mtime_ns)
    return found


def quartet(layout: Layout, sources: t.Sequence[Source], declaration: Declaration = HOMELAB) -> Outcome:
    """Check, run, check, run: the checks write nothing and predict the runs. Returns the first run's outcome."""
    before = tree(layout.root)
    told = apply(layout, declaration, sources, check=True)
    assert tree(layout.root) == before
    done = apply(layout, declaration, sources)
    assert (told.changed, told.reasons, told.dataset) == (done.changed, done.reasons, done.dataset)
    after = tree(layout.root)
    for check in (True, False):
        again = apply(layout, declaration, sources, check=check)
        assert not again.changed
        assert again.reasons == []
        assert again.dataset == done.dataset
        assert tree(layout.root) == after
    assert load(layout, declaration.name) == done.dataset
    return done


_CHILD = """
import json, os, sys
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry as d
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout

def peak():
    "KiB this program has ever held. (getrusage's ru_maxrss goes on from what the parent held before the exec.)"
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
"""
PYTHON_PATH = str(Path(__file__).parents[2] / "playbooks" / "collections")


def python(code: str, *args: str, **more: t.Any) -> subprocess.Popen[str]:
    """Run code in another Python process."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD + code, *args],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )
