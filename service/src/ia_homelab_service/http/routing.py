# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class of all routes of the service."""

from __future__ import annotations

import typing as t

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from ..application.errors import FieldErrors
from ..application.finetune_request import unknown_field
from .bodies import JsonRequest
from .security import PUBLIC, check, declaration

#: Paths of an interface whose clients add parameters of their own, such as ``api-version``.
_FOREIGN_CLIENTS = "/v1/"


class ServiceRoute(APIRoute):
    """A route that declares a scope, and checks it before the body is read.

    FastAPI reads a body first and solves the route's dependencies then. A caller without a token would send all of it.
    It ignores unknown parameters of a query; here they are refused.
    """

    def __init__(self, path: str, endpoint: t.Callable[..., t.Any], **options: t.Any) -> None:
        super().__init__(path, endpoint, **options)
        self.security = declaration(path, self.dependencies)
        names = [field.alias for field in self.dependant.query_params]
        is_strict = self.security is not PUBLIC and not path.startswith(_FOREIGN_CLIENTS)
        self._parameters = names if is_strict else None

    @property
    def body_fields(self) -> list[str]:
        """The fields of the body; empty without one, and for a body that has its fields checked elsewhere."""
        model = self.body_field.field_info.annotation if self.body_field is not None else None
        return [name for name in getattr(model, "model_fields", {}) if name != "root"]

    def get_route_handler(self) -> t.Callable[[Request], t.Coroutine[t.Any, t.Any, Response]]:
        """Return the function that handles a request."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            await check(self.security, request)
            if self._parameters is not None:
                unknown = [name for name in request.query_params if name not in self._parameters]
                if unknown:
                    raise FieldErrors([unknown_field(name, self._parameters) for name in unknown])
            if self.body_field is not None:
                request = JsonRequest(request.scope, request.receive)
                await request.check()
            return await handle(request)

        return checked
