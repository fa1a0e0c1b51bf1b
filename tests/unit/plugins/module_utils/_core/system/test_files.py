# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Crash-safe files, file locks, time stamps and filesystem errors."""

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


def test_utc_time_stamps_round_trip() -> None:
    now = time.time()
    text = clock.utc_now()
    assert text.endswith("Z") and len(text) == len("2026-01-31T12:00:00.000Z")
    assert abs(clock.parse_utc(text) - now) < 5
    assert clock.parse_utc("1970-01-01T00:00:01.500Z") == 1.5
    assert clock.age_seconds("1970-01-01T00:00:00.000Z") == pytest.approx(now, abs=5)
    assert clock.age_seconds("2999-01-01T00:00:00.000Z") == 0.0


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    files.write_atomic(str(path), "one")
    files.write_atomic(str(path), b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_kill_before_the_rename_keeps_the_old_content(tmp_path: Path) -> None:
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


def test_sweep_keeps_entries_of_live_processes(tmp_path: Path) -> None:
    own = tmp_path / (files.temporary_prefix(files.NEW) + "x")
    own.mkdir()
    (own / "file").touch()
    orphaned = tmp_path / ".gone-1.2-y"  # process 1 is alive but started at another time
    orphaned.mkdir()
    unsigned, old = tmp_path / ".new-abcdef", tmp_path / ".new-old"
    unsigned.touch()
    old.touch()
    os.utime(old, (1, 1))
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / ".new-1.2-z").touch()
    files.sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([own.name, unsigned.name, "keep"])
    assert os.listdir(tmp_path / "keep") == [".new-1.2-z"]
    files.sweep(str(tmp_path), deep=True)
    assert os.listdir(tmp_path / "keep") == []
    files.sweep(str(tmp_path / "nowhere"))


def test_json_missing_damaged_and_valid(tmp_path: Path) -> None:
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


def test_concurrent_appends_do_not_interleave(tmp_path: Path) -> None:
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


def test_tail_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert files.tail_lines(str(path), 5) == []
    path.write_bytes(b"one\r\n\n 10%\r 50%\r100%\nlast \xff")
    assert files.tail_lines(str(path), 2) == ["100%", "last \ufffd"]
    assert files.tail_lines(str(path), 9) == ["one", "100%", "last \ufffd"]
    path.write_text("x" * 100 + "\n" + "y" * 10 + "\n")
    assert files.tail_lines(str(path), 5, limit=20) == ["x" * 8, "y" * 10]


def test_files_are_listed_in_order_without_special_files(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/b/c", "receipt.json", "a/receipt.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    paths = files.list_files(str(tmp_path), skip=("receipt.json",))
    assert paths == ["a/b/c", "a/receipt.json", "a/z", "b", "link"]


def test_publish_is_one_rename(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "store" / "1"
    work.mkdir()
    (work / "x").write_text("1")
    (work / "dangling").symlink_to("nowhere")
    os.mkfifo(work / "fifo")  # opening a FIFO to sync it would block forever
    inode = work.stat().st_ino
    files.publish_dir(str(work), str(final))
    assert final.stat().st_ino == inode
    assert not work.exists()


def test_publish_keeps_an_existing_artifact(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "1"
    for folder, text in ((work, "new"), (final, "old")):
        folder.mkdir()
        (folder / "x").write_text(text)
    files.publish_dir(str(work), str(final))
    assert (final / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["1"]


def test_publish_fails_if_the_final_path_is_a_file(tmp_path: Path) -> None:
    work, final = tmp_path / ".work-1", tmp_path / "1"
    work.mkdir()
    final.touch()
    with pytest.raises(StoreError, match="Cannot publish"):
        files.publish_dir(str(work), str(final))
    assert work.is_dir()


def test_killed_removal_leaves_no_partial_directory(tmp_path: Path) -> None:
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


def test_directories_are_readable_regardless_of_the_umask(tmp_path: Path) -> None:
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


def test_free_bytes_of_a_missing_path(tmp_path: Path) -> None:
    free = disk.free_bytes(str(tmp_path / "a" / "b"))
    assert free > 0
    assert free == pytest.approx(disk.free_bytes(str(tmp_path)), rel=0.2)


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.ENOSPC, disk.DiskFullError, "The disk is full"),
        (errno.EDQUOT, disk.DiskFullError, "The disk is full"),
        (errno.EROFS, NotReadyError, "cannot be written by the user"),
        (errno.EACCES, NotReadyError, "cannot be written by the user"),
        (errno.EIO, StoreError, "/some/file: Input/output error"),
    ],
)
def test_filesystem_errors_become_errors_of_the_core(
    tmp_path: Path, number: int, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        with disk.disk_errors(str(tmp_path)):
            raise OSError(number, os.strerror(number), "/some/file")


def test_lock_is_exclusive(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locks.FileLock(path):
        assert in_child(lambda: locks.FileLock(path, timeout=0).acquire()) is False
        assert locks.FileLock(path, timeout=0.05).acquire() is False, (
            "another thread of this process cannot acquire it either"
        )
        with pytest.raises(StoreError, match="has been locked"):
            locks.FileLock(path, timeout=0).__enter__()
    assert in_child(lambda: locks.FileLock(path, timeout=0).acquire()) is True
    assert os.path.exists(path)


def test_lock_ends_with_its_holder_and_is_not_inherited(tmp_path: Path) -> None:
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
        assert locks.FileLock(path, timeout=60).acquire() is True


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"a" * (2 * 1024 * 1024 + 1))
    import hashlib

    assert files.sha256_file(str(tmp_path / "x")) == hashlib.sha256((tmp_path / "x").read_bytes()).hexdigest()


def test_import_has_no_side_effects() -> None:
    """The import opens no file for writing and prints nothing."""
    code = "import sys; sys.addaudithook(lambda e, a: e == 'open' and 'w' in str(a[1]) and sys.exit(9)); import {}"
    name = files.__name__
    result = subprocess.run(
        [sys.executable, "-B", "-c", code.format(name)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, b""), result.stderr
