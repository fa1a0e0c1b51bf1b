# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes for plain HTML forms: sign in and out, choose a language, upload a dataset.

They work without scripts, can set cookies that scripts cannot read, and stream an upload to disk. Each form has a token
that is bound to the visitor's cookie.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import html
import secrets
import string
import typing as t
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ia_homelab_core.errors import CoreError

from ..application import schemas
from ..application.errors import DeniedError
from ..application.operations import Operations
from ..http.access import READ, TRAIN
from ..http.bodies import read_fields, receive_upload
from ..http.routing import ServiceRoute
from ..http.security import PUBLIC
from ..http.upload_routes import receives_files
from .i18n.language import LANGUAGE_COOKIE, NAMES, TEXTS
from .layout import STYLE, request_language
from .sessions import LIFETIME, SESSION_COOKIE, Sessions
from .visitors import Visitors

#: Seconds of delay after a wrong token.
_WRONG_TOKEN_SECONDS = 1.0
#: Number of upload results that are kept for the page to show.
_RESULTS_KEPT = 64
_LOGIN_PAGE = string.Template((Path(__file__).parent / "login.html").read_text(encoding="utf-8"))

UploadResult = t.Union[schemas.DatasetChange, CoreError]


class FormRoutes:
    """The routes, and the results of recent uploads."""

    def __init__(self, operations: Operations, visitors: Visitors, sessions: Sessions) -> None:
        self._operations, self._sessions = operations, sessions
        self._results: collections.OrderedDict[str, UploadResult] = collections.OrderedDict()
        self.router = APIRouter(include_in_schema=False, route_class=ServiceRoute)
        reader, trainer = visitors.needs(READ), visitors.needs(TRAIN)
        self.router.add_api_route("/login", self.ask, methods=["GET"], dependencies=[PUBLIC])
        self.router.add_api_route("/login", self.sign_in, methods=["POST"], dependencies=[PUBLIC])
        self.router.add_api_route("/logout", self.sign_out, methods=["POST"], dependencies=[reader])
        self.router.add_api_route("/language/{code}", self.choose, methods=["GET"], dependencies=[PUBLIC])
        self.router.add_api_route("/datasets", self.upload, methods=["POST"], dependencies=[trainer])

    def result(self, key: str) -> UploadResult | None:
        """Return the result of an upload."""
        return self._results.get(key)

    async def ask(self, request: Request, code: str = "") -> Response:
        """Show the form to sign in, or start a session for the code of a sign-in link."""
        if not code:
            return self._login(request)
        cookie = await asyncio.to_thread(self._sessions.open_by_code, code)
        if cookie is None:
            return self._login(request, "sign.link")
        return _signed_in(request, cookie)

    def _login(self, request: Request, problem: str = "") -> Response:
        language, root = request_language(request), request.scope.get("root_path", "")
        alert = f'<p class="note bad" role="alert">{html.escape(language(problem))}</p>' if problem else ""
        other = "".join(
            f'<a href="{root}/language/{code}?back=/login" lang="{code}" hreflang="{code}">{name}</a>'
            for code, name in NAMES.items()
            if code != language.code
        )
        text = _LOGIN_PAGE.substitute(
            {
                key: html.escape(language(key.replace("__", ".")))
                for key in ("brand", "sign__in", "sign__token", "sign__token_hint")
            },
            language=language.code,
            root=root,
            style=STYLE,
            other=other,
            alert=alert,
            form_token=self._sessions.form_token(visitor_id(request)),
        )
        return HTMLResponse(text, 401 if problem else 200, {"Cache-Control": "no-store"})

    async def sign_in(self, request: Request) -> Response:
        """Start a session for a valid token."""
        form = await read_fields(request)
        form_token, token = form.get("form_token", ""), form.get("token", "")
        if not self._sessions.is_form_token(visitor_id(request), form_token):
            return self._login(request, "sign.stale")
        cookie = self._sessions.open(token.strip())
        if cookie is None:
            await asyncio.sleep(_WRONG_TOKEN_SECONDS)
            return self._login(request, "sign.wrong")
        return _signed_in(request, cookie)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        form_token = (await read_fields(request)).get("form_token", "")
        if not self._sessions.is_form_token(visitor_id(request), form_token):
            return RedirectResponse("/", 303)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(SESSION_COOKIE)
        return response

    async def choose(self, request: Request, code: str, back: str = "/") -> Response:
        """Set the language for a year, and redirect to a view of this page only."""
        local = back.startswith("/") and not back.startswith("//") and "\\" not in back and back.isprintable()
        response = RedirectResponse(back if local else "/", 303)
        if code in TEXTS:
            set_cookie(request, response, LANGUAGE_COOKIE, code, 365 * 24 * 3600)
        return response

    @receives_files
    async def upload(self, request: Request) -> Response:
        """Validate a dataset, and publish it if requested and valid."""
        result: UploadResult
        try:
            async with receive_upload(request, self._operations.datasets, ("form_token", "name", "do")) as form:
                if not self._sessions.is_form_token(visitor_id(request), form.fields.get("form_token", "")):
                    raise DeniedError("service.form_too_old")
                name, check = form.fields.get("name", ""), form.fields.get("do") != "publish"
                apply = functools.partial(self._operations.datasets.apply, name, [form.file.source()], check=check)
                result = await asyncio.to_thread(apply)
        except CoreError as error:
            result = error
        key = secrets.token_urlsafe(12)
        self._results[key] = result
        while len(self._results) > _RESULTS_KEPT:
            self._results.popitem(last=False)
        published = isinstance(result, schemas.DatasetChange) and result.published and result.dataset is not None
        chosen = f"&dataset={result.dataset.name}" if published else ""  # type: ignore[union-attr]
        return RedirectResponse(f"/?upload={key}{chosen}", 303)


def visitor_id(request: Request) -> str:
    """Return the value of the visitor's cookie, which a first response sets."""
    return str(request.scope["state"].get("visitor", ""))


def _signed_in(request: Request, cookie: str) -> Response:
    response = RedirectResponse("/", 303, {"Cache-Control": "no-store"})
    set_cookie(request, response, SESSION_COOKIE, cookie, LIFETIME)
    return response


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read and that forms of other sites do not send."""
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, secure=secure, samesite="lax")
