# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints: the name of a result is the SHA-256 of its inputs.

The canonical form is similar to RFC 8785: JSON with sorted keys, no whitespace, UTF-8. Integral numbers are written
as integers (``3`` and ``3.0`` are the same number of epochs), other numbers as Python's shortest round-trip ``repr``.
Settings that are None are omitted, so that an option added later with the default None does not change a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing as t

from .errors import InputError

#: Incremented only when the meaning of a fingerprint changes: every artifact then gets a new name.
SCHEME = 1


def canonical(value: t.Any) -> t.Any:
    """Return the canonical form of a value.

    :raises InputError: for NaN, infinities and types that JSON cannot represent.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError("fingerprint.no_number", value=value)
        return int(value) if value == int(value) and abs(value) < 2**53 else value
    if isinstance(value, t.Mapping):
        return {str(key): canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    raise InputError("fingerprint.type_invalid", type=type(value).__name__, value=value)


def canonical_json(value: t.Any) -> str:
    """Return the canonical JSON text of a value.

    :raises InputError: for a value without a canonical form.
    """
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: t.Any) -> str:
    """Return the SHA-256, in hexadecimal, of the canonical JSON of a value.

    :raises InputError: for a value without a canonical form.
    """
    try:
        raw = canonical_json(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("fingerprint.lone_surrogate", text=f"{error.object!r:.80}") from error
    return hashlib.sha256(raw).hexdigest()


def fingerprint(kind: str, settings: t.Mapping[str, t.Any], upstream: t.Mapping[str, str]) -> str:
    """Return the fingerprint of a step's result.

    :param kind: the step: base, dataset, train, merge, gguf or register.
    :param settings: the declared settings that change the result, without those at their default.
    :param upstream: fingerprints of the input artifacts, by kind.
    :returns: 64 hexadecimal digits.
    :raises InputError: for settings without a canonical form.
    """
    return digest({"scheme": SCHEME, "step": kind, "settings": settings, "upstream": upstream})
