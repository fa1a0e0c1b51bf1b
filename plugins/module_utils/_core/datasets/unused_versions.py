# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of datasets that a publisher with a limit, the training service, has made: their size, and their removal.

A version is in use while a name refers to it, a training was made from it, or an active run reads it.
"""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import FINGERPRINT, Layout
from ..releases.lineage import read_receipt
from ..runs.store import Store
from ..system.files import remove_tree
from .dataset_info_file import InfoFile, version_of
from .registry import info_path
from .versions import lock


def versions_of(layout: Layout, publisher: str) -> dict[str, int]:
    """Size in bytes, by fingerprint, of the versions that a publisher has made. Rows that were purged do not count."""
    sizes = {}
    for name in _fingerprints(layout, "dataset"):
        receipt = read_receipt(layout, "dataset", name) or {}
        if receipt.get("publisher") == publisher:
            sizes[name] = _size(layout.artifact("dataset", name))
    return sizes


def remove_unused(layout: Layout, fingerprint: str, publisher: str) -> bool:
    """Remove a version that a publisher has made, receipt and all, if nothing uses it.

    :returns: whether it was removed.
    """
    receipt = read_receipt(layout, "dataset", fingerprint) if FINGERPRINT.match(fingerprint) else None
    if receipt is None or receipt.get("publisher") != publisher or not os.path.isdir(layout.jobs):
        return False
    # in this order: no run that reads it is submitted meanwhile, and no name gets it
    with Store(layout).lock(), lock(layout):
        names = InfoFile(info_path(layout)).entries.values()
        if any(version_of(entry) == fingerprint for entry in names) or fingerprint in _trained_or_running(layout):
            return False
        remove_tree(layout.artifact("dataset", fingerprint))
    return True


def _trained_or_running(layout: Layout) -> set[str]:
    specs: list[t.Mapping[str, t.Any]] = [
        step.spec.as_dict() for record in Store(layout).active() if record.run for step in record.run.steps
    ]
    for kind in ("train", "train_node"):
        specs += [read_receipt(layout, kind, name) or {} for name in _fingerprints(layout, kind)]
    return {str((spec.get("upstream") or {}).get("dataset")) for spec in specs}


def _fingerprints(layout: Layout, kind: str) -> list[str]:
    try:
        return [name for name in os.listdir(layout.parent(kind)) if FINGERPRINT.match(name)]
    except FileNotFoundError:
        return []


def _size(path: str) -> int:
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _dirs, names in os.walk(path) for name in names)
