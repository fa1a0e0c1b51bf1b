# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer of the YAML subset that LLaMA-Factory reads: plain values only."""

from __future__ import annotations

import decimal
import json
import math
import re
import typing as t

from ..errors import InputError

# -- YAML ------------------------------------------------------------------------------------------------------------

#: Characters that JSON does not escape and a quoted YAML string must: those that are not printable (YAML's production
#: c-printable), and those that YAML 1.1 treats as line breaks.
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def yaml_scalar(value: t.Any) -> str:
    """One value in YAML's flow style, which YAML 1.1 and 1.2 read identically.

    A float always has a decimal point and no exponent: YAML 1.1 reads ``2e-4`` as a string.

    :raises InputError: if the value has no YAML representation.
    """
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return _NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    if isinstance(value, float) and math.isfinite(value):
        text = format(decimal.Decimal(repr(value)), "f")
        return text if "." in text else text + ".0"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(yaml_scalar(item) for item in value) + "]"
    if isinstance(value, t.Mapping):
        return "{" + ", ".join(f"{yaml_scalar(str(key))}: {yaml_scalar(item)}" for key, item in value.items()) + "}"
    raise InputError("formats.no_yaml", value=value)


def yaml_text(settings: t.Mapping[str, t.Any]) -> str:
    """LLaMA-Factory's configuration file in YAML (its JSON reader is broken); None values are omitted."""
    return "".join(f"{key}: {yaml_scalar(value)}\n" for key, value in settings.items() if value is not None)
