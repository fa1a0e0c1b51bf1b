# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the service beside the core's own."""

from __future__ import annotations

import dataclasses
import typing as t

from ia_homelab_core._errors import CoreError, InputError


@dataclasses.dataclass(frozen=True)
class FieldError:
    """One field of a request that is wrong.

    :param field: as it was written.
    """

    field: str
    message: str
    hint: str = ""


class FieldErrors(InputError):
    """A request with wrong fields: all of them, not only the first."""

    def __init__(self, errors: t.Sequence[FieldError], what: str = "The request") -> None:
        names = ", ".join(dict.fromkeys(error.field or "body" for error in errors))
        hints = [error.hint for error in errors if error.hint]
        super().__init__(
            f"{what} has wrong fields: {names}.",
            hints[0] if len(hints) == 1 else "",
            {"errors": errors_as_dicts(errors)},
        )
        self.errors = tuple(errors)


def errors_as_dicts(errors: t.Iterable[FieldError]) -> list[dict[str, str]]:
    """The errors as plain values."""
    return [dataclasses.asdict(error) for error in errors]


class NotFoundError(InputError):
    """There is nothing of that name."""


class ConflictError(CoreError):
    """What is asked for does not go with how things stand."""


class TooLargeError(CoreError):
    """More than may be sent or stored."""


class DeniedError(CoreError):
    """Who asks may not, or has not said who it is."""

    def __init__(self, message: str, hint: str = "", authenticated: bool = False) -> None:
        super().__init__(message, hint)
        self.authenticated = authenticated
