# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the service, in addition to those of the core."""

from __future__ import annotations

import dataclasses
import typing as t

from ia_homelab_core.errors import CoreError, InputError
from ia_homelab_core.messages.formatting import ENGLISH
from ia_homelab_core.messages.message import Message, as_json


@dataclasses.dataclass(frozen=True)
class FieldError:
    """An invalid field of a request.

    :param field: its name, as spelled in the request.
    :param content: what is wrong with it.
    """

    field: str
    content: Message

    @property
    def message(self) -> str:
        """What is wrong with it, in English."""
        return self.content.text

    @property
    def hint(self) -> str:
        """What to write instead, in English; empty when that is clear."""
        return self.content.hint


class FieldErrors(InputError):
    """A request with invalid fields: carries all of them, not only the first."""

    def __init__(self, errors: t.Sequence[FieldError]) -> None:
        fields = list(dict.fromkeys(error.field or "body" for error in errors))
        with_hint = [error.content for error in errors if error.hint]
        only = with_hint[0] if len(with_hint) == 1 else None
        super().__init__("service.wrong_fields", fields=fields, only=only, details={"errors": errors_as_dicts(errors)})
        self.errors = tuple(errors)


def errors_as_dicts(errors: t.Iterable[FieldError], language: str = ENGLISH) -> list[dict[str, t.Any]]:
    """Return the errors as plain values, with texts in a language."""
    plain = []
    for error in errors:
        text = error.content.render(language)
        content = {"code": error.content.code, "parameters": as_json(error.content.parameters)}
        plain.append({"field": error.field, "message": text.message, "hint": text.hint, **content})
    return plain


class NotFoundError(InputError):
    """No object has that name or id."""


class ConflictError(CoreError):
    """The request conflicts with the current state of the object."""


class TooLargeError(CoreError):
    """The request exceeds a size limit or a quota."""


class TooSlowError(CoreError):
    """The body of the request did not arrive in time."""


class DeniedError(CoreError):
    """The caller lacks a token, or its token lacks a scope.

    :param authenticated: whether the token is valid.
    """

    def __init__(self, code: str, /, *, authenticated: bool = False, **parameters: t.Any) -> None:
        super().__init__(code, **parameters)
        self.authenticated = authenticated
