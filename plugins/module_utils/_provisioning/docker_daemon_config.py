# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's ``daemon.json``: merge settings, remove settings that were merged earlier, keep everything else.

A file that cannot be parsed is refused and not replaced: it may contain mirrors, proxies and runtimes of other users.
"""

from __future__ import annotations

import json
import re
import typing as t

from .._core.errors import InputError

Config = dict[str, t.Any]

_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_DEFAULT_INDENT = "    "


def parse(raw: bytes, path: str) -> Config:
    """The settings in a file as dockerd reads them.

    :param raw: content of the file; a file with only whitespace has no settings, as for dockerd.
    :param path: path to show in messages.
    :raises InputError: if the content is not exactly one JSON object with unique keys.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("provisioning.file_not_utf8", path=path, byte=error.start) from None
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            "provisioning.file_invalid_json",
            path=path,
            reason=error.msg,
            line=error.lineno,
            column=error.colno,
            details={"line": error.lineno, "column": error.colno},
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError("provisioning.file_not_understood", path=path, reason=error) from None
    if not isinstance(value, dict):
        raise InputError("provisioning.file_no_json_object", path=path)
    return value


def _unique_keys(pairs: list[tuple[str, t.Any]]) -> Config:
    value: Config = {}
    for key, item in pairs:
        if key in value:
            raise ValueError(f"the key {key!r} is there twice")
        value[key] = item
    return value


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON")


def merged(existing: Config, wanted: Config) -> Config:
    """The existing settings with the wanted ones merged into them.

    Objects are merged key by key. List items are appended to the existing ones; of two ``name=value`` items with the
    same name (``exec-opts``, ``storage-opts``) the wanted one replaces the existing one at its place. Any other
    wanted value replaces the existing one. The order of the existing settings is kept.
    """
    result = dict(existing)
    for key, item in wanted.items():
        current = result.get(key)
        if isinstance(item, dict):
            result[key] = merged(current if isinstance(current, dict) else {}, item)
        elif isinstance(item, list):
            result[key] = _merged_list(current if isinstance(current, list) else [], item)
        else:
            result[key] = item
    return result


def _merged_list(current: list[t.Any], wanted: list[t.Any]) -> list[t.Any]:
    result = list(current)
    for item in wanted:
        name = _option_name(item)
        matches = [
            index for index, other in enumerate(result) if other == item or (name and _option_name(other) == name)
        ]
        if matches:
            result[matches[0]] = item
            for index in reversed(matches[1:]):
                del result[index]
        else:
            result.append(item)
    return result


def _option_name(item: t.Any) -> str:
    return item.partition("=")[0] if isinstance(item, str) and "=" in item else ""


def without(existing: Config, added: Config) -> Config:
    """The existing settings minus the added ones; a setting whose value has changed since then is kept."""
    result = dict(existing)
    for key, item in added.items():
        if key not in result:
            continue
        current = result[key]
        if current == item:
            del result[key]
        elif isinstance(item, dict) and isinstance(current, dict):
            result[key] = without(current, item)
        elif isinstance(item, list) and isinstance(current, list):
            result[key] = [other for other in current if other not in item]
        if key in result and result[key] != current and not result[key]:
            del result[key]
    return result


def render(value: Config, previous: bytes = b"") -> str:
    """The text of a file.

    :param previous: previous content of the file, whose indentation is kept.
    """
    indent = _INDENT.search(previous.decode("utf-8", "replace"))
    return json.dumps(value, indent=indent.group(1) if indent else _DEFAULT_INDENT, ensure_ascii=False) + "\n"
