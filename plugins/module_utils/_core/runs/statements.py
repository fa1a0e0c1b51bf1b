# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a run, its state and its result, as messages: the one source for the terminal, page, REST and MCP."""

from __future__ import annotations

import typing as t

from ..messages.message import Message

#: Code of each state, which includes the pauses of the training service.
_CODES = {
    "absent": "runs.state_absent",
    "queued": "runs.state_queued",
    "running": "runs.state_running",
    "paused": "runs.state_paused",
    "succeeded": "runs.state_succeeded",
    "failed": "runs.state_failed",
    "cancelled": "runs.state_cancelled",
}


def state_of(state: str, position: int | None = None, cancelling: bool = False) -> Message:
    """Return the state of a run in a word, with its place in the queue.

    :param state: its state, or ``paused``.
    :param position: its position in the queue, 0 for the next run; None when it is not queued.
    """
    if cancelling:
        return Message("runs.state_cancelling")
    # a run that has begun waits again for its next step
    if (state == "queued" and position is not None) or (state == "running" and position):
        return Message("runs.state_queued_at", place=position + 1)
    return Message(_CODES[state])


def place_of_result(name: str, path: str) -> Message:
    """Return where an adapter, merged weights or a GGUF file of a run lie that registered no model in Ollama.

    :param path: the directory on the host.
    """
    return Message("runs.result_place", name=name, path=path)


def state_of_view(view: t.Mapping[str, t.Any]) -> Message:
    """Return the state of a run as the modules return it (:meth:`RunView.as_dict`)."""
    return state_of(view["state"], view.get("position"), bool(view.get("cancelling")))
