# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills a small disk almost completely, submits a run, frees space, and submits it again.

Usage: full_disk.py DISK ANSWER CORE run|install
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

PAGE = 4096


class Ballast:
    """A file that fills the disk except for a number of pages."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.path = disk / "ballast"

    def leave(self, pages: int) -> None:
        free = os.statvfs(self.disk).f_bavail
        with self.path.open("ab") as stream:
            stream.write(b"\0" * max(0, (free - pages) * PAGE))

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


def on_small_disk(root: Path, scenario: Path, size: str, *arguments: str) -> dict[str, t.Any]:
    """Run a scenario, ``SCENARIO DISK ANSWER ARGUMENT...``, on a separate tmpfs; return what it wrote to ANSWER.

    The mount namespace ends with its processes (as root, or as root of a user namespace).
    """
    private = ["unshare", "--mount", "--propagation", "private"]
    if os.geteuid() != 0:
        private += ["--user", "--map-root-user"]
    disk, answer = root / "disk", root / "answer.json"
    disk.mkdir(parents=True)
    script = f'mount -t tmpfs -o size={size},nr_inodes=10k none "$1" && shift && exec "$@"'
    argv = [sys.executable, str(scenario), str(disk), str(answer), *arguments]
    done = subprocess.run(
        [*private, "sh", "-c", script, "sh", str(disk), *argv],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found: dict[str, t.Any] = json.loads(answer.read_text())
    return found


def tell(found: dict[str, t.Any], body: t.Callable[[], t.Any]) -> t.Any:
    """Call a function; report an error of the core, and fail on any other."""
    try:
        return body()
    except CoreError as error:
        found["told"].append(error.message)
        return None


def run(lab: Lab, core: Path, pages: int, found: dict[str, t.Any]) -> None:
    """Run with a number of free pages, then with enough space."""
    ballast = Ballast(lab.root)
    shutil.copytree(core, lab.data / "core" / core.name)
    earlier, wanted = lab.run("earlier", "echo earlier > out"), lab.counting("a", steps=2, count=2, pause=0.01)
    assert lab.apply(earlier).state == "succeeded"
    assert lab.broken() == []
    kept = lab.artifacts()
    ballast.leave(pages)
    view = tell(found, lambda: lab.apply(wanted, timeout=120))
    if view is not None and view.state == "failed":
        found["told"].append(view.error["message"])
    elif view is not None:
        found["succeeded"] = found["succeeded"] or view.state == "succeeded"
    still = lab.artifacts()
    if any(still.get(name) != files for name, files in kept.items()):
        found["problems"].append(f"{pages} pages: earlier results are not as they were")
    ballast.drop()
    view = lab.apply(wanted)
    if view.state != "succeeded":
        found["problems"].append(f"{pages} pages: with room again: {view.state}: {view.error}")
    found["problems"] += [f"{pages} pages: {problem}" for problem in lab.broken()]


def install(lab: Lab, core: Path, pages: int, found: dict[str, t.Any]) -> None:
    """Install the core with a number of free pages, then with enough space."""
    ballast = Ballast(lab.root)
    lab.store.prepare()
    ballast.leave(pages)
    wanted = lab.run("a", "true")
    tell(found, lambda: lab.engine.submit(wanted))
    ballast.drop()
    if lab.apply(wanted).state != "succeeded" or [path.name for path in (lab.data / "core").iterdir()] != [core.name]:
        found["problems"].append(f"{pages} pages: {os.listdir(lab.data / 'core')}")
    found["problems"] += [f"{pages} pages: {problem}" for problem in lab.broken()]


def main(disk: str, answer: str, core: str, what: str) -> None:
    found: dict[str, t.Any] = {"told": [], "problems": [], "succeeded": False}
    scenario, steps = {"run": (run, [*range(0, 24, 2), 28, 34, 80]), "install": (install, [0, 1, 20, 60, 150])}[what]
    for pages in steps:
        lab = Lab(Path(disk))
        try:
            scenario(lab, Path(core), pages, found)
        finally:
            lab.close()
            for path in Path(disk).iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
