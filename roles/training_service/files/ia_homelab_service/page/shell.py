# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every view of the page has around it, and the few elements that all are made of."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import html
import json
import typing as t
from pathlib import Path

from nicegui import ui
from starlette.requests import Request

from .language import COOKIE, NAMES, Language, choose
from .reasons_fr import french
from .sessions import Session

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
#: The views in the order one goes through them: address, key of its name.
VIEWS = (("/", "nav.configure"), ("/plan", "nav.plan"), ("/watch", "nav.watch"), ("/models", "nav.models"))


@dataclasses.dataclass(frozen=True)
class Reader:
    """Who looks at the page.

    :param words: their language.
    :param session: what they may do.
    """

    words: Language
    session: Session

    def may_train(self) -> bool:
        """Whether they may change anything; says so where they may not."""
        if self.session.may("train"):
            return True
        ui.notify(self.words("may.not"), type="negative")
        return False


def language_of(request: Request) -> Language:
    """The language to answer a request in."""
    return Language(choose(request.cookies.get(COOKIE), request.headers.get("accept-language")))


@contextlib.contextmanager
def view(request: Request, reader: Reader, title: str, here: str, sign_out: str = "") -> t.Iterator[None]:
    """One view: header, navigation, main part.

    :param title: of the window and the main heading.
    :param here: address of the view in :data:`VIEWS`.
    :param sign_out: what the form to sign out has to hold; empty where nobody signs in.
    """
    words, client = reader.words, ui.context.client
    client.page = copy.copy(client.page)  # the language of the document is one of the page's, and this page's alone
    client.page.language = t.cast(t.Any, {"en": "en-US", "fr": "fr"}[words.code])
    client.title = f"{title} · {words('brand')}"
    ui.colors(primary="#1554b8", negative="#a81d24", positive="#17683a", warning="#7a4b00", dark_page="#11161d")
    ui.add_css(STYLE)
    with ui.header(elevated=False).classes("bar"), ui.element("div").classes("bar-inner"):
        ui.label(words("brand")).classes("brand")
        _navigation(words, here)
        _tools(request, words, sign_out)
    # puts itself before all that is there by now: it is the first thing a keyboard reaches
    ui.skip_link(words("skip"), target=client.content)
    yield


def _navigation(words: Language, here: str) -> None:
    with ui.element("nav").props(f"aria-label={json.dumps(words('nav'))}"), ui.element("ul"):
        for address, key in VIEWS:
            with ui.element("li"):
                link = ui.element("a").props(f"href={json.dumps(address)}")
                if address == here:
                    link.props("aria-current=page")
                with link:
                    ui.html(html.escape(words(key)), tag="span", sanitize=False)


def _tools(request: Request, words: Language, sign_out: str) -> None:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    with ui.element("div").classes("tools"):
        for code, name in NAMES.items():
            if code != words.code:
                with ui.element("a") as link:
                    ui.html(html.escape(name), tag="span", sanitize=False)
                link._props.update({"href": f"/language/{code}?back={_quoted(back)}", "lang": code, "hreflang": code})
        if sign_out:
            with ui.element("form") as form:
                field = ui.element("input")
                field._props.update({"type": "hidden", "name": "form_token", "value": sign_out})
                with ui.element("button").props("type=submit"):
                    ui.html(html.escape(words("sign.out")), tag="span", sanitize=False)
            form._props.update({"method": "post", "action": "/logout"})


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


# -- elements ------------------------------------------------------------------------------------------------------


def heading(text: str, level: int = 2) -> ui.html:
    """A heading."""
    return ui.html(html.escape(text), tag=f"h{level}", sanitize=False)


def paragraph(text: str, classes: str = "") -> ui.html:
    """A paragraph."""
    return ui.html(html.escape(text), tag="p", sanitize=False).classes(classes)


def english(text: str) -> str:
    """What the core says, marked as English for those who have it read to them."""
    return f'<span lang="en">{html.escape(text)}</span>'


def reason(words: Language, text: str) -> str:
    """Why the core does something, as HTML, in the reader's language where it is known there."""
    told = french(text) if words.code == "fr" else text
    return html.escape(told) if told else english(text)


def panel(title: str = "") -> ui.element:
    """A part of the view with a heading of its own."""
    part = ui.element("section").classes("panel")
    if title:
        with part:
            named = heading(title)
        part.props(f'aria-labelledby="{named.html_id}"')
    return part


def note(kind: str = "", role: str = "") -> ui.element:
    """A message that stands out: good, bad, warn or busy."""
    part = ui.element("div").classes(f"note {kind}")
    return part.props(f"role={role}") if role else part


def chip(text: str, kind: str = "") -> ui.html:
    """A state in a word."""
    return ui.html(html.escape(text), tag="span", sanitize=False).classes(f"chip {kind}")


def facts(pairs: t.Iterable[tuple[str, str]]) -> ui.html:
    """Names and values, as a description list. Values are HTML: see :func:`english`, :func:`html.escape`."""
    rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)
    return ui.html(rows, tag="dl", sanitize=False).classes("facts")


def table(caption: str, head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]], classes: str = "") -> ui.html:
    """A table. Cells are HTML."""
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    text = f"<caption>{html.escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    with ui.element("div").classes("scroll").props(f"tabindex=0 role=region aria-label={json.dumps(caption)}"):
        return ui.html(text, tag="table", sanitize=False).classes(f"plain {classes}")


def problem(words: Language, error: Exception) -> None:
    """What went wrong, in place: sentence, what to do, each wrong field."""
    with note("bad", role="alert"):
        ui.html(problem_html(words, error), tag="div", sanitize=False)


def problem_html(words: Language, error: Exception) -> str:
    """The error as HTML: the core's own words where it is one of the core's."""
    message = str(getattr(error, "message", "") or "")
    if not message:
        return f"<p>{html.escape(words('error.unexpected', kind=type(error).__name__))}</p>"
    hint = str(getattr(error, "hint", "") or "")
    return "".join(f"<p>{english(text)}</p>" for text in (message, hint) if text)
