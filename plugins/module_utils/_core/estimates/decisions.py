# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decisions that this program takes for a declared ``auto``: stored once in a JSON file, and kept."""

from __future__ import annotations

import os
import typing as t

from ..system.files import make_dirs, read_json, write_json
from ..system.locks import FileLock


def read_decisions(path: str) -> dict[str, t.Any]:
    """Return the decisions in a file, by key; empty if it does not exist or holds something else.

    :raises StoreError: if it is not valid JSON: without its decisions, others might be taken.
    """
    content = read_json(path) or {}
    return content if isinstance(content, dict) else {}


def write_decision(path: str, key: str, decision: t.Mapping[str, t.Any]) -> None:
    """Store a decision. The other decisions in the file are kept."""
    make_dirs(os.path.dirname(path))
    name, _dot, _suffix = os.path.basename(path).rpartition(".")
    with FileLock(os.path.join(os.path.dirname(path), f".{name}.lock")):
        write_json(path, {**read_decisions(path), key: dict(decision)})
