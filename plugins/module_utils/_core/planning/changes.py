# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a step would run: which of its inputs changed since the last result of the same name, from what to what.

The last result is found by its receipt, and from there the receipts of all it was made from; they outlive pruning.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ..artifacts.layout import KINDS, PARENTS, Layout
from ..datasets.diff import Changes
from ..datasets.output_formats import DATA_FILE
from ..releases.lineage import read_receipt
from ..runs.spec import StepSpec
from ..training.hyperparameters import describe_settings
from ..training.options import OPTIONS

_DEFAULTS = {option.name: option.default for option in OPTIONS}
_ORDER = {option.name: place for place, option in enumerate(OPTIONS)}

Receipt = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Change:
    """One input that is no longer what it was.

    :param input: its name: an option, ``base``, ``dataset``, or the step before.
    :param before: its value then, in words.
    :param after: its value now, in words.
    :param detail: what differs, where that can be said shorter.
    """

    input: str
    before: str
    after: str
    detail: str = ""

    def words(self) -> str:
        """``learning_rate 0.0001 → 0.0002``."""
        more = f" ({self.detail})" if self.detail else ""
        return f"{self.input} {self.before} → {self.after}{more}"


# -- the last result ---------------------------------------------------------------------------------------------------


class Earlier:
    """The last result of a fine-tune's name, and the receipts of all it was made from.

    :param layout: the data directory.
    :param name: of the fine-tune.
    :param kinds: kinds of step that a result of it may end with, the last one first.
    """

    def __init__(self, layout: Layout, name: str, kinds: t.Sequence[str] = tuple(reversed(KINDS))) -> None:
        self.layout = layout
        self.receipts: dict[tuple[str, str], Receipt] = {}
        self.finished_at = ""
        for kind in kinds:
            found = [each for each in _receipts(layout, kind) if (each.get("options") or {}).get("name") == name]
            if found:
                # of each quantization the last one; what they were made from is that of the very last
                found.sort(key=lambda each: str(each.get("finished_at") or ""), reverse=True)
                self.finished_at = str(found[0].get("finished_at") or "")
                for each in found:
                    self._add(each)
                break

    def _add(self, receipt: Receipt) -> None:
        place = place_of(str(receipt.get("kind")), receipt)
        if place in self.receipts:
            return
        self.receipts[place] = receipt
        # the 16-bit file a quantized one was made from is no input of it: it is what lies between
        half = (receipt.get("options") or {}).get("f16") if receipt.get("kind") == "gguf" else None
        made_from = [*(receipt.get("upstream") or {}).items(), *([("gguf", half)] if half else [])]
        for kind, fingerprint in made_from:
            above = _read(self.layout, kind, fingerprint)
            if above is not None:
                self._add(above)

    def of(self, spec: StepSpec) -> Receipt | None:
        """The receipt of what this step's place had then; None when there was none."""
        return self.receipts.get(place_of(spec.kind, spec.as_dict()))

    def __bool__(self) -> bool:
        return bool(self.receipts)


def place_of(kind: str, value: Receipt) -> tuple[str, str]:
    """Where a result stands within a fine-tune: its kind, and its quantization where there are several of a kind."""
    quantization = (value.get("settings") or {}).get("quantization") or (value.get("options") or {}).get("quantization")
    return kind, str(quantization or "")


def _receipts(layout: Layout, kind: str) -> t.Iterator[Receipt]:
    if kind not in PARENTS:
        return
    try:
        names = sorted(os.listdir(layout.parent(kind)))
    except OSError:
        return
    for name in names:
        found = _read(layout, kind, name) if len(name) == 64 else None
        if found is not None:
            yield found


def _read(layout: Layout, kind: str, fingerprint: str) -> Receipt | None:
    found = read_receipt(layout, kind, fingerprint)
    return {"kind": kind, **found} if found is not None else None


# -- what changed ------------------------------------------------------------------------------------------------------


def changes(
    layout: Layout, before: Receipt, now: StepSpec, known: t.Mapping[str, t.Mapping[str, t.Any]] | None = None
) -> list[Change]:
    """What a step's inputs were and are; empty when they are the same.

    :param before: the receipt of its last result.
    :param known: what is known of what is not there yet, by fingerprint: of a dataset ``results``, and ``changes``
        against the version ``before``; of a base ``words``.
    """
    if before.get("fingerprint") == now.fingerprint:
        return []
    found = _settings(now.kind, before, now)
    old = before.get("upstream") or {}
    for kind in {**old, **now.upstream}:
        was, is_now = str(old.get(kind) or ""), str(now.upstream.get(kind) or "")
        if was != is_now:
            found.append(_upstream(layout, kind, was, is_now, known or {}))
    return found


def _settings(kind: str, before: Receipt, now: StepSpec) -> list[Change]:
    old, new = _flat(before.get("settings") or {}), _flat(now.settings)
    found = []
    for name in sorted({**old, **new}, key=lambda each: (_ORDER.get(each, len(_ORDER)), each)):
        default = _DEFAULTS.get(name) if kind == "train" else None
        was, is_now = old.get(name, default), new.get(name, default)
        if was != is_now:
            found.append(Change(name, describe_settings(was), describe_settings(is_now)))
    return found


def _flat(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for name, value in settings.items():
        if isinstance(value, t.Mapping):
            found.update({f"{name}.{key}": item for key, item in value.items()})
        else:
            found[name] = value
    return found


def _upstream(layout: Layout, kind: str, was: str, now: str, known: t.Mapping[str, t.Mapping[str, t.Any]]) -> Change:
    if kind == "dataset":
        detail = dataset_detail(dataset_changes(layout, was, now, known)) or _row_counts(layout, was, now, known)
        return Change("dataset sha256", was[:12] or "none", now[:12], detail)
    if kind == "base":
        before, after = (
            str((known.get(each) or {}).get("words") or _describe_base(layout, each)) for each in (was, now)
        )
        return Change("base", before, after)
    return Change(kind, was[:12] or "none", now[:12])


def _describe_base(layout: Layout, fingerprint: str) -> str:
    receipt = _read(layout, "base", fingerprint) if fingerprint else None
    return describe_base((receipt or {}).get("settings") or {}, fingerprint)


def describe_base(settings: t.Mapping[str, t.Any], fingerprint: str) -> str:
    """A base model in a few words: ``Qwen/Qwen2.5-7B-Instruct@a09a35458c70``, or the digest of a directory."""
    if settings.get("hub"):
        return f"{settings['hub']}@{str(settings.get('commit'))[:12]}"
    digest = str(settings.get("directory") or fingerprint)
    return digest[:12] or "none"


def _row_counts(layout: Layout, was: str, now: str, known: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    counts = []
    for fingerprint in (was, now):
        results = (known.get(fingerprint) or {}).get("results") or (_read(layout, "dataset", fingerprint) or {}).get(
            "results"
        )
        counts.append((results or {}).get("rows"))
    return f"{counts[0]} rows → {counts[1]}" if None not in counts else ""


def dataset_changes(
    layout: Layout, was: str, now: str, known: t.Mapping[str, t.Mapping[str, t.Any]]
) -> dict[str, t.Any]:
    """What differs between two versions of a dataset (:meth:`datasets.diff.Changes.result`); empty when that cannot
    be told, because the rows of one have been pruned or were never here.

    :param known: as in :func:`changes`.
    """
    told = known.get(now) or {}
    if told.get("changes") and told.get("before") == was:
        return dict(told["changes"])
    if not was or not now:
        return {}
    old, new = (os.path.join(layout.artifact("dataset", each), DATA_FILE) for each in (was, now))
    if not (os.path.isfile(old) and os.path.isfile(new)):
        return {}
    compared = Changes(old)
    with open(new, encoding="utf-8", newline="\n") as stream:
        for line in stream:
            compared.add_line(line)
    return compared.result()


def dataset_detail(found: t.Mapping[str, t.Any]) -> str:
    """``3 rows added, 1 changed``; empty when nothing is known."""
    if not found.get("compared"):
        return ""
    words = [f"{found[what]} {what}" for what in ("added", "removed", "changed") if found.get(what)]
    if not words:
        return "the same rows in another order or form"
    first, _blank, rest = words[0].partition(" ")
    words[0] = f"{first} row{'s' if first != '1' else ''} {rest}"
    return ", ".join(words)
