# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The questions of an evaluation, from its settings: those of a gate, held-out rows, and the guard set."""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..evaluations import guard
from ..evaluations.gate_items import gate_items, with_id
from ..evaluations.items import Item
from ..messages.message import Message
from ..releases.gate import Gate
from . import held_out


def each_item(layout: Layout, asked: t.Mapping[str, t.Any], notes: list[Message]) -> t.Iterator[Item]:
    """The questions in the order in which they are asked, each once. They are read one at a time.

    :param asked: settings of the step ``evaluate``: ``gate``; ``held_out`` (``share``, ``dataset``) or ``rows``
        (``dataset``, ``trained_on``); ``guard`` (``digest`` of the shipped set, or ``dataset``).
    :param notes: gets what is said of rows that were left out, once all questions were read.
    :raises NotReadyError: if the rows of a dataset are not on this host any more.
    :raises InputError: if rows cannot be asked.
    """
    seen: set[str] = set()
    for item in _all_items(layout, asked, notes):
        if item.id not in seen:
            seen.add(item.id)
            yield item


def _all_items(layout: Layout, asked: t.Mapping[str, t.Any], notes: list[Message]) -> t.Iterator[Item]:
    if asked.get("gate"):
        yield from gate_items(Gate.from_settings(asked["gate"]))
    rows = asked.get("held_out") or asked.get("rows")
    if rows:
        counts: dict[str, t.Any] = {}
        trained_on = rows.get("trained_on")
        yield from held_out.each_item(
            _version(layout, rows["dataset"]),
            rows.get("share"),
            _version(layout, trained_on) if trained_on else None,
            counts,
            every_call=True,
        )
        notes += held_out.notes(counts)
    about_guard = asked.get("guard") or {}
    if about_guard.get("dataset"):
        counts = {}
        rows_of_guard = _version(layout, about_guard["dataset"])
        yield from map(_as_guard, held_out.each_item(rows_of_guard, None, None, counts, every_call=True))
        notes += held_out.notes(counts)
    elif about_guard:
        yield from guard.items()


def _version(layout: Layout, fingerprint: str) -> str:
    """Directory of a published version.

    :raises NotReadyError: if it has no receipt.
    """
    if layout.receipt("dataset", fingerprint) is None:
        raise NotReadyError("datasets.evaluated_version_gone", fingerprint=fingerprint[:12])
    return layout.artifact("dataset", fingerprint)


def _as_guard(item: Item) -> Item:
    """A row as a question of the guard set: its answer is what is expected."""
    reference = item.reference or {}
    expect: dict[str, t.Any] = {"ignore_case": True}
    if reference.get("calls"):
        expect["calls"] = [
            {
                "name": call["name"],
                "arguments": {name: {"equals": value} for name, value in (call.get("arguments") or {}).items()},
            }
            for call in reference["calls"]
        ]
    else:
        expect["equals"] = str(reference.get("content") or "")
    return with_id(dataclasses.replace(item, part="guard", expect=expect, reference=None))
