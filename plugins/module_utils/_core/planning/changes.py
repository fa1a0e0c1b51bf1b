# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a step would run: the inputs that changed since the previous result of the same name, with both values.

The previous result is located by its receipt, which leads to the receipts of all its inputs. Receipts outlive pruning.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.kinds import KINDS, PARENTS, results_beside
from ..artifacts.layout import Layout, Receipt
from ..datasets.diff import Changes
from ..datasets.output_formats import DATA_FILE
from ..datasets.registry import tools_that_changed
from ..messages.message import Message
from ..releases.lineage import read_receipt
from ..runs.spec import StepSpec
from ..training.hyperparameters import describe_settings
from ..training.options import DEFAULTS, OPTIONS

#: Values of settings that the steps of earlier versions do not have.
_FIRST = {"recipe": 1}
_ORDER = {option.name: place for place, option in enumerate(OPTIONS)}


@dataclasses.dataclass(frozen=True)
class Change:
    """One changed input of a step.

    :param input: name of the input: an option, ``base``, ``dataset``, or the previous step.
    :param before: previous value as text.
    :param after: current value as text.
    :param detail: short summary of the difference; None if there is none.
    """

    input: str
    before: str
    after: str
    detail: Message | None = None

    def content(self) -> Message:
        """The change for display: ``learning_rate 0.0001 → 0.0002``."""
        values = {"input": self.input, "before": self.before, "after": self.after}
        if self.detail is None:
            return Message("planning.changed", **values)
        return Message("planning.changed_in", **values, detail=self.detail)

    def describe(self) -> str:
        """Format the change for display, in English."""
        return str(self.content())

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values, with texts in English."""
        detail = str(self.detail) if self.detail is not None else ""
        values = {"input": self.input, "before": self.before, "after": self.after, "detail": detail}
        return {**values, "words": self.describe()}


# -- the previous result -----------------------------------------------------------------------------------------------


class PreviousResult:
    """The previous result of a fine-tune, with the receipts of all its inputs.

    :param layout: the data directory.
    :param name: name of the fine-tune.
    :param kinds: kinds of step that can be the last of a result, the last one in the pipeline first.
    """

    def __init__(self, layout: Layout, name: str, kinds: t.Sequence[str] = tuple(reversed(KINDS))) -> None:
        self.layout = layout
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.finished_at = ""
        for kind in kinds:
            receipts = [each for each in _receipts(layout, kind) if (each.get("options") or {}).get("name") == name]
            if receipts:
                # newest first: each quantization gets its newest receipt, shared inputs those of the newest receipt
                receipts.sort(key=lambda each: str(each.get("finished_at") or ""), reverse=True)
                self.finished_at = str(receipts[0].get("finished_at") or "")
                for each in receipts:
                    self._add(each)
                break

    def _add(self, receipt: Receipt) -> None:
        key = result_key(str(receipt.get("kind")), receipt)
        if key in self.receipts:
            return
        self.receipts[key] = receipt
        beside = results_beside(str(receipt.get("kind")), receipt.get("options"))
        for kind, fingerprint in [*(receipt.get("upstream") or {}).items(), *beside]:
            upstream_receipt = _read(self.layout, kind, fingerprint)
            if upstream_receipt is not None:
                self._add(upstream_receipt)

    def receipt_for(self, spec: StepSpec) -> Receipt | None:
        """Return the previous receipt of the same step; None if there was none."""
        return self.receipts.get(result_key(spec.kind, spec.as_dict()))

    def __bool__(self) -> bool:
        return bool(self.receipts)


def result_key(kind: str, value: Receipt) -> tuple[str, str]:
    """Return the key of a result within a fine-tune: its kind, and its quantization if there are several of a kind.

    Files and registrations of the base model are not those of what was trained from it.
    """
    settings, options = value.get("settings") or {}, value.get("options") or {}
    quantization = settings.get("quantization") or options.get("quantization") or ""
    if kind == "gguf":
        is_of_base = set(value.get("upstream") or {}) == {"base"}
    else:
        is_of_base = kind == "register" and options.get("name", settings.get("name")) != settings.get("name")
    return kind, f"{quantization}{' of the base' if is_of_base else ''}"


def _receipts(layout: Layout, kind: str) -> t.Iterator[Receipt]:
    if kind not in PARENTS:
        return
    try:
        names = sorted(os.listdir(layout.parent(kind)))
    except OSError:
        return
    for name in names:
        receipt = _read(layout, kind, name) if len(name) == 64 else None
        if receipt is not None:
            yield receipt


def _read(layout: Layout, kind: str, fingerprint: str) -> Receipt | None:
    receipt = read_receipt(layout, kind, fingerprint)
    return {"kind": kind, **receipt} if receipt is not None else None


# -- what changed ------------------------------------------------------------------------------------------------------


def changes(
    layout: Layout, before: Receipt, current: StepSpec, provisional: t.Mapping[str, t.Mapping[str, t.Any]] | None = None
) -> list[Change]:
    """Return the changed inputs of a step; empty if none changed.

    :param before: receipt of its previous result.
    :param provisional: facts about artifacts that do not exist yet, by fingerprint: ``results`` of a dataset and its
        ``changes`` against the version ``before``; ``description`` of a base.
    """
    if before.get("fingerprint") == current.fingerprint:
        return []
    changed = _changed_settings(current.kind, before, current)
    old = before.get("upstream") or {}
    for kind in {**old, **current.upstream}:
        old_fingerprint, new_fingerprint = str(old.get(kind) or ""), str(current.upstream.get(kind) or "")
        if old_fingerprint != new_fingerprint:
            changed.append(_changed_upstream(layout, kind, old_fingerprint, new_fingerprint, provisional or {}))
    return changed


def _changed_settings(kind: str, before: Receipt, current: StepSpec) -> list[Change]:
    old, new = _flatten(before.get("settings") or {}), _flatten(current.settings)
    changed = []
    for name in sorted({**old, **new}, key=lambda each: (_ORDER.get(each, len(_ORDER)), each)):
        default = DEFAULTS.get(name) if kind == "train" else _FIRST.get(name)
        old_value, new_value = old.get(name, default), new.get(name, default)
        if old_value != new_value:
            detail = Message("planning.other_recipe") if name == "recipe" else None
            if kind == "train" and name == "held_out":
                detail = _rows_held_out(current)
            changed.append(Change(name, describe_settings(old_value), describe_settings(new_value), detail))
    return changed


def _rows_held_out(current: StepSpec) -> Message | None:
    """Say that other rows are trained on, and how many are not, where they have been counted."""
    counted = current.options.get("held_out") or {}
    if counted:
        return Message("planning.rows_held_out", count=counted["held_out"], rows=counted["rows"])
    return Message("planning.other_rows_held_out")


def _flatten(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    flat: dict[str, t.Any] = {}
    for name, value in settings.items():
        if isinstance(value, t.Mapping):
            flat.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            flat[name] = value
    return flat


def _changed_upstream(
    layout: Layout, kind: str, old: str, new: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]
) -> Change:
    if kind == "dataset":
        detail = dataset_detail(dataset_changes(layout, old, new, provisional))
        detail = detail or _row_counts(layout, old, new, provisional)
        tools = tools_that_changed(*(_dataset_results(layout, each, provisional) for each in (old, new)))
        if tools:
            parts = [Message("planning.tools_changed", names=tools), *([detail] if detail else [])]
            detail = Message("planning.rows_differ", parts=parts)
        return Change("dataset sha256", old[:12] or "none", new[:12] or "none", detail)
    if kind == "base":
        before, after = (
            str((provisional.get(each) or {}).get("description") or _describe_base(layout, each)) for each in (old, new)
        )
        return Change("base", before, after)
    return Change(kind, old[:12] or "none", new[:12] or "none")


def _describe_base(layout: Layout, fingerprint: str) -> str:
    receipt = _read(layout, "base", fingerprint) if fingerprint else None
    return describe_base((receipt or {}).get("settings") or {}, fingerprint)


def describe_base(settings: t.Mapping[str, t.Any], fingerprint: str) -> str:
    """Describe a base model briefly: ``Qwen/Qwen2.5-7B-Instruct@a09a35458c70``, or the digest of a directory."""
    if settings.get("hub"):
        return f"{settings['hub']}@{str(settings.get('commit'))[:12]}"
    digest = str(settings.get("directory") or fingerprint)
    return digest[:12] or "none"


def _row_counts(
    layout: Layout, before: str, after: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]
) -> Message | None:
    counts = [_dataset_results(layout, each, provisional).get("rows") for each in (before, after)]
    return Message("planning.row_counts", before=counts[0], after=counts[1]) if None not in counts else None


def _dataset_results(
    layout: Layout, fingerprint: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]
) -> t.Mapping[str, t.Any]:
    results = (provisional.get(fingerprint) or {}).get("results")
    return results or (_read(layout, "dataset", fingerprint) or {}).get("results") or {}


def dataset_changes(
    layout: Layout, before: str, after: str, provisional: t.Mapping[str, t.Mapping[str, t.Any]]
) -> dict[str, t.Any]:
    """Compare two versions of a dataset (:meth:`datasets.diff.Changes.result`).

    :param provisional: as in :func:`changes`.
    :returns: the differences; empty if the rows of a version were pruned or never existed on this host.
    """
    facts = provisional.get(after) or {}
    if facts.get("changes") and facts.get("before") == before:
        return dict(facts["changes"])
    if not before or not after:
        return {}
    old, new = (os.path.join(layout.artifact("dataset", each), DATA_FILE) for each in (before, after))
    if not (os.path.isfile(old) and os.path.isfile(new)):
        return {}
    compared = Changes(old)
    with open(new, encoding="utf-8", newline="\n") as stream:
        for line in stream:
            compared.add_line(line)
    return compared.result()


#: Codes of the first part of a difference, which names the rows, and of the others.
_PARTS = {
    "added": ("planning.rows_added", "planning.added"),
    "removed": ("planning.rows_removed", "planning.removed"),
    "changed": ("planning.rows_changed", "planning.rows_changed_as_well"),
}


def dataset_detail(differences: t.Mapping[str, t.Any]) -> Message | None:
    """Describe the differences of two datasets: ``3 rows added, 1 changed``; None if they were not compared."""
    if not differences.get("compared"):
        return None
    parts: list[Message] = []
    for kind, codes in _PARTS.items():
        if differences.get(kind):
            parts.append(Message(codes[bool(parts)], count=differences[kind]))
    return Message("planning.rows_differ", parts=parts) if parts else Message("planning.rows_reordered")
