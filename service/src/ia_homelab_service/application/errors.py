# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the service, in addition to those of the core."""

from __future__ import annotations

import dataclasses
import typing as t

from ia_homelab_core.errors import CoreError, InputError


@dataclasses.dataclass(frozen=True)
class FieldError:
    """An invalid field of a request.

    :param field: its name, as spelled in the request.
    """

    field: str
    message: str
    hint: str = ""


class FieldErrors(InputError):
    """A request with invalid fields: carries all of them, not only the first."""

    def __init__(self, errors: t.Sequence[FieldError], subject: str = "The request") -> None:
        names = ", ".join(dict.fromkeys(error.field or "body" for error in errors))
        hints = [error.hint for error in errors if error.hint]
        super().__init__(
            f"{subject} has wrong fields: {names}.",
            hints[0] if len(hints) == 1 else "",
            {"errors": errors_as_dicts(errors)},
        )
        self.errors = tuple(errors)


def errors_as_dicts(errors: t.Iterable[FieldError]) -> list[dict[str, str]]:
    """Return the errors as plain values."""
    return [dataclasses.asdict(error) for error in errors]


class NotFoundError(InputError):
    """No object has that name or id."""


class ConflictError(CoreError):
    """The request conflicts with the current state of the object."""


class TooLargeError(CoreError):
    """The request exceeds a size limit or a quota."""


class DeniedError(CoreError):
    """The caller lacks a token, or its token lacks a scope.

    :param authenticated: whether the token is valid.
    """

    def __init__(self, message: str, hint: str = "", authenticated: bool = False) -> None:
        super().__init__(message, hint)
        self.authenticated = authenticated
