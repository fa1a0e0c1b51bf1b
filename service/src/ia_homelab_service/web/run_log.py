# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of a run: at its end while it is at work, at the first cause when it has failed."""

from __future__ import annotations

import html

from nicegui import ui

from ia_homelab_core.messages.message import Message

from ..application import schemas
from . import components
from .i18n.language import Language


class RunLog:
    """The panel with the log of a run."""

    def __init__(self, language: Language) -> None:
        self._language = language
        with components.panel(language("watch.log")):
            self._cause = ui.element("div")
            self._text = ui.html("", tag="pre", sanitize=False).classes("log")
            self._text.props(f'tabindex=0 role=log aria-live=off aria-label="{html.escape(language("watch.log"))}"')

    def show(self, log: schemas.Log) -> None:
        """Show the log, scrolled to its end or to the first cause of a failure."""
        self._cause.clear()
        with self._cause:
            if log.cause is not None:
                with components.note("bad"):
                    ui.html(cause_html(self._language, log.cause), sanitize=False)
        self._text.content = text_html(self._language, log)
        # a reader who has the log in focus or under the pointer is left where they are
        ui.run_javascript(
            f"{{const e = getHtmlElement({self._text.id}), mark = e?.querySelector('mark'); "
            "if (e && !e.matches(':focus, :hover')) "
            "e.scrollTop = mark ? mark.offsetTop - e.offsetTop - e.clientHeight / 2 : e.scrollHeight}"
        )


def cause_html(language: Language, cause: schemas.LogCause) -> str:
    """Return the first cause of a failure as HTML: what it is, where, and what to do."""
    place = language("watch.cause_at", path=cause.path, line=cause.line)
    problem = Message.from_stored(cause.problem.model_dump())
    parts = [components.message_html(language, problem), components.hint_html(language, problem)]
    said = "".join(f"<p>{part}</p>" for part in parts if part)
    title = f"<strong>{html.escape(language('watch.cause'))}</strong>"
    return f'<p>{title} <span class="wrap">{html.escape(place)}</span></p>{said}'


def text_html(language: Language, log: schemas.Log) -> str:
    """Return a log as HTML: with a cause, first the lines around it, with their numbers, then the end."""
    end = html.escape("\n".join(log.lines))
    cause = log.cause
    if cause is None:
        return end
    around = []
    for number, line in enumerate(cause.excerpt, cause.first):
        shown = html.escape(f"{number:>6}  {line}")
        around.append(f"<mark>{shown}</mark>" if number == cause.line else shown)
    return "\n".join([*around, "", f"— {html.escape(language('watch.log_end'))} —", end])
