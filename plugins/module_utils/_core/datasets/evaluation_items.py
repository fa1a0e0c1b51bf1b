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


def items_of(layout: Layout, asked: t.Mapping[str, t.Any]) -> tuple[list[Item], list[Message]]:
    """The questions in the order in which they are asked, each once, and what is said of rows that were left out.

    :param asked: settings of the step ``evaluate``: ``gate``; ``held_out`` (``share``, ``dataset``) or ``rows``
        (``dataset``, ``trained_on``); ``guard`` (``digest`` of the shipped set, or ``dataset``).
    :raises NotReadyError: if the rows of a dataset are not on this host any more.
    :raises InputError: if rows cannot be asked.
    """
    items: list[Item] = []
    notes: list[Message] = []
    if asked.get("gate"):
        items += gate_items(Gate.from_settings(asked["gate"]))
    rows = asked.get("held_out") or asked.get("rows")
    if rows:
        trained_on = rows.get("trained_on")
        found, counts = held_out.items(
            _version(layout, rows["dataset"]),
            rows.get("share"),
            _version(layout, trained_on) if trained_on else None,
            every_call=True,
        )
        items += found
        notes += held_out.notes(counts)
    about_guard = asked.get("guard") or {}
    if about_guard.get("dataset"):
        found, _counts = held_out.items(_version(layout, about_guard["dataset"]), None, None, every_call=True)
        items += [_as_guard(item) for item in found]
    elif about_guard:
        items += guard.items()
    return list({item.id: item for item in items}.values()), notes


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
