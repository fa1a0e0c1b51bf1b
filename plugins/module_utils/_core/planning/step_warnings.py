# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Warnings about a step, in its options: as messages, and as text in English, which is all that older versions read."""

from __future__ import annotations

import typing as t

from ..messages.message import Message


def read_warnings(options: t.Mapping[str, t.Any]) -> list[Message]:
    """Return the warnings in the options of a step."""
    stored = options.get("warnings") or [options.get("warning")]
    return [Message.from_stored(warning) for warning in stored if warning]


def add_warnings(options: t.Mapping[str, t.Any], warnings: t.Iterable[Message | None]) -> dict[str, t.Any]:
    """Return options with more warnings; None is no warning."""
    messages = [*read_warnings(options), *(warning for warning in warnings if warning is not None)]
    if not messages:
        return dict(options)
    stored = [message.as_dict() for message in messages]
    return {**options, "warning": " ".join(map(str, messages)), "warnings": stored}
