# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate as a part of an evaluation: its questions are items, its conditions are requirements. Pure functions."""

from __future__ import annotations

import dataclasses
import typing as t

from ..fingerprint import digest
from ..releases.gate import Gate
from .items import Item
from .requirements import Requirements

#: What a gate requires of the answers; not a part of what is asked.
_REQUIRED = ("allowed_failures", "no_regression")


def gate_items(gate: Gate) -> list[Item]:
    """The questions of a gate, in order."""
    return [
        with_id(
            Item(
                "",
                "gate",
                tuple(dict(message) for message in question.messages),
                tuple(question.tools),
                dict(question.expect),
                options=gate.options_for(question),
            )
        )
        for question in gate.questions
    ]


def with_id(item: Item) -> Item:
    """An item with the digest of what it asks and expects as its id."""
    values = item.as_dict()
    identity = {name: values[name] for name in ("part", "messages", "tools", "expect", "reference", "options")}
    return dataclasses.replace(item, id=digest(identity))


def asked_settings(settings: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The settings of a gate (:meth:`releases.gate.Gate.as_settings`) without its conditions."""
    return {name: value for name, value in settings.items() if name not in _REQUIRED}


def with_conditions(require: Requirements, gate: Gate | None) -> Requirements:
    """Requirements with the conditions of a gate, where they do not say themselves what the gate must be like."""
    if gate is None:
        return require
    if require.allowed_failures is None and "gate" not in require.least:
        require = dataclasses.replace(require, allowed_failures=gate.allowed_failures)
    return dataclasses.replace(require, no_regression=require.no_regression or gate.no_regression)
