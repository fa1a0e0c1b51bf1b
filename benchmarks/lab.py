# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Common parts of the benchmarks: a work directory, a timer, and plays of ``ping`` tasks to compare with.

Benchmarks are run by hand, ``IA_BENCHMARK=NAME ./test.sh bench``, and print the figures of ``benchmarks/README.md``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (  # noqa: E402
    Played,
    PlayLab,
    make_tiny_base,
)


class Spent(t.NamedTuple):
    """Time that a call took.

    :param wall: wall clock time in seconds.
    :param cpu: processor time in seconds, of the command and the children that it waited for.
    """

    wall: float
    cpu: float


def timed(body: t.Callable[[], t.Any]) -> tuple[Spent, t.Any]:
    """Call a function; return the time and its result."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    value = body()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(wall, cpu), value


def interleaved(bodies: t.Mapping[str, t.Callable[[], t.Any]], times: int) -> dict[str, list[Spent]]:
    """Run the functions alternately, several times, so that other load of the machine affects all of them."""
    found: dict[str, list[Spent]] = {name: [] for name in bodies}
    for number in range(times):
        for name, body in bodies.items():
            found[name].append(timed(body)[0])
        print(f"  {number + 1}/{times}  " + "  ".join(f"{n} {s[-1].wall:.2f} s" for n, s in found.items()), flush=True)
    return found


def compare(found: t.Mapping[str, t.Sequence[Spent]], what: str, against: str) -> None:
    """Print medians and their ratio."""
    middle = {
        name: Spent(statistics.median(s.wall for s in spent), statistics.median(s.cpu for s in spent))
        for name, spent in found.items()
    }
    for name, spent in middle.items():
        print(f"{name:28} {spent.wall:7.2f} s   CPU {spent.cpu:7.2f} s   (median of {len(found[name])})")
    wall = [a.wall / b.wall for a, b in zip(found[what], found[against])]
    cpu = middle[what].cpu / middle[against].cpu
    print(f"{what} / {against}: {statistics.median(wall):.2f} by the clock (median of pairs), {cpu:.2f} by CPU time")


def pings(lab: PlayLab, count: int) -> str:
    """Write a playbook with a number of ``ping`` tasks for the group ``pc_ia``; return its path."""
    path = lab.root / f"pings-{count}.yml"
    tasks = [{"name": f"Ping {number}", "ansible.builtin.ping": {}} for number in range(count)]
    path.write_text(json.dumps([{"name": "Pings", "hosts": "pc_ia", "gather_facts": False, "tasks": tasks}]))
    return str(path)


@contextlib.contextmanager
def workplace(*shape: str) -> t.Iterator[PlayLab]:
    """A host with an Ollama server and a tiny base, and without results.

    :param shape: options for ``make_tiny_base.py``, to create a larger base.
    """
    root = Path(tempfile.mkdtemp(prefix="benchmark-", dir=os.environ.get("IA_BENCHMARK_DIR")))
    lab = PlayLab(root / "lab", str(make_tiny_base(root / "base", *shape)))
    # found by the play itself, as usual
    del lab.declared["llamafactory_toolchain"]
    lab.declared["llamafactory_tools_dir"] = os.environ["IA_TOOLS_DIR"]
    lab.server.start()
    try:
        yield lab
    finally:
        lab.server.stop()
        shutil.rmtree(root, ignore_errors=True)


def well(status: int, argv: t.Sequence[str]) -> None:
    """Exit if a command failed."""
    if status != 0:
        sys.exit(f"failed with status {status}: {' '.join(argv)}")


def run(argv: t.Sequence[str], **more: t.Any) -> None:
    """Run a command without output."""
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more
    )
    if done.returncode != 0:
        print(done.stdout.decode(errors="replace")[-4000:])
    well(done.returncode, argv)


__all__ = [
    "Played",
    "PlayLab",
    "Spent",
    "compare",
    "interleaved",
    "make_tiny_base",
    "pings",
    "run",
    "timed",
    "workplace",
]
