# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lineage of a result: from receipt to receipt, back to the commit of the prompts. Read-only; survives pruning."""

from __future__ import annotations

import os
import typing as t

from ..artifacts import kinds
from ..artifacts.layout import Layout, Receipt
from ..errors import StoreError
from .promotion import content_tag

#: From the served model back to its inputs.
ORDER = tuple(kind.name for kind in sorted(kinds.TABLE, key=lambda kind: kind.lineage or 0) if kind.lineage is not None)


def ancestry(layout: Layout, receipt: Receipt) -> dict[str, dict[str, t.Any]]:
    """The receipts of a result and of all its inputs, direct or not, by kind; missing receipts are omitted.

    :param receipt: of the result, or of a result to come: ``kind`` and ``upstream`` are enough.
    """
    receipts: dict[str, dict[str, t.Any]] = {str(receipt["kind"]): dict(receipt)}
    queue = list((receipt.get("upstream") or {}).items())
    while queue:
        kind, fingerprint = queue.pop(0)
        if kind in receipts:
            continue
        parent = read_receipt(layout, kind, str(fingerprint))
        if parent is not None:
            receipts[kind] = parent
            queue += list((parent.get("upstream") or {}).items())
    return {kind: receipts[kind] for kind in (*ORDER, *receipts) if kind in receipts}


def lineage(layout: Layout, receipt: Receipt) -> list[dict[str, t.Any]]:
    """The steps behind a result, the nearest first: one entry per step.

    Each entry has ``step``, ``fingerprint``, ``path``, ``there`` (whether its files still exist), ``pruned_at``,
    ``finished_at``, ``run`` and ``facts`` (its most significant settings and results).
    """
    return [_entry(layout, kind, ancestor) for kind, ancestor in ancestry(layout, receipt).items()]


def registrations(layout: Layout, name: str = "") -> list[dict[str, t.Any]]:
    """Receipts of all registrations, of one model or of all models, the latest first.

    :param name: the model's name, without a tag.
    """
    receipts = [
        receipt
        for receipt in receipts_of(layout, "register")
        if not name or str(receipt["settings"].get("name", "")).lower() == name.lower()
    ]
    return sorted(receipts, key=lambda receipt: str(receipt.get("finished_at", "")), reverse=True)


def tag_of(receipt: Receipt) -> str:
    """Full content tag of a registration."""
    recorded = (receipt.get("results") or {}).get("tag")
    options = receipt.get("options") or {}
    return str(recorded or content_tag(receipt["settings"]["name"], receipt["fingerprint"], options["quantization"]))


def base_of(receipt: Receipt) -> str:
    """Name of the model that evaluations compare with this registration of its base; empty for any other one."""
    return str((receipt.get("options") or {}).get("base_of") or "")


def last_training(layout: Layout, name: str) -> dict[str, t.Any] | None:
    """The receipt of the training behind the latest result of a fine-tune; None if there is none.

    :param name: name of the fine-tune.
    """
    for receipt in registrations(layout, name):
        training = ancestry(layout, receipt).get("train")
        if training is not None:
            return training
    trainings = [
        training for training in receipts_of(layout, "train") if (training.get("options") or {}).get("name") == name
    ]
    return max(trainings, key=lambda training: str(training.get("finished_at", "")), default=None)


def fine_tunes_of(layout: Layout, base: str) -> set[str]:
    """Names of the fine-tunes that were trained on a base.

    :param base: fingerprint of the base.
    """
    return {
        str((training.get("options") or {}).get("name") or "")
        for training in receipts_of(layout, "train")
        if (training.get("upstream") or {}).get("base") == base
    } - {""}


def sources_of(ancestors: t.Mapping[str, Receipt]) -> list[dict[str, t.Any]]:
    """The source files of the prompts: ``label``, ``sha256``, and ``commit`` and ``dirty`` for files under git.

    :param ancestors: an :func:`ancestry`.
    """
    recorded = ((ancestors.get("train") or {}).get("options") or {}).get("sources")
    imported = ((ancestors.get("dataset") or {}).get("results") or {}).get("sources")
    return [dict(source) for source in recorded or imported or [] if isinstance(source, t.Mapping)]


def base_name(ancestors: t.Mapping[str, Receipt]) -> str:
    """The base model's id on the hub, or its directory."""
    receipt = ancestors.get("base") or {}
    results = receipt.get("results") or {}
    return str((receipt.get("settings") or {}).get("hub") or results.get("location") or "")


def read_receipt(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any] | None:
    """A receipt; None if it is missing or damaged."""
    try:
        return layout.receipt(kind, fingerprint)
    except (StoreError, OSError, KeyError):
        return None


def receipts_of(layout: Layout, kind: str) -> t.Iterator[dict[str, t.Any]]:
    """All intact receipts of a kind, in the order of their fingerprints."""
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
    facts: dict[str, t.Any] = dict(settings) if kind == "base" else {}
    if kind == "train":
        options = receipt.get("options") or {}
        resolved = options.get("resolved") or {}
        facts = {name: resolved.get(name) for name in ("method", "epochs", "learning_rate", "lora_rank", "seed")}
        facts.update(attempt=settings.get("attempt"), sources=options.get("sources"))
    row = kinds.BY_NAME.get(kind)
    facts.update({name: results.get(name) for name in (row.facts if row else ())})
    return {name: value for name, value in facts.items() if value is not None}
