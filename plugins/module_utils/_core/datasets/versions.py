# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of datasets on disk: made aside, published at once, never changed; several at work do not clash."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t

from ..artifacts.layout import RECEIPT, Layout
from ..errors import StoreError
from ..system.clock import utc_now
from ..system.files import list_files, make_temporary_dir, publish_dir, remove_tree, sha256_file, write_json
from ..system.locks import FileLock
from .output_formats import DATA_FILE, ENTRY, OUTPUT_FORMATS
from .rendering import Rendered

INFO_FILE = "dataset_info.json"
_WORK = ".work-"
_LOCK = ".lock"


def lock(layout: Layout) -> FileLock:
    """Held while names or versions are changed; nothing long is done under it."""
    return FileLock(os.path.join(layout.datasets, _LOCK))


def intact_receipt(layout: Layout, fingerprint: str) -> dict[str, t.Any] | None:
    """The receipt of a version whose files are as they were published; None otherwise. Reads only.

    A file is hashed again only when its size is right and its mtime is not.
    """
    try:
        receipt = layout.receipt("dataset", fingerprint)
    except StoreError:
        return None
    if not receipt or DATA_FILE not in (receipt.get("files") or {}):
        return None
    for name, facts in receipt["files"].items():
        path = os.path.join(layout.artifact("dataset", fingerprint), name)
        try:
            found = os.stat(path)
            if found.st_size != facts["bytes"] or not stat.S_ISREG(found.st_mode):
                return None
            if found.st_mtime_ns != facts["mtime_ns"] and sha256_file(path) != facts["sha256"]:
                return None
        except OSError:
            return None
    return receipt


@contextlib.contextmanager
def workspace(layout: Layout) -> t.Iterator[str]:
    """A directory of one's own beside the versions; what killed processes left of theirs is swept away."""
    layout.create()
    parent = layout.parent("dataset")
    with lock(layout):
        for name in os.listdir(parent):
            path = os.path.join(parent, name)
            if name.startswith(".gone-"):
                shutil.rmtree(path, ignore_errors=True)
            elif name.startswith(_WORK) and os.path.isdir(path):
                left = FileLock(os.path.join(path, _LOCK), timeout=0)
                # root's, who had no time to give it: he will; or its owner, who holds no lock, removes it just now
                with contextlib.suppress(PermissionError, FileNotFoundError):
                    if left.acquire():
                        shutil.rmtree(path, ignore_errors=True)
                        left.release()
        work = make_temporary_dir(_WORK, parent)
        held = FileLock(os.path.join(work, _LOCK), timeout=0)
        held.acquire()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        held.release()


def publish(layout: Layout, work: str, rendered: Rendered, started_at: str, core_version: str) -> None:
    """Give the rows in the work directory their place as a version."""
    data = os.path.join(work, DATA_FILE)
    with open(data, "rb") as stream:
        os.fsync(stream.fileno())  # the long part, before the lock
    with lock(layout):
        final = layout.artifact("dataset", rendered.fingerprint)
        if intact_receipt(layout, rendered.fingerprint):
            return  # another was faster
        os.unlink(os.path.join(work, _LOCK))
        os.chmod(work, 0o755)
        os.chmod(data, 0o644)
        write_json(os.path.join(work, INFO_FILE), {ENTRY: OUTPUT_FORMATS[rendered.form].entry(DATA_FILE)})
        files = {}
        for name in list_files(work):
            path = os.path.join(work, name)
            found = os.stat(path)
            known = rendered.sha256 if name == DATA_FILE else sha256_file(path)
            files[name] = {"bytes": found.st_size, "sha256": known, "mtime_ns": found.st_mtime_ns}
        receipt = {
            "schema": 1,
            "kind": "dataset",
            "fingerprint": rendered.fingerprint,
            "settings": rendered.settings,
            "upstream": {},
            "files": files,
            "results": rendered.results,
            "command": [],
            "started_at": started_at,
            "finished_at": utc_now(),
            "core_version": core_version,
        }
        write_json(os.path.join(work, RECEIPT), receipt)
        if os.path.lexists(final):  # pruned or damaged: it makes room for the whole one
            remove_tree(final)
        publish_dir(work, final)
