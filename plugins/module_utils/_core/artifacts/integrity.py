# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completeness of an artifact, the path of its content, and the results its step reported."""

from __future__ import annotations

import os
import typing as t

from ..errors import StoreError
from ..messages.message import Message
from .layout import Layout, Receipt


def artifact_path(layout: Layout, kind: str, fingerprint: str) -> str:
    """Path of an artifact's content; for a local base model this is the directory its receipt refers to."""
    if kind == "base":
        receipt = layout.receipt(kind, fingerprint) or {}
        location = (receipt.get("results") or {}).get("location")
        if location:
            return str(location)
    return layout.artifact(kind, fingerprint)


def artifact_defect(layout: Layout, kind: str, fingerprint: str) -> Message | None:
    """Reason why an artifact is incomplete, as a short phrase; None if it is complete.

    Compares file sizes only: files of a published artifact are never rewritten, so their content is not read.
    """
    try:
        receipt = layout.receipt(kind, fingerprint)
        if receipt is None:
            return Message("artifacts.not_made")
        if receipt.get("fingerprint") != fingerprint:
            return Message("artifacts.receipt_of_other")
        if receipt.get("pruned_at"):
            return Message("artifacts.pruned")
        root = layout.artifact(kind, fingerprint)
        for name, facts in receipt["files"].items():
            try:
                size = os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                return Message("artifacts.file_gone", file=name)
            if size != facts["bytes"]:
                return Message("artifacts.size_differs", file=name, bytes=size, expected=facts["bytes"])
        location = artifact_path(layout, kind, fingerprint)
    except (StoreError, KeyError, TypeError, AttributeError):
        return Message("artifacts.receipt_damaged")
    except OSError as error:
        return Message("artifacts.unreadable", path=error.filename, reason=error.strerror)
    return None if os.path.isdir(location) else Message("artifacts.file_gone", file=location)


def step_defect(layout: Layout, kind: str, fingerprint: str, options: t.Mapping[str, t.Any]) -> Message | None:
    """Reason why an artifact is incomplete or lacks what a step requires; None if there is none.

    :param options: of the step. A merge requires weights unless ``weights`` is false; the result of a merge on the
        way to a GGUF file has none.
    """
    defect = artifact_defect(layout, kind, fingerprint)
    if defect is None and kind == "merge" and options.get("weights", True):
        if is_without_weights(layout.receipt(kind, fingerprint) or {}):
            return Message("artifacts.no_weights")
    return defect


def is_without_weights(receipt: Receipt) -> bool:
    """Whether a merge has left the weights to the conversion."""
    return (receipt.get("results") or {}).get("weights") is False


def findings_of(layout: Layout, kind: str, fingerprint: str) -> list[dict[str, t.Any]]:
    """The findings of a training, as messages; empty for most trainings and for other kinds."""
    if kind != "train":
        return []
    try:
        found = receipt_results(layout, kind, fingerprint).get("findings")
    except StoreError:
        return []
    return [dict(finding) for finding in found or () if isinstance(finding, t.Mapping)]


def receipt_results(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any]:
    """Results of a step as recorded in its receipt; empty if the step never completed."""
    receipt = layout.receipt(kind, fingerprint) or {}
    return dict(receipt.get("results") or {})
