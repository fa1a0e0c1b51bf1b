# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-sent events (the WHATWG format), read line by line."""

from __future__ import annotations

import dataclasses
import json
import typing as t


@dataclasses.dataclass(frozen=True)
class Event:
    """One thing that happened to a run.

    :param id: grows from event to event of a run; what to resume after.
    :param name: what kind of event it is.
    :param data: what it tells.
    """

    id: str
    name: str
    data: dict[str, t.Any]


@dataclasses.dataclass
class Reader:
    """Takes the lines of a stream one by one and gives the events in them.

    :param last_id: id of the last event, to resume after; kept when an event has none.
    :param retry_ms: how long the server wants a client to wait before it comes again; None when it said nothing.
    """

    last_id: str = ""
    retry_ms: int | None = None
    _name: str = ""
    _id: str = ""
    _data: list[str] = dataclasses.field(default_factory=list)

    def begin(self) -> None:
        """A new connection: what was half read of the last one never was."""
        self._name, self._id, self._data = "", self.last_id, []

    def line(self, line: str) -> Event | None:
        """The event that this line completes, if it does."""
        if not line:
            return self._dispatch()
        field, _colon, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isdecimal():
            self.retry_ms = int(value)
        return None  # a line that begins with a colon is a comment that keeps the connection alive

    def _dispatch(self) -> Event | None:
        name, data = self._name or "message", "\n".join(self._data)
        self._name, self._data = "", []
        self.last_id = self._id
        if not data:
            return None
        try:
            value = json.loads(data)
        except ValueError:
            value = data
        return Event(self.last_id, name, value if isinstance(value, dict) else {"data": value})
