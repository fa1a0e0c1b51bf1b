# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of datasets on disk: built in a work directory and published atomically. Concurrent writers do not clash."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import typing as t

from ..artifacts.layout import RECEIPT, WORK_PREFIX, Layout
from ..errors import StoreError
from ..system.clock import utc_now
from ..system.files import REMOVED, list_files, make_temporary_dir, publish_dir, remove_tree, sha256_file, write_json
from ..system.locks import FileLock
from .output_formats import DATA_FILE, ENTRY, INFO_FILE, OUTPUT_FORMATS
from .rendering import Rendered

_LOCK = ".lock"


def lock(layout: Layout) -> FileLock:
    """The lock for changes of names and versions; no long operation runs under it."""
    return FileLock(os.path.join(layout.datasets, _LOCK))


def intact_receipt(layout: Layout, fingerprint: str) -> dict[str, t.Any] | None:
    """The receipt of a version whose files are unchanged since publication; None otherwise. Read-only.

    A file is hashed again only if its size matches and its mtime does not.
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
            status = os.stat(path)
            if status.st_size != facts["bytes"] or not stat.S_ISREG(status.st_mode):
                return None
            if status.st_mtime_ns != facts["mtime_ns"] and sha256_file(path) != facts["sha256"]:
                return None
        except OSError:
            return None
    return receipt


@contextlib.contextmanager
def workspace(layout: Layout) -> t.Iterator[str]:
    """A private work directory beside the versions; those that killed processes left are removed first."""
    layout.create()
    parent = layout.parent("dataset")
    with lock(layout):
        for name in os.listdir(parent):
            path = os.path.join(parent, name)
            if name.startswith(REMOVED):
                shutil.rmtree(path, ignore_errors=True)
            elif name.startswith(WORK_PREFIX) and os.path.isdir(path):
                other_lock = FileLock(os.path.join(path, _LOCK), timeout=0)
                # The directory may belong to a killed root process of an earlier version. Or the process that made it,
                # which holds no lock any more, is removing it at this moment.
                with contextlib.suppress(PermissionError, FileNotFoundError):
                    if other_lock.acquire():
                        shutil.rmtree(path, ignore_errors=True)
                        other_lock.release()
        work = make_temporary_dir(WORK_PREFIX, parent)
        own_lock = FileLock(os.path.join(work, _LOCK), timeout=0)
        own_lock.acquire()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        own_lock.release()


def publish(
    layout: Layout, work: str, rendered: Rendered, started_at: str, core_version: str, publisher: str = ""
) -> None:
    """Publish the rows in the work directory as a version.

    :param publisher: recorded in the receipt (see ``datasets.unused_versions``).
    """
    data = os.path.join(work, DATA_FILE)
    with open(data, "rb") as stream:
        os.fsync(stream.fileno())  # slow, so before the lock is taken
    with lock(layout):
        final = layout.artifact("dataset", rendered.fingerprint)
        if intact_receipt(layout, rendered.fingerprint):
            return  # another process has published the same version
        os.unlink(os.path.join(work, _LOCK))
        os.chmod(work, 0o755)
        os.chmod(data, 0o644)
        write_json(os.path.join(work, INFO_FILE), {ENTRY: OUTPUT_FORMATS[rendered.output_format].entry(DATA_FILE)})
        files = {}
        for name in list_files(work):
            path = os.path.join(work, name)
            status = os.stat(path)
            sha256 = rendered.sha256 if name == DATA_FILE else sha256_file(path)
            files[name] = {"bytes": status.st_size, "sha256": sha256, "mtime_ns": status.st_mtime_ns}
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
        if publisher:
            receipt["publisher"] = publisher
        write_json(os.path.join(work, RECEIPT), receipt)
        if os.path.lexists(final):  # pruned or damaged: replaced by the complete version
            remove_tree(final)
        publish_dir(work, final)
