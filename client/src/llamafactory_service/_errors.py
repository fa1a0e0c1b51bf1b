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


def refused(response: httpx.Response) -> Refused:
    """Return the error of an unsuccessful response, whose body has been read."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        text = response.text.strip()[:200] or response.reason_phrase
        return Refused(response.status_code, f"HTTP {response.status_code} from {response.request.url}: {text}")
    message = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status_code}")
    return Refused(response.status_code, message, str(problem.get("hint") or ""), _fields(problem), problem)


def _fields(problem: t.Mapping[str, t.Any]) -> list[WrongField]:
    found = problem.get("errors")
    if not isinstance(found, list):
        return []
    return [
        WrongField(str(error.get("field") or ""), str(error.get("message") or ""))
        for error in found
        if isinstance(error, dict)
    ]
