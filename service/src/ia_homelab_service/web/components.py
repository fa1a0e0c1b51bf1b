# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The elements that all views of the page are built from."""

from __future__ import annotations

import html
import json
import typing as t

from nicegui import ui

from ia_homelab_core.errors import CoreError
from ia_homelab_core.messages.message import Message

from ..application.errors import FieldErrors
from ..application.schemas import MessageBody, Problem
from .i18n.language import Language


def address(path: str) -> str:
    """Return the address of a path of the service for the current view, below the prefix of a proxy."""
    request = ui.context.client.request
    return f"{request.scope.get('root_path', '') if request else ''}{path}"


def heading(text: str, level: int = 2) -> ui.html:
    """Add a heading."""
    return ui.html(html.escape(text), tag=f"h{level}", sanitize=False)


def paragraph(text: str, classes: str = "") -> ui.html:
    """Add a paragraph."""
    return ui.html(html.escape(text), tag="p", sanitize=False).classes(classes)


def run_html(name: str, run_id: str) -> str:
    """Return the id of a run as HTML, with its fine-tune's name, with which the id begins, put first and once."""
    if not run_id.startswith(name):
        return f'{html.escape(name)} <span class="soft small">{html.escape(run_id)}</span>'
    return f'{html.escape(name)}<span class="soft small">{html.escape(run_id[len(name) :])}</span>'


def without_name(full: str, name: str, separator: str) -> str:
    """Return what distinguishes a version or a run where the name of its model is known already.

    :param full: ``NAME:VERSION`` or ``NAME-FINGERPRINT``; returned as it is if it begins with another name.
    """
    return full.removeprefix(name + separator)


def english(text: str) -> str:
    """Return a message of the core as HTML, marked as English for screen readers."""
    return f'<span lang="en">{html.escape(text)}</span>'


def message_html(language: Language, message: Message) -> str:
    """Return a message without its hint as HTML; marked as English if there is no text in the language."""
    text = message.render(language.code).message
    return html.escape(text) if message.language(language.code) == language.code else english(text)


def hint_html(language: Language, message: Message) -> str:
    """Return the hint of a message as HTML; empty if there is none."""
    hint = message.render(language.code).hint
    return html.escape(hint) if message.language(language.code) == language.code or not hint else english(hint)


def messages_html(language: Language, messages: t.Iterable[MessageBody], otherwise: str = "") -> str:
    """Return messages of the application as HTML, one after the other.

    :param otherwise: text of an older store, which has no messages.
    """
    stored = [Message.from_stored(message.model_dump()) for message in messages]
    return "; ".join(message_html(language, message) for message in stored) or (english(otherwise) if otherwise else "")


def panel(title: str = "") -> ui.element:
    """Add a section, with a heading if a title is given."""
    part = ui.element("section").classes("panel")
    if title:
        with part:
            named = heading(title)
        part.props(f'aria-labelledby="{named.html_id}"')
    return part


def note(kind: str = "", role: str = "") -> ui.element:
    """Add a highlighted message: good, bad, warn or busy."""
    part = ui.element("div").classes(f"note {kind}")
    return part.props(f"role={role}") if role else part


def chip(text: str, kind: str = "") -> ui.html:
    """Add a label for a state."""
    return ui.html(html.escape(text), tag="span", sanitize=False).classes(f"chip {kind}")


def facts(pairs: t.Iterable[tuple[str, str]]) -> ui.html:
    """Add a description list. Values are HTML: see :func:`english` and :func:`html.escape`."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return ui.html(rows, tag="dl", sanitize=False).classes("facts")


def table(caption: str, head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]], classes: str = "") -> ui.html:
    """Add a table. Cells are HTML.

    On a narrow screen its rows are lists, with the title of the column before each cell; the roles keep it a table for
    screen readers.
    """
    top = "".join(f'<th scope="col" role="columnheader">{html.escape(name)}</th>' for name in head)
    body = "".join(
        '<tr role="row">'
        + "".join(
            f'<td role="cell" data-title="{html.escape(name)}">{cell}</td>'
            for name, cell in zip(head, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    text = (
        f'<caption>{html.escape(caption)}</caption><thead role="rowgroup"><tr role="row">{top}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody>'
    )
    with ui.element("div").classes("scroll").props(f"tabindex=0 role=region aria-label={json.dumps(caption)}"):
        return ui.html(text, tag="table", sanitize=False).classes(f"plain {classes}").props("role=table")


def findings(language: Language, found: t.Sequence[MessageBody]) -> None:
    """Add what a training found out about itself, each with its hint; nothing if there is none."""
    if not found:
        return
    with note("warn", role="status"):
        for finding in (Message.from_stored(one.model_dump()) for one in found):
            texts = filter(None, (message_html(language, finding), hint_html(language, finding)))
            ui.html(f"<p>{' '.join(texts)}</p>", sanitize=False)


def problem(language: Language, error: Exception | Problem) -> None:
    """Add an error message: the message and the hint."""
    with note("bad", role="alert"):
        ui.html(problem_html(language, error), tag="div", sanitize=False)


def problem_html(language: Language, error: Exception | Problem) -> str:
    """Return an error as HTML; errors of the core have messages for users."""
    if isinstance(error, FieldErrors):
        pairs = [(message_html(language, one.content), hint_html(language, one.content)) for one in error.errors]
        items = "".join(f"<li>{' '.join(filter(None, pair))}</li>" for pair in pairs)
        return f"<p>{message_html(language, error.content)}</p><ul>{items}</ul>"
    if isinstance(error, CoreError):
        content = error.content
    elif isinstance(error, Problem):
        content = Message.from_stored(error.model_dump())
    else:
        return f"<p>{html.escape(language('error.unexpected', kind=type(error).__name__))}</p>"
    texts = (message_html(language, content), hint_html(language, content))
    return "".join(f"<p>{text}</p>" for text in texts if text)
