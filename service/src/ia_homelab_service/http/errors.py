# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors with an HTTP status of their own."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ia_homelab_core.messages.message import Message


class RequestError(HTTPException):
    """A request that cannot be read, or that another server did not answer.

    It is no :class:`CoreError`: FastAPI replaces all but its own exceptions that are raised while it reads a body.

    :param status_code: HTTP status of the response.
    :param content: what is wrong.
    """

    def __init__(self, status_code: int, content: Message) -> None:
        super().__init__(status_code, content.text)
        self.content = content
