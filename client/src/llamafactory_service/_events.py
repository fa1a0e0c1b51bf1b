# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parser of server-sent events (HTML Living Standard), line by line."""

from __future__ import annotations

import dataclasses
import json
import typing as t


@dataclasses.dataclass(frozen=True)
class Event:
    """One event of a job.

    :param id: increases with every event of a job; a stream can be resumed after it.
    :param name: type of the event.
    :param data: content of the event.
    """

    id: str
    name: str
    data: dict[str, t.Any]


@dataclasses.dataclass
class Reader:
    """Incremental parser: takes the lines of a stream and returns the events.

    :param last_id: id of the last event, after which to resume; kept if an event has no id.
    :param retry_ms: reconnection time in milliseconds that the server asked for; None if it did not.
    """

    last_id: str = ""
    retry_ms: int | None = None
    _name: str = ""
    _id: str = ""
    _data: list[str] = dataclasses.field(default_factory=list)

    def begin(self) -> None:
        """Start a new connection: discard an incomplete event of the last one."""
        self._name, self._id, self._data = "", self.last_id, []

    def line(self, line: str) -> Event | None:
        """Process one line; return the event that it completes, if any."""
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
        return None  # a line that starts with a colon is a comment, which keeps the connection alive

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
