# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import clock, disk, files, locks
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import forked, in_child


def test_time_is_utc_and_comes_back() -> None:
    now = time.time()
    text = clock.utc_now()
    assert text.endswith("Z") and len(text) == len("2026-01-31T12:00:00.000Z")
    assert abs(clock.parse_utc(text) - now) < 5
    assert clock.parse_utc("1970-01-01T00:00:01.500Z") == 1.5
    assert clock.age_seconds("1970-01-01T00:00:00.000Z") == pytest.approx(now, abs=5)
    assert clock.age_seconds("2999-01-01T00:00:00.000Z") == 0.0


def test_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_atomic(str(path), "one")
    files.write_atomic(str(path), b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_a_write_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for call in ("replace", "fsync"):
        monkeypatch.setattr(os, call, full)
        with pytest.raises(disk.DiskFullError) as caught:
            files.write_atomic(str(path), "new")
        monkeypatch.undo()
        assert "B free there" in caught.value.message
        assert caught.value.details["free_bytes"] > 0
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["x"]


def test_killed_before_the_rename_the_old_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write() -> None:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        files.write_atomic(str(path), "new")

    with forked(write) as pid:
        os.waitpid(pid, 0)
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    files.sweep(str(tmp_path))
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_living_process_is_writing_is_not_swept(tmp_path: Path) -> None:
    mine = tmp_path / (files.temporary_prefix(files.NEW) + "x")
    mine.mkdir()
    (mine / "file").touch()
    nobodys = tmp_path / ".gone-1.2-y"  # process 1 lives, and started at another time
    nobodys.mkdir()
    unsigned, old = tmp_path / ".new-abcdef", tmp_path / ".new-old"
    unsigned.touch()
    old.touch()
    os.utime(old, (1, 1))
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / ".new-1.2-z").touch()
    files.sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([mine.name, unsigned.name, "keep"])
    assert os.listdir(tmp_path / "keep") == [".new-1.2-z"]
    files.sweep(str(tmp_path), deep=True)
    assert os.listdir(tmp_path / "keep") == []
    files.sweep(str(tmp_path / "nowhere"))


def test_json_missing_damaged_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert files.read_json(str(path)) is None
    assert files.read_json(str(path), 3) == 3
    assert files.read_json(str(path / "below"), 4) == 4
    files.write_json(str(path), {"b": "é", "a": 1})
    assert path.read_text() == '{\n  "a": 1,\n  "b": "é"\n}\n'
    assert files.read_record(str(path)) == {"a": 1, "b": "é"}
    for text in (b"{", b"\xff", b""):
        path.write_bytes(text)
        with pytest.raises(StoreError, match="not valid JSON"):
            files.read_json(str(path))
        assert files.read_record(str(path)) is None
    path.write_text("[1]")
    assert files.read_record(str(path)) is None
    assert files.read_record(str(tmp_path)) is None


def test_lines_are_appended_whole_by_many_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    children = [
        forked(lambda n=n: [files.append_json_line(path, {"n": n, "fill": "x" * 500}) for _time in range(50)])  # type: ignore[misc]
        for n in range(4)
    ]
    pids = [child.__enter__() for child in children]
    for pid in pids:
        os.waitpid(pid, 0)
    lines = [json.loads(line)["n"] for line in Path(path).read_text().splitlines()]
    assert sorted(lines) == sorted([0, 1, 2, 3] * 50)


def test_the_end_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert files.tail_lines(str(path), 5) == []
    path.write_bytes(b"one\r\n\n 10%\r 50%\r100%\nlast \xff")
    assert files.tail_lines(str(path), 2) == ["100%", "last \ufffd"]
    assert files.tail_lines(str(path), 9) == ["one", "100%", "last \ufffd"]
    path.write_text("x" * 100 + "\n" + "y" * 10 + "\n")
    assert files.tail_lines(str(path), 5, limit=20) == ["x" * 8, "y" * 10]


def test_files_are_listed_in_order_and_special_ones_passed_over(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "receipt.json", "a/receipt.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    found = files.list_files(str(tmp_path), skip=("receipt.json",))
    assert found == ["a/b/c", "a/receipt.json", "a/z", "b", "link"]


def test_publishing_is_one_rename(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "store" / "1"
    work.mkdir()
    (work / "x").write_text("1")
    (work / "dangling").symlink_to("nowhere")
    os.mkfifo(work / "fifo")  # opening one to sync it would wait for ever
    inode = work.stat().st_ino
    files.publish_dir(str(work), str(final))
    assert final.stat().st_ino == inode
    assert not work.exists()


def test_publishing_what_is_there_already_keeps_what_is_there(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "1"
    for folder, text in ((work, "new"), (final, "old")):
        folder.mkdir()
        (folder / "x").write_text(text)
    files.publish_dir(str(work), str(final))
    assert (final / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["1"]


def test_publishing_where_a_file_stands_in_the_way(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "1"
    work.mkdir()
    final.touch()
    with pytest.raises(StoreError, match="Cannot publish"):
        files.publish_dir(str(work), str(final))
    assert work.is_dir()


def test_a_removal_that_is_killed_leaves_no_half_under_the_name(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "x").touch()

    def remove() -> None:
        files.shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        files.remove_tree(str(tree))

    with forked(remove) as pid:
        os.waitpid(pid, 0)
    assert not tree.exists()
    assert len(os.listdir(tmp_path)) == 1
    files.sweep(str(tmp_path))
    assert os.listdir(tmp_path) == []
    files.remove_tree(str(tree))


def test_directories_are_readable_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o700)

    def make() -> list[int]:
        os.umask(0o077)
        files.make_dirs(str(tmp_path / "there" / "a" / "b"))
        files.make_dirs(str(tmp_path / "there" / "a" / "b"))
        return [(tmp_path / "there" / name).stat().st_mode & 0o777 for name in (".", "a", "a/b")]

    assert in_child(make) == [0o700, 0o755, 0o755]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_dirs(str(tmp_path / "file" / "x"))


def test_free_bytes_of_what_is_not_there_yet(tmp_path: Path) -> None:
    free = disk.free_bytes(str(tmp_path / "a" / "b"))
    assert free > 0
    assert free == pytest.approx(disk.free_bytes(str(tmp_path)), rel=0.2)


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, disk.DiskFullError, "The disk is full"),
        (errno.EDQUOT, disk.DiskFullError, "The disk is full"),
        (errno.EROFS, NotReadyError, "cannot be written by the user"),
        (errno.EACCES, NotReadyError, "cannot be written by the user"),
        (errno.EIO, StoreError, "/some/file: Input/output error"),
    ],
)
def test_failures_of_the_filesystem_become_the_core_s(
    tmp_path: Path, number: int, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        with disk.disk_errors(str(tmp_path)):
            raise OSError(number, os.strerror(number), "/some/file")


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locks.FileLock(path):
        assert in_child(lambda: locks.FileLock(path, timeout=0).acquire()) is False
        assert locks.FileLock(path, timeout=0.05).acquire() is False, "not even by another thread of this process"
        with pytest.raises(StoreError, match="has been locked"):
            locks.FileLock(path, timeout=0).__enter__()
    assert in_child(lambda: locks.FileLock(path, timeout=0).acquire()) is True
    assert os.path.exists(path)


def test_a_lock_goes_with_its_holder_and_not_to_its_children(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")

    def hold() -> None:
        assert locks.FileLock(path).acquire()
        subprocess.Popen(["sleep", "60"], close_fds=False)
        (tmp_path / "held").touch()
        time.sleep(60)

    with forked(hold) as pid:
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        assert locks.FileLock(path, timeout=0).acquire() is False
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert locks.FileLock(path, timeout=5).acquire() is True


def test_a_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * (2 * 1024 * 1024 + 1))
    import hashlib

    assert files.sha256_file(str(tmp_path / "x")) == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()


def test_importing_does_nothing() -> None:
    """No file opened for writing, nothing printed."""
    code = "import sys; sys.addaudithook(lambda e, a: e == 'open' and 'w' in str(a[1]) and sys.exit(9)); import {}"
    name = files.__name__
    done = subprocess.run(
        [sys.executable, "-B", "-c", code.format(name)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
