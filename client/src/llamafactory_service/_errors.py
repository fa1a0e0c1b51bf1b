# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the client. The service reports problems as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import dataclasses
import typing as t

import httpx


class LlamaFactoryError(Exception):
    """A call failed."""


class Unreachable(LlamaFactoryError):
    """The service did not answer: it is not running, or the network is interrupted."""


class Timeout(Unreachable):
    """The service did not answer in time. Whether it has carried out the request is unknown: repeating it is safe."""


class TokenError(LlamaFactoryError):
    """The file with the token cannot be read, or it is empty."""


@dataclasses.dataclass(frozen=True)
class WrongField:
    """One invalid field of a request.

    :param name: name of the field as it was sent.
    :param message: description of the problem, with a suggestion if there is one.
    """

    name: str
    message: str


class Refused(LlamaFactoryError):
    """The service refused the request.

    :param status: the HTTP status.
    :param message: description of the problem in one sentence.
    :param hint: how to correct it; may be empty.
    :param fields: every invalid field of the request.
    :param problem: the complete response, for members that later versions of the service add.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str = "",
        fields: t.Sequence[WrongField] = (),
        problem: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        wrong = "; ".join(f"{field.name}: {field.message}" for field in fields if field.message not in message)
        super().__init__(" ".join(part for part in (message, wrong, hint) if part))
        self.status = status
        self.message = message
        self.hint = hint
        self.fields = tuple(fields)
        self.problem = dict(problem or {})


class BadRequest(Refused):
    """The request cannot be read (400)."""


class TokenNeeded(Refused):
    """No token was sent, or an unknown one (401)."""


class NotAllowed(Refused):
    """The token lacks a scope, or a proxy or page of another site is not allowed (403)."""


class NotFound(Refused):
    """There is no such job, dataset, model or path (404)."""


class MethodNotAllowed(Refused):
    """The path does not accept the method (405)."""


class TooSlow(Refused):
    """The request did not arrive in time (408)."""


class Conflict(Refused):
    """The request does not fit the state of what it is about (409)."""


class TooLarge(Refused):
    """The request exceeds a size limit or a quota (413)."""


class UnsupportedMediaType(Refused):
    """The body is not sent as JSON (415)."""


class WrongHost(Refused):
    """The service is not known by the name in the URL (421)."""


class WrongFields(Refused):
    """The request has invalid fields, or names what cannot be trained (422); ``fields`` has every invalid field."""


class TooMany(Refused):
    """There are too many requests (429)."""


class ServiceFailed(Refused):
    """The service failed: a defect, or its data directory is damaged (500)."""


class OtherServerFailed(Refused):
    """A server that the service needs failed, such as Ollama or the hub (502)."""


class NotReady(Refused):
    """The service or the host is not ready for the request (503)."""


#: The class of a problem, by its status: the service has one type of problem for each.
BY_STATUS: dict[int, type[Refused]] = {
    400: BadRequest,
    401: TokenNeeded,
    403: NotAllowed,
    404: NotFound,
    405: MethodNotAllowed,
    408: TooSlow,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedMediaType,
    421: WrongHost,
    422: WrongFields,
    429: TooMany,
    500: ServiceFailed,
    502: OtherServerFailed,
    503: NotReady,
}


def refused(response: httpx.Response) -> Refused:
    """Return the error of an unsuccessful response, whose body has been read."""
    kind = BY_STATUS.get(response.status_code, Refused)
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        text = response.text.strip()[:200] or response.reason_phrase
        return kind(response.status_code, f"HTTP {response.status_code} from {response.request.url}: {text}")
    message = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    return kind(response.status_code, message, str(problem.get("hint") or ""), _fields(problem), problem)


def _fields(problem: t.Mapping[str, t.Any]) -> list[WrongField]:
    found = problem.get("errors")
    if not isinstance(found, list):
        return []
    return [
        WrongField(str(error.get("field") or ""), str(error.get("message") or ""))
        for error in found
        if isinstance(error, dict)
    ]
