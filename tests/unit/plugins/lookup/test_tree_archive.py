# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories as one archive whose digest changes only with the content of the files."""

from __future__ import annotations

import base64
import io
import os
import tarfile
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.lookup.tree_archive import archive


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "inner" / "__pycache__").mkdir(parents=True)
    (root / "b.py").write_text("b\n")
    (root / "a.py").write_text("")
    (root / "inner" / "é.css").write_bytes(b"\x00\xff" * 5000)
    (root / "inner" / "__pycache__" / "b.cpython-311.pyc").write_text("x")
    return root


def unpacked(text: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text)), mode="r:gz") as tar:
        assert all(member.isreg() and (member.mode, member.uid, member.mtime) == (0o644, 0, 0) for member in tar)
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def test_compiled_files_are_left_out(tree: Path) -> None:
    expected = {"lib/a.py": b"", "lib/b.py": b"b\n", "lib/inner/é.css": b"\x00\xff" * 5000}
    assert unpacked(archive({"lib": str(tree)})) == expected


def test_equal_files_give_equal_archives(tree: Path) -> None:
    first = archive({"lib": str(tree)})
    os.utime(tree / "a.py", (1, 1))
    (tree / "a.py").chmod(0o600)
    assert archive({"lib": str(tree)}) == first
    (tree / "b.py").rename(tree / "c.py")
    assert archive({"lib": str(tree)}) != first
