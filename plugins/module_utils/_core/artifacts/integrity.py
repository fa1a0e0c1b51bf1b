# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an artifact is complete, where its content lies, and what its step reported."""

from __future__ import annotations

import os
import typing as t

from ..errors import StoreError
from .layout import Layout


def artifact_path(layout: Layout, kind: str, fingerprint: str) -> str:
    """Where the content of an artifact lies (a local base directory is only referred to)."""
    if kind == "base":
        receipt = layout.receipt(kind, fingerprint) or {}
        location = (receipt.get("results") or {}).get("location")
        if location:
            return str(location)
    return layout.artifact(kind, fingerprint)


def artifact_defect(layout: Layout, kind: str, fingerprint: str) -> str:
    """Why an artifact is not whole, in a few words; empty when it is.

    Sizes are compared, content is not read: files of a published artifact are never written again.
    """
    try:
        receipt = layout.receipt(kind, fingerprint)
        if receipt is None:
            return "not made yet"
        if receipt.get("fingerprint") != fingerprint:
            return "its receipt belongs to another result"
        if receipt.get("pruned_at"):
            return "pruned"
        root = layout.artifact(kind, fingerprint)
        for name, facts in receipt["files"].items():
            try:
                size = os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                return f"{name} is gone"
            if size != facts["bytes"]:
                return f"{name} has {size} bytes instead of {facts['bytes']}"
        location = artifact_path(layout, kind, fingerprint)
    except (StoreError, KeyError, TypeError, AttributeError):
        return "its receipt is damaged"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return "" if os.path.isdir(location) else f"{location} is gone"


def receipt_results(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any]:
    """What a step found out, from its receipt; empty when it was never made."""
    receipt = layout.receipt(kind, fingerprint) or {}
    return dict(receipt.get("results") or {})
