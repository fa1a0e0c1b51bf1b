# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, in words: the service answers with ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

import dataclasses
import typing as t

import httpx


class LlamaFactoryError(Exception):
    """A call did not do what was asked."""


class Unreachable(LlamaFactoryError):
    """The service did not answer: it is not running, or the network is cut."""


@dataclasses.dataclass(frozen=True)
class WrongField:
    """One field of a request that cannot be.

    :param name: the field, as it was sent.
    :param message: what is wrong with it, and what was meant perhaps.
    """

    name: str
    message: str


class Refused(LlamaFactoryError):
    """The service answered, and said no.

    :param status: the HTTP status.
    :param message: what is wrong, one sentence.
    :param hint: what to do about it; may be empty.
    :param fields: each wrong field of the request.
    :param problem: the whole answer, for what a later service adds.
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
    """The error in an answer whose status is not one of success. Its body has been read."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        words = response.text.strip()[:200] or response.reason_phrase
        return Refused(response.status_code, f"HTTP {response.status_code} from {response.request.url}: {words}")
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
