# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of requests: JSON, and forms whose files are streamed to disk."""

from __future__ import annotations

import contextlib
import json
import typing as t

from anyio import to_thread
from fastapi import Request
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from ..application.datasets import Datasets, IncomingFile
from ..application.errors import FieldError, FieldErrors

#: Largest size in bytes of a form field that is not a file.
_MAX_FIELD_BYTES = 65536
_MAX_FIELDS = 50


async def json_object(request: Request) -> dict[str, t.Any]:
    """Return the JSON object in a request's body.

    :raises HTTPException: when the body is not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        # also protects from forms of other sites, which can send other media types without a preflight request
        raise HTTPException(415, "The body must be JSON, sent with Content-Type: application/json.")
    raw = await request.body()
    try:
        body = json.loads(raw)
        json.dumps(body, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HTTPException(400, "The body holds half of a character (a lone surrogate).") from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "The body is not JSON.") from error
    if not isinstance(body, dict):
        raise FieldErrors([FieldError("", "The body must be a JSON object.")])
    return body


class ReceivedForm:
    """A parsed form: its fields and its file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.file: IncomingFile | None = None


@contextlib.asynccontextmanager
async def receive_upload(request: Request, datasets: Datasets, filename: str = "") -> t.AsyncIterator[ReceivedForm]:
    """Receive a form with a file, or a file as the body; the file is on disk until the context ends.

    :param filename: name of a file that is the body.
    :raises FieldErrors: when the request has no file.
    :raises TooLargeError: when the file exceeds the limit or the quota.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    with contextlib.ExitStack() as stack:
        form = ReceivedForm()
        if kind == b"multipart/form-data":
            await _FormReader(form, datasets, stack, options.get(b"boundary", b"")).read(request)
        else:
            form.file = stack.enter_context(datasets.receive_file(filename or "rows.jsonl"))
            async for chunk in request.stream():
                await to_thread.run_sync(form.file.write, chunk)
        if form.file is None or not form.file.size:
            raise FieldErrors([FieldError("file", "There is no file in the request, or it is empty.")])
        yield form


class _FormReader:
    """Parses a form while it is received."""

    def __init__(self, form: ReceivedForm, datasets: Datasets, stack: contextlib.ExitStack, boundary: bytes) -> None:
        self.form = form
        self.datasets = datasets
        self.stack = stack
        self.boundary = boundary
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._headers: dict[str, str] = {}
        self._name = ""
        self._target: IncomingFile | None = None
        self._field = bytearray()

    async def read(self, request: Request) -> None:
        if not self.boundary:
            raise HTTPException(400, "The form has no boundary.")
        callbacks: t.Any = {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
        }
        try:
            parser = MultipartParser(self.boundary, callbacks)
            async for chunk in request.stream():
                await to_thread.run_sync(parser.write, chunk)
            parser.finalize()
        except ValueError as error:
            raise HTTPException(400, "The form is incomplete.") from error

    def _part_begin(self) -> None:
        self._headers, self._target, self._field = {}, None, bytearray()
        self._header = (bytearray(), bytearray())

    def _header_end(self) -> None:
        name, value = (bytes(part).decode("utf-8", "replace") for part in self._header)
        self._headers[name.lower()] = value
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        _kind, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self.form.file is not None:
                raise FieldErrors([FieldError(self._name, "There is more than one file in the request.")])
            label = options[b"filename"].decode("utf-8", "replace")
            self._target = self.form.file = self.stack.enter_context(self.datasets.receive_file(label))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target.write(data[start:end])
            return
        self._field.extend(data[start:end])
        if len(self._field) > _MAX_FIELD_BYTES or len(self.form.fields) > _MAX_FIELDS:
            raise FieldErrors([FieldError(self._name, "The field is too long, or there are too many.")])

    def _part_end(self) -> None:
        if self._target is None:
            self.form.fields[self._name] = self._field.decode("utf-8", "replace")
