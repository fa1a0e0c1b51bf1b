# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layout of all views: header, navigation, language switch."""

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

from . import components
from .i18n.language import LANGUAGE_COOKIE, NAMES, Language, choose_language
from .sessions import Session

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
#: The views in the order of the workflow: path and key of the title.
VIEWS = (("/", "nav.configure"), ("/plan", "nav.plan"), ("/watch", "nav.watch"), ("/models", "nav.models"))


@dataclasses.dataclass(frozen=True)
class Viewer:
    """The user of a view.

    :param language: the language of the texts.
    :param session: the session with its scopes.
    """

    language: Language
    session: Session

    def may_train(self) -> bool:
        """Whether the user may change anything; shows a notification if not."""
        if self.session.may("train"):
            return True
        ui.notify(self.language("may.not"), type="negative")
        return False


def request_language(request: Request) -> Language:
    """Return the language for a request."""
    return Language(choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language")))


@contextlib.contextmanager
def view(request: Request, viewer: Viewer, title: str, path: str, sign_out: str = "") -> t.Iterator[None]:
    """Lay out a view: header, navigation, main part.

    :param title: of the window.
    :param path: path of the view in :data:`VIEWS`.
    :param sign_out: token for the form to sign out; empty if the service has no tokens.
    """
    language, client = viewer.language, ui.context.client
    client.page = copy.copy(client.page)  # the language belongs to the page: a copy sets it for this client only
    client.page.language = t.cast(t.Any, {"en": "en-US", "fr": "fr"}[language.code])
    client.title = f"{title} · {language('brand')}"
    ui.colors(primary="#1554b8", negative="#a81d24", positive="#17683a", warning="#7a4b00", dark_page="#11161d")
    ui.add_css(STYLE)
    with ui.header(elevated=False).classes("bar"), ui.element("div").classes("bar-inner"):
        ui.label(language("brand")).classes("brand")
        _navigation(language, path)
        _toolbar(request, language, sign_out)
    # inserted before all other elements: the first one in keyboard order
    ui.skip_link(language("skip"), target=client.content)
    yield


def _navigation(language: Language, path: str) -> None:
    with ui.element("nav").props(f"aria-label={json.dumps(language('nav'))}"), ui.element("ul"):
        for view_path, key in VIEWS:
            with ui.element("li"):
                link = ui.element("a").props(f"href={json.dumps(components.address(view_path))}")
                if view_path == path:
                    link.props("aria-current=page")
                with link:
                    ui.html(html.escape(language(key)), tag="span", sanitize=False)


def _toolbar(request: Request, language: Language, sign_out: str) -> None:
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    with ui.element("div").classes("tools"):
        for code, name in NAMES.items():
            if code != language.code:
                with ui.element("a") as link:
                    ui.html(html.escape(name), tag="span", sanitize=False)
                href = components.address(f"/language/{code}?back={_quote(back)}")
                link._props.update({"href": href, "lang": code, "hreflang": code})
        if sign_out:
            with ui.element("form") as form:
                field = ui.element("input")
                field._props.update({"type": "hidden", "name": "form_token", "value": sign_out})
                with ui.element("button").props("type=submit"):
                    ui.html(html.escape(language("sign.out")), tag="span", sanitize=False)
            form._props.update({"method": "post", "action": components.address("/logout")})


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
