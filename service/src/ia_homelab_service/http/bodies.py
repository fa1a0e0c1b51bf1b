# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests: JSON objects as pydantic models, and forms whose file is written to disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import typing as t

import pydantic
from anyio import to_thread
from fastapi import Request
from starlette import types as asgi
from starlette.datastructures import UploadFile

from ia_homelab_core.json_text import MAX_DEPTH, is_too_deep, parse_json
from ia_homelab_core.messages.message import Message

from ..application import finetune_request
from ..application.datasets import Datasets, IncomingFile
from ..application.errors import FieldError, FieldErrors, TooLargeError
from ..application.upload_quota import Reservation
from .errors import RequestError

#: Largest size in bytes of a form field that is not a file.
_MAX_FIELD_BYTES = 65536
_MAX_FIELDS = 50
#: The same for a form without files: a token, and who sends it.
_MAX_FORM_BYTES = 16384
_MAX_FORM_FIELDS = 8
_CHUNK_BYTES = 1024 * 1024


class RequestBody(pydantic.BaseModel):
    """The body of a request. Unknown fields are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class JsonObject(pydantic.RootModel[dict[str, t.Any]]):
    """A JSON object whose fields the application checks: by tables of the core, with all of their spellings."""


class JsonRequest(Request):
    """A request with a JSON body."""

    async def check(self) -> None:
        """Read the body.

        :raises RequestError: when it is not sent as JSON, or empty.
        :raises TooLargeError: when it exceeds the limit.
        """
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        subtype = media_type.removeprefix("application/")
        if subtype == media_type or not (subtype == "json" or subtype.endswith("+json")):
            # also protects from forms of other sites, which can send other media types without a preflight request
            raise RequestError(415, Message("service.body_not_sent_as_json"))
        if not await self.body():
            raise RequestError(400, Message("service.body_no_json"))

    async def json(self) -> t.Any:
        """Return the value of the body.

        :raises RequestError: when it is not JSON.
        """
        try:
            value = parse_json(await self.body())
            if is_too_deep(value):
                raise RequestError(400, Message("service.body_too_deep", limit=MAX_DEPTH))
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError(400, Message("service.body_half_character")) from error
        except ValueError as error:
            if isinstance(error.__cause__, RecursionError):
                raise RequestError(400, Message("service.body_too_deep", limit=MAX_DEPTH)) from error
            raise RequestError(400, Message("service.body_no_json")) from error
        return value


def field_errors(errors: t.Iterable[t.Mapping[str, t.Any]], body_fields: t.Sequence[str] = ()) -> FieldErrors:
    """Return the error for all that pydantic found wrong with a request.

    :param body_fields: the fields of its body.
    """
    found = []
    for item in errors:
        in_body, *place = (str(part) for part in item["loc"])
        field = ".".join(place)
        if item["type"] == "extra_forbidden":
            found.append(finetune_request.unknown_field(field, body_fields))
        elif not place and in_body == "body":
            found.append(FieldError("", Message("service.body_no_object")))
        elif item["type"] == "missing":
            found.append(FieldError(field, Message("service.field_missing", field=field)))
        elif item["type"] == "string_type":
            found.append(FieldError(field, Message("service.field_no_text_but", field=field, value=item["input"])))
        else:
            found.append(FieldError(field, Message("service.field_invalid", reason=str(item["msg"]))))
    return FieldErrors(found)


async def read_fields(request: Request) -> dict[str, str]:
    """Read a small form without files.

    :raises RequestError: when it has too many fields.
    :raises TooLargeError: when it is larger than such a form.
    """
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > _MAX_FORM_BYTES:
            raise TooLargeError("service.body_too_large", limit=_MAX_FORM_BYTES)
    # the parser counts fields, but not the empty ones between separators, each of which costs it as much
    if received.count(b"&") >= _MAX_FORM_FIELDS:
        raise RequestError(400, Message("service.form_too_many_fields", limit=_MAX_FORM_FIELDS))
    body: list[asgi.Message] = [{"type": "http.request", "body": bytes(received), "more_body": False}]

    async def receive() -> asgi.Message:
        return body.pop() if body else {"type": "http.disconnect"}

    whole = Request(request.scope, receive)
    async with whole.form(max_files=0, max_fields=_MAX_FORM_FIELDS, max_part_size=_MAX_FORM_BYTES) as form:
        return {key: value for key, value in form.items() if isinstance(value, str)}


@dataclasses.dataclass(frozen=True)
class ReceivedForm:
    """A received file, and the other fields of the form that it came with."""

    file: IncomingFile
    fields: t.Mapping[str, str]


@contextlib.asynccontextmanager
async def receive_upload(
    request: Request, datasets: Datasets, fields: t.Collection[str], filename: str = ""
) -> t.AsyncIterator[ReceivedForm]:
    """Receive a form with a file, or a file as the body; the file is on disk until the context ends.

    :param fields: names of the other fields that a form may have.
    :param filename: name of a file that is the body.
    :raises FieldErrors: when the request has no file, or a field of another name.
    :raises HTTPException: when the form cannot be read.
    :raises TooLargeError: when the file exceeds the limit or the quota.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with contextlib.AsyncExitStack() as stack:
        reservation = stack.enter_context(datasets.quota.reservation())
        if media_type != "multipart/form-data":
            file = stack.enter_context(datasets.receive_file(filename or "rows.jsonl", reservation))
            async for chunk in request.stream():
                await to_thread.run_sync(file.write, chunk)
            received = ReceivedForm(file, {})
        else:
            received = await _receive_form(request, datasets, reservation, stack)
        errors = [finetune_request.unknown_field(name, fields) for name in received.fields if name not in fields]
        if not received.file.size:
            errors.append(_no_file())
        if errors:
            raise FieldErrors(errors)
        yield received


async def _receive_form(
    request: Request, datasets: Datasets, reservation: Reservation, stack: contextlib.AsyncExitStack
) -> ReceivedForm:
    # what exceeds the quota is refused as it arrives: the parser writes files to TMPDIR, which the quota does not count
    limited = Request(request.scope, _reserving_receive(request, reservation))
    form = await stack.enter_async_context(
        limited.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
    )
    upload = next((value for value in form.values() if isinstance(value, UploadFile)), None)
    if upload is None:
        raise FieldErrors([_no_file()])
    file = stack.enter_context(datasets.receive_file(upload.filename or "", reservation))
    while chunk := await upload.read(_CHUNK_BYTES):
        await to_thread.run_sync(file.write, chunk)
    return ReceivedForm(file, {key: value for key, value in form.items() if isinstance(value, str)})


def _reserving_receive(request: Request, reservation: Reservation) -> t.Callable[[], t.Awaitable[asgi.Message]]:
    received = 0

    async def receive() -> asgi.Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        # a form has boundaries and fields in addition to the file: they are not stored
        reservation.reach(received - _MAX_FIELD_BYTES)
        return message

    return receive


def _no_file() -> FieldError:
    return FieldError("file", Message("service.file_missing"))
