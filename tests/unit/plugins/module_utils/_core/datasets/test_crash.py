# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datasets under load: bounded memory, kills, concurrent processes, a full disk."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import apply, load
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.versions import workspace
from ansible_collections.ia_homelab.llamafactory.tests.support.dataset_lab import (
    HOMELAB,
    python,
    quartet,
    records,
    row,
    tree,
)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_memory_stays_flat(kind: str, tmp_path: Path) -> None:
    """A child reads a few rows, then 200000: its peak hardly grows. (In memory they would take about 200 MB.)"""
    for name, count in (("few", 2000), ("many", 200_000)):
        with open(tmp_path / f"{name}.{kind}", "w") as out:
            head, line, between, tail = {
                "jsonl": ("", '{"instruction": "question %d é", "output": "%s"}', "\n", "\n"),
                "json": ("[", '{"instruction": "question %d é", "output": "%s"}', ", ", "]"),
                "csv": ("instruction,output\n", 'question %d é,"%s"', "\n", "\n"),
            }[kind]
            out.write(head + between.join(line % (number, "r" * 100) for number in range(count)) + tail)
    child = python(
        """
for name in ("few", "many"):
    path = sys.argv[1] + "/" + name + "." + sys.argv[2]
    out = d.apply(Layout(sys.argv[1] + "/data"), d.Declaration(name), [Source(os.path.basename(path), path)])
    print(out.dataset.rows, peak())
""",
        str(tmp_path),
        kind,
    )
    output, _errors = child.communicate(timeout=300)
    (few_rows, few), (many_rows, many) = (map(int, line.split()) for line in output.splitlines())
    assert (few_rows, many_rows) == (2000, 200_000)
    assert many - few < 15_000, f"{few} KiB, then {many} KiB"
    assert many < 150_000


def test_killed_while_rendering(layout: Layout, tmp_path: Path) -> None:
    """The previous dataset is unchanged; the next run removes the leftovers and completes."""
    quartet(layout, records(row(1)))
    before = tree(layout.root)
    os.mkfifo(tmp_path / "go")
    child = python(
        """
class Slow(list):
    def __iter__(self):
        for number in range(10**9):
            if number == 50000:
                open(sys.argv[2], "w").close()
            yield {"instruction": str(number), "output": "b" * 200}
d.apply(Layout(sys.argv[1]), d.Declaration("homelab"), [Source("records", records=Slow(), sha256="0" * 64, size=1)])
""",
        layout.root,
        str(tmp_path / "go"),
    )
    open(tmp_path / "go").close()
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.communicate()
    left = set(tree(layout.root)) - set(before)
    assert any(os.path.basename(path).startswith(".work-") for path in left), "it was not killed during the work"
    assert {path: value for path, value in tree(layout.root).items() if path not in left} == before
    assert load(layout, "homelab").rows == 1
    quartet(layout, records(row(1), row(2)))
    assert not [path for path in tree(layout.root) if ".work-" in path or ".gone-" in path]


def test_work_of_another_process_is_not_removed(layout: Layout, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    os.mkfifo(tmp_path / "go-on")
    child = python(
        """
class Slow(list):
    def __iter__(self):
        for number in range(3):
            if number == 2 and not self:
                self.append(1)
            elif number == 2:
                open(sys.argv[2], "w").close()
                open(sys.argv[3]).close()
            yield {"instruction": str(number), "output": "b"}
d.apply(Layout(sys.argv[1]), d.Declaration("slow"), [Source("records", records=Slow([1]), sha256="0" * 64, size=1)])
""",
        layout.root,
        str(tmp_path / "begun"),
        str(tmp_path / "go-on"),
    )
    open(tmp_path / "begun").close()
    assert apply(layout, HOMELAB, records(row(1))).changed
    open(tmp_path / "go-on", "w").close()
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert load(layout, "slow").rows == 3
    assert load(layout, "homelab").rows == 1


def test_a_full_disk_is_reported_with_figures(layout: Layout) -> None:
    """A limit of the file size simulates a full disk, which an unprivileged test cannot create."""
    quartet(layout, records(row(1)))
    before = tree(layout.root)
    child = python(
        """
import errno, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
errno.ENOSPC = errno.EFBIG
rows = [{"instruction": str(number), "output": "b" * 200} for number in range(20000)]
try:
    d.apply(Layout(sys.argv[1]), d.Declaration("homelab"), [Source("records", records=rows)])
except Exception as error:
    print(isinstance(error, NotReadyError), error)
""",
        layout.root,
    )
    output, _errors = child.communicate(timeout=60)
    assert output.startswith("True The disk is full")
    assert re.search(r"[\d.]+ [MG]B free", output), output
    assert {path: raw for path, raw in tree(layout.root).items() if not path.endswith(".lock")} == {
        path: raw for path, raw in before.items() if not path.endswith(".lock")
    }


def test_the_peak_is_the_childs_own() -> None:
    """Guards the figures of the memory test: the memory of this process must not be included."""
    held = b"x" * 200_000_000
    output, _errors = python("print(peak()); held = b'x' * 50_000_000; print(peak())").communicate(timeout=60)
    before, after = map(int, output.split())
    assert 5_000 < before < 100_000
    assert 45_000 < after - before < 60_000
    assert len(held) == 200_000_000


def test_clean_up_during_removal_by_the_owner(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner removes a workspace without the lock that the clean-up takes, possibly between two of its checks."""
    with workspace(layout) as work:
        beside = Path(layout.parent("dataset"), ".work-of-another")
        beside.mkdir()
    is_dir = os.path.isdir

    def check_and_remove(path: str) -> bool:
        exists = is_dir(path)
        if path == str(beside) and exists:
            beside.rmdir()
        return exists

    monkeypatch.setattr(os.path, "isdir", check_and_remove)
    with workspace(layout) as work:
        assert is_dir(work) and not beside.exists()
