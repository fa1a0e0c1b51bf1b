# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies with very many fields, or nested very deeply, are refused before they cost anything."""

from __future__ import annotations

import asyncio
import time
import typing as t

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from ia_homelab_service.application.errors import TooLargeError
from ia_homelab_service.http.bodies import JsonRequest, Request, read_fields

FORM = "application/x-www-form-urlencoded"


def request(body: bytes, content_type: str, kind: type[Request] = Request) -> t.Any:
    pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]

    async def receive() -> Message:
        return {"type": "http.request", "body": pieces.pop(0) if pieces else b"", "more_body": bool(pieces)}

    headers = [(b"content-type", content_type.encode())]
    return kind({"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}, receive)


@pytest.mark.parametrize("body", [b"&" * 1_000_000, b"a&" * 500_000, b"a=b&" * 250_000, b"a=" + b"x" * 1_000_000])
def test_a_form_with_a_million_fields_is_refused_at_once(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(TooLargeError):
        asyncio.run(read_fields(request(body, FORM)))
    assert time.process_time() - began < 1


@pytest.mark.parametrize("body", [b"&" * 16_000, b"a&" * 8_000, b"a=b&" * 8])
def test_fields_of_a_small_form_are_counted_even_if_they_are_empty(body: bytes) -> None:
    with pytest.raises(HTTPException, match="more than 8 fields"):
        asyncio.run(read_fields(request(body, FORM)))


def test_both_kinds_of_forms_are_read() -> None:
    assert asyncio.run(read_fields(request(b"token=a%26b&form_token=c", FORM))) == {"token": "a&b", "form_token": "c"}
    part = b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\na&b\r\n'
    multipart = "multipart/form-data; boundary=b"
    assert asyncio.run(read_fields(request(part + b"--b--\r\n", multipart))) == {"token": "a&b"}
    with pytest.raises(HTTPException):
        asyncio.run(read_fields(request(part * 9 + b"--b--\r\n", multipart)))


@pytest.mark.parametrize("depth", [101, 900, 5_000, 60_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_json_that_is_nested_deeply_is_refused(depth: int, start: str, end: str) -> None:
    body = f'{{"model_name": {start * depth}1{end * depth}}}'.encode()
    with pytest.raises(HTTPException, match="nested") as caught:
        asyncio.run(request(body, "application/json", JsonRequest).json())
    assert caught.value.status_code == 400
    accepted = f'{{"model_name": {start * 99}1{end * 99}}}'.encode()
    asyncio.run(request(accepted, "application/json", JsonRequest).json())
