# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared and exclusive access, in the order of the requests; the access of a process ends with it."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.access_queue import Access
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import forked, until


def shared(folder: Path, holder: str) -> Access:
    return Access(str(folder), holder)


def exclusive(folder: Path, holder: str) -> Access:
    return Access(str(folder), holder, exclusive=True)


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_shared_accesses_do_not_wait_for_each_other(tmp_path: Path) -> None:
    first, second = shared(tmp_path / "q", "a"), shared(tmp_path / "q", "b")
    assert first.request() == second.request() == []
    first.release()
    second.release()
    assert entries(tmp_path / "q") == [] and not first.requested


def test_an_exclusive_access_waits_for_all_before_and_names_them(tmp_path: Path) -> None:
    first, second, alone = shared(tmp_path, "a"), shared(tmp_path, "b"), exclusive(tmp_path, "c")
    first.request()
    second.request()
    assert alone.request() == ["a", "b"]
    first.release()
    assert alone.request() == ["b"]
    second.release()
    assert alone.request() == []
    other = exclusive(tmp_path, "d")
    assert other.request() == ["c"]
    alone.release()
    assert other.request() == []


def test_later_shared_accesses_do_not_starve_an_exclusive_one(tmp_path: Path) -> None:
    before, alone, after = shared(tmp_path, "a"), exclusive(tmp_path, "b"), shared(tmp_path, "c")
    assert before.request() == []
    assert alone.request() == ["a"]
    assert after.request() == ["b"], "it asked later"
    before.release()
    assert after.request() == ["b"] and alone.request() == []
    alone.release()
    assert after.request() == []


def test_a_request_can_be_withdrawn(tmp_path: Path) -> None:
    before, alone, after = shared(tmp_path, "a"), exclusive(tmp_path, "b"), shared(tmp_path, "c")
    before.request()
    alone.request()
    assert after.request() == ["b"]
    alone.release()
    assert after.request() == []
    alone.release()


def test_processes_with_one_name_share_an_access(tmp_path: Path) -> None:
    """A supervisor and its worker: the worker does not wait behind an exclusive access, and keeps the place alone."""
    supervisor, alone, worker = shared(tmp_path, "job"), exclusive(tmp_path, "x"), shared(tmp_path, "job")
    assert supervisor.request() == []
    assert alone.request() == ["job"]
    assert worker.request() == [], "the two would wait for each other for ever"
    supervisor.release()
    assert alone.request() == ["job"]
    worker.release()
    assert alone.request() == []


def test_the_access_of_a_killed_process_ends(tmp_path: Path) -> None:
    def hold() -> None:
        shared(tmp_path / "q", "victim").request()
        (tmp_path / "holds").touch()
        time.sleep(60)

    alone = exclusive(tmp_path / "q", "b")
    with forked(hold) as pid:
        until((tmp_path / "holds").exists, 10)
        assert alone.request() == ["victim"]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert alone.request() == []
    alone.release()
    assert entries(tmp_path / "q") == []


def test_a_place_is_kept_in_order_after_a_gap(tmp_path: Path) -> None:
    accesses = [exclusive(tmp_path, name) for name in "abcd"]
    for access in accesses:
        access.request()
    accesses[1].release()
    assert accesses[2].request() == ["a"] and accesses[3].request() == ["a", "c"]
    again = accesses[1].request()
    assert again == ["a", "c", "d"], "who comes back queues at the end"


def test_foreign_files_are_left_and_a_missing_directory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "note.txt").touch()
    access = exclusive(tmp_path / "q", "a")
    assert access.request() == []
    access.release()
    assert entries(tmp_path / "q") == ["note.txt"]
    assert access.request() == []
    for path in (tmp_path / "q").iterdir():
        path.unlink()
    (tmp_path / "q").rmdir()
    access.release()
    assert not access.requested


@pytest.mark.parametrize("seed", range(3))
def test_no_exclusive_access_overlaps_another(tmp_path: Path, seed: int) -> None:
    """Processes with random modes and pauses; each exclusive one checks that it is alone."""
    folder, inside = tmp_path / "q", tmp_path / "inside"
    inside.mkdir()

    def use(name: str) -> None:
        chance = random.Random(f"{seed}-{name}")
        for _turn in range(12):
            alone = chance.random() < 0.4
            access = Access(str(folder), name, exclusive=alone)
            while access.request():
                time.sleep(0.002)
            mark = inside / f"{name}-{'x' if alone else 's'}"
            mark.touch()
            time.sleep(chance.random() / 200)
            others = [path.name for path in inside.iterdir() if path != mark]
            assert not others if alone else not [other for other in others if other.endswith("x")], others
            mark.unlink()
            access.release()
        (tmp_path / f"done-{name}").touch()

    children = [forked(lambda name=name: use(name)) for name in "abcd"]  # type: ignore[misc]
    for child in children:
        child.__enter__()
    try:
        until(lambda: len(list(tmp_path.glob("done-*"))) == 4, 60)
    finally:
        for child in children:
            child.__exit__(None, None, None)
    assert entries(folder) == []


@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments_leave_the_queue_usable(tmp_path: Path, seed: int) -> None:
    folder, chance = tmp_path / "q", random.Random(seed)

    def use(name: str) -> None:
        own = random.Random(f"{seed}-{name}")
        while True:
            access = Access(str(folder), name, exclusive=own.random() < 0.5)
            for _poll in range(own.randrange(1, 20)):
                if not access.request():
                    break
            access.release()

    for kill in range(40):
        with forked(lambda: use(f"first-{kill}")), forked(lambda: use(f"second-{kill}")):  # noqa: B023
            time.sleep(chance.random() / 50)
    alone = exclusive(folder, "last")
    assert alone.request() == []
    alone.release()
    assert entries(folder) == []
