# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Responses for errors: ``application/problem+json``, and OpenAI's format below ``/v1``."""

from __future__ import annotations

import json
import typing as t

import pydantic
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from ia_homelab_core.errors import CoreError, InputError, JobError, NotReadyError, RemoteError, StoreError
from ia_homelab_core.messages.formatting import ENGLISH
from ia_homelab_core.messages.message import Message, as_json

from ..application.errors import (
    ConflictError,
    DeniedError,
    FieldErrors,
    NotFoundError,
    TooLargeError,
    TooSlowError,
    errors_as_dicts,
)
from ..application.redaction import Redactor
from ..messages.negotiation import preferred_language
from .bodies import field_errors
from .errors import RequestError

PROBLEM = "application/problem+json"
#: Codes of the titles by status.
_TITLES = {
    400: "service.title_bad_request",
    401: "service.title_token_needed",
    403: "service.title_not_allowed",
    404: "service.title_not_found",
    405: "service.title_method_not_allowed",
    408: "service.title_too_slow",
    409: "service.title_conflict",
    413: "service.title_too_large",
    415: "service.title_unsupported_media_type",
    421: "service.title_wrong_host",
    422: "service.title_wrong_fields",
    429: "service.title_too_many",
    500: "service.title_failure",
    502: "service.title_another_server_failed",
    503: "service.title_not_ready",
}
#: OpenAI's error types by status.
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ProblemBody(pydantic.BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""
    code: str = pydantic.Field(default="", description="What kind of error it is, for programs.")
    parameters: dict[str, t.Any] = pydantic.Field(default={}, description="What detail and hint name, by name.")
    errors: list[dict[str, t.Any]] = pydantic.Field(
        default=[], description="field, message, hint, code and parameters of each."
    )


def problem_response(
    path: str,
    status: int,
    content: Message,
    language: str = ENGLISH,
    *,
    redactor: Redactor | None = None,
    errors: t.Sequence[t.Mapping[str, t.Any]] = (),
    headers: t.Mapping[str, str] | None = None,
    **more: t.Any,
) -> Response:
    """Return an error response in the format of the interface at that path.

    :param content: what is wrong.
    :param language: language of the texts.
    :param redactor: removes secrets from the content; None if it contains nothing that a client sent.
    :param errors: what is wrong with fields, as :func:`errors_as_dicts` returns it.
    :param more: further members of the body; OpenAI's format has none.
    """
    text, parameters = content.render(language), as_json(content.parameters)
    detail, hint = text
    if redactor is not None:
        detail, hint, parameters = redactor.text(detail), redactor.text(hint), redactor.value(parameters)
    more_headers = {"Content-Language": language, **(headers or {})}
    if status == 401:
        more_headers.setdefault("WWW-Authenticate", 'Bearer realm="training service"')
    if path.startswith("/v1/"):
        code = "invalid_request_error" if status < 500 else "server_error"
        message = f"{detail} {hint}".strip()
        for error in errors:
            message += f" {error['field']}: {error['message']} {error.get('hint', '')}".rstrip()
        body: dict[str, t.Any] = {
            "error": {
                "message": message,
                "type": _OPENAI_TYPES.get(status, code),
                "param": errors[0]["field"] if errors else None,
                "code": None,
            }
        }
        return JSONResponse(body, status, more_headers)
    title = Message(_TITLES.get(status, "service.title_error")).render(language).message
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if hint:
        body["hint"] = hint
    if errors:
        body["errors"] = list(errors)
    body.update(code=content.code, parameters=parameters, **more)
    return Response(json.dumps(body, ensure_ascii=False, default=str), status, more_headers, PROBLEM)


def http_status(error: CoreError) -> int:
    """Return the HTTP status of an error."""
    for kind, status in (
        (DeniedError, 403),
        (TooLargeError, 413),
        (TooSlowError, 408),
        (NotFoundError, 404),
        (ConflictError, 409),
        (InputError, 422),
        (JobError, 409),
        (NotReadyError, 503),
        (RemoteError, 502),
        (StoreError, 500),
    ):
        if isinstance(error, kind):
            return 401 if isinstance(error, DeniedError) and not error.authenticated else status
    return 500


def error_response(path: str, error: CoreError, redactor: Redactor, language: str = ENGLISH) -> Response:
    """Return the response for an error of the core or the application, with texts in a language."""
    errors = errors_as_dicts(error.errors, language) if isinstance(error, FieldErrors) else []
    # other details of the core are internal (paths, figures)
    more = {key: error.details[key] for key in ("problems_total",) if key in error.details}
    if "problems" in error.details:
        more["problems"] = [_in_language(problem, language) for problem in error.details["problems"]]
    return problem_response(
        path,
        http_status(error),
        error.content,
        language,
        redactor=redactor,
        errors=redactor.value(errors),
        **redactor.value(more),
    )


def _in_language(problem: t.Mapping[str, t.Any], language: str) -> dict[str, t.Any]:
    """Return a problem of a dataset (``what`` and ``fix``) or an option (``message`` and ``hint``) in a language."""
    text_key, hint_key = ("what", "fix") if "what" in problem else ("message", "hint")
    stored = {**problem, "text": problem.get(text_key), "hint": problem.get(hint_key)}
    text = Message.from_stored(stored).render(language)
    return {**problem, text_key: text.message, hint_key: text.hint}


def language_of(request: HTTPConnection) -> str:
    """Return the language that a client prefers."""
    return preferred_language(request.headers.get("accept-language"))


def _content_of(request: Request, error: HTTPException) -> Message:
    """Return what is wrong with a request that the framework has rejected."""
    if isinstance(error, RequestError):
        return error.content
    if error.status_code == 404:
        if is_without_v1(request):
            base = f"{str(request.base_url).rstrip('/')}/v1"
            return Message("service.path_without_v1", path=request.url.path, example=base)
        return Message("service.path_unknown", path=request.url.path)
    if error.status_code == 405:
        return Message("service.method_not_allowed", method=request.method, path=request.url.path)
    return Message("service.request_rejected", reason=str(error.detail))


def prefers_json(connection: HTTPConnection) -> bool:
    """Whether a client is a program that accepts JSON, and no browser."""
    accept = connection.headers.get("accept", "").lower()
    return "application/json" in accept and "text/html" not in accept


def is_without_v1(request: Request) -> bool:
    """Whether a path is one of OpenAI's interface whose client was given an address without ``/v1``."""
    root = str(request.scope.get("root_path", ""))
    scope = {**request.scope, "path": f"{root}/v1{request.scope['path'].removeprefix(root)}"}
    return any(route.matches(scope)[0] != Match.NONE for route in request.app.router.routes)


def add_exception_handlers(app: FastAPI, redactor: Redactor) -> None:
    """Make an application respond to errors in these formats."""

    async def core_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, CoreError)
        return error_response(request.url.path, error, redactor, language_of(request))

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        body_fields = getattr(request.scope.get("route"), "body_fields", ())
        wrong_fields = field_errors(error.errors(), body_fields)
        return error_response(request.url.path, wrong_fields, redactor, language_of(request))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        content = _content_of(request, error)
        # a client of OpenAI's interface reads errors in its format
        path = "/v1/" if content.code == "service.path_without_v1" else request.url.path
        return problem_response(
            path,
            error.status_code,
            content,
            language_of(request),
            redactor=redactor,
            headers=error.headers,
        )

    async def unexpected_error(request: Request, error: Exception) -> Response:
        return problem_response(request.url.path, 500, Message("service.failed"), language_of(request))

    app.add_exception_handler(CoreError, core_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected_error)


def add_schema(app: FastAPI) -> None:
    """Add :class:`ProblemBody`, which responses refer to by name, to the OpenAPI document."""
    create_document = app.openapi

    def with_problem_body() -> dict[str, t.Any]:
        document = create_document()
        schema = ProblemBody.model_json_schema()
        document.setdefault("components", {}).setdefault("schemas", {}).setdefault("ProblemBody", schema)
        return document

    app.openapi = with_problem_body  # type: ignore[method-assign]
