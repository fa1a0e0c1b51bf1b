# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a result comes from: from receipt to receipt, back to the prompts' commit. Reads only; outlives pruning."""

from __future__ import annotations

import os
import typing as t

from ..artifacts.layout import Layout
from ..errors import StoreError
from .promotion import content_tag

#: From what is served to what it began with.
ORDER = ("promote", "register", "gguf", "gguf_adapter", "merge", "train", "dataset", "base")

Receipt = t.Mapping[str, t.Any]


def ancestry(layout: Layout, receipt: Receipt) -> dict[str, dict[str, t.Any]]:
    """The receipts of all that a result was made from, and its own, by kind; what has none is left out.

    :param receipt: of the result, or what will be it: ``kind`` and ``upstream`` are enough.
    """
    found: dict[str, dict[str, t.Any]] = {str(receipt["kind"]): dict(receipt)}
    waiting = list((receipt.get("upstream") or {}).items())
    while waiting:
        kind, fingerprint = waiting.pop(0)
        if kind in found:
            continue
        above = read_receipt(layout, kind, str(fingerprint))
        if above is not None:
            found[kind] = above
            waiting += list((above.get("upstream") or {}).items())
    return {kind: found[kind] for kind in (*ORDER, *found) if kind in found}


def lineage(layout: Layout, receipt: Receipt) -> list[dict[str, t.Any]]:
    """What a result was made from, the nearest first: one entry for each step.

    Each has ``step``, ``fingerprint``, ``path``, ``there`` (whether its files still are), ``pruned_at``,
    ``finished_at``, ``run`` and ``facts`` (what tells most about it).
    """
    return [_entry(layout, kind, one) for kind, one in ancestry(layout, receipt).items()]


def registrations(layout: Layout, name: str = "") -> list[dict[str, t.Any]]:
    """Receipts of all registrations, of one model or of all, the latest first.

    :param name: the model's name, without a tag.
    """
    found = [
        receipt
        for receipt in _receipts(layout, "register")
        if not name or str(receipt["settings"].get("name", "")).lower() == name.lower()
    ]
    return sorted(found, key=lambda receipt: str(receipt.get("finished_at", "")), reverse=True)


def tag_of(receipt: Receipt) -> str:
    """Full content tag of a registration."""
    told = (receipt.get("results") or {}).get("tag")
    options = receipt.get("options") or {}
    return str(told or content_tag(receipt["settings"]["name"], receipt["fingerprint"], options["quantization"]))


def last_training(layout: Layout, name: str) -> dict[str, t.Any] | None:
    """The receipt of the training behind what was made last for a fine-tune; None when nothing was.

    :param name: name of the fine-tune.
    """
    for receipt in registrations(layout, name):
        found = ancestry(layout, receipt).get("train")
        if found is not None:
            return found
    mine = [one for one in _receipts(layout, "train") if (one.get("options") or {}).get("name") == name]
    return max(mine, key=lambda one: str(one.get("finished_at", "")), default=None)


def sources_of(found: t.Mapping[str, Receipt]) -> list[dict[str, t.Any]]:
    """The files the prompts came from: ``label``, ``sha256``, and ``commit`` and ``dirty`` where git knows them.

    :param found: an :func:`ancestry`.
    """
    noted = ((found.get("train") or {}).get("options") or {}).get("sources")
    first = ((found.get("dataset") or {}).get("results") or {}).get("sources")
    return [dict(source) for source in noted or first or [] if isinstance(source, t.Mapping)]


def base_name(found: t.Mapping[str, Receipt]) -> str:
    """The hub's id of the base, or the directory it lies in."""
    receipt = found.get("base") or {}
    results = receipt.get("results") or {}
    return str((receipt.get("settings") or {}).get("hub") or results.get("location") or "")


def read_receipt(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any] | None:
    """A receipt; None when there is none, or it is damaged."""
    try:
        return layout.receipt(kind, fingerprint)
    except (StoreError, OSError, KeyError):
        return None


def _receipts(layout: Layout, kind: str) -> t.Iterator[dict[str, t.Any]]:
    try:
        names = sorted(os.listdir(layout.parent(kind)))
    except FileNotFoundError:
        return
    for name in names:
        receipt = read_receipt(layout, kind, name) if len(name) == 64 else None
        if receipt and receipt.get("fingerprint") == name and isinstance(receipt.get("settings"), dict):
            yield receipt


def _entry(layout: Layout, kind: str, receipt: Receipt) -> dict[str, t.Any]:
    path = layout.artifact(kind, str(receipt["fingerprint"]))
    files = receipt.get("files") or {}
    pruned = str(receipt.get("pruned_at") or "")
    return {
        "step": kind,
        "fingerprint": str(receipt["fingerprint"]),
        "path": path,
        "there": not pruned and all(os.path.exists(os.path.join(path, name)) for name in files),
        "pruned_at": pruned,
        "finished_at": str(receipt.get("finished_at") or ""),
        "run": str(receipt.get("run") or ""),
        "facts": _facts(kind, receipt),
    }


def _facts(kind: str, receipt: Receipt) -> dict[str, t.Any]:
    settings, results = dict(receipt.get("settings") or {}), dict(receipt.get("results") or {})
    if kind == "base":
        wanted: dict[str, t.Any] = {**settings, "location": results.get("location")}
    elif kind == "dataset":
        wanted = {name: results.get(name) for name in ("name", "rows", "format", "sources")}
    elif kind == "train":
        options = receipt.get("options") or {}
        resolved = options.get("resolved") or {}
        wanted = {name: resolved.get(name) for name in ("method", "epochs", "learning_rate", "lora_rank", "seed")}
        wanted.update(attempt=settings.get("attempt"), metrics=results.get("metrics"), sources=options.get("sources"))
    elif kind in ("gguf", "gguf_adapter"):
        wanted = {name: results.get(name) for name in ("quantization", "bytes", "tensors")}
    elif kind == "register":
        wanted = {name: results.get(name) for name in ("tag", "digest", "blob", "adapter_blob", "server_version")}
    elif kind == "promote":
        wanted = {name: results.get(name) for name in ("asked", "met", "met_before", "held")}
    else:
        wanted = {name: results.get(name) for name in ("bytes", "parameters", "dtype")}
    return {name: value for name, value in wanted.items() if value is not None}
