# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's ``daemon.json``: add what is wanted, take away what was added, leave everything else as it is.

What cannot be understood is refused and not replaced: mirrors, proxies and other runtimes in it are somebody's work.
"""

from __future__ import annotations

import json
import re
import typing as t

from ._core.errors import InputError

Config = dict[str, t.Any]

_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_DEFAULT_INDENT = "    "


def parse(raw: bytes, path: str) -> Config:
    """The settings in a file as dockerd reads them.

    :param raw: its content; nothing but blanks are no settings, as for dockerd.
    :param path: for messages.
    :raises InputError: for anything that is not one JSON object with each key once.
    """
    hint = (
        f"It was left as it is. Put it right by hand (dockerd --validate --config-file {path} says what it takes;"
        " it takes no comments), or move it away, and run again."
    )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).", hint) from None
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
            hint,
            {"line": error.lineno, "column": error.colno},
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be understood: {error}.", hint) from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object.", hint)
    return value


def _once(pairs: list[tuple[str, t.Any]]) -> Config:
    value: Config = {}
    for key, item in pairs:
        if key in value:
            raise ValueError(f"the key {key!r} is there twice")
        value[key] = item
    return value


def _no_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON")


def merged(existing: Config, wanted: Config) -> Config:
    """What is there, and what is wanted over it.

    Objects are merged key by key. Items of lists are added to those that are there; of two ``name=value`` items with
    one name (``exec-opts``, ``storage-opts``) the wanted one stays, at the other's place. For anything else, what is
    wanted stays. The order of what is there is kept.
    """
    value = dict(existing)
    for key, item in wanted.items():
        there = value.get(key)
        if isinstance(item, dict):
            value[key] = merged(there if isinstance(there, dict) else {}, item)
        elif isinstance(item, list):
            value[key] = _joined(there if isinstance(there, list) else [], item)
        else:
            value[key] = item
    return value


def _joined(there: list[t.Any], wanted: list[t.Any]) -> list[t.Any]:
    value = list(there)
    for item in wanted:
        name = _name(item)
        same = [index for index, other in enumerate(value) if other == item or (name and _name(other) == name)]
        if same:
            value[same[0]] = item
            for index in reversed(same[1:]):
                del value[index]
        else:
            value.append(item)
    return value


def _name(item: t.Any) -> str:
    return item.partition("=")[0] if isinstance(item, str) and "=" in item else ""


def without(existing: Config, added: Config) -> Config:
    """What is there less what was added; what has another value by now is somebody else's and stays."""
    value = dict(existing)
    for key, item in added.items():
        if key not in value:
            continue
        there = value[key]
        if there == item:
            del value[key]
        elif isinstance(item, dict) and isinstance(there, dict):
            value[key] = without(there, item)
        elif isinstance(item, list) and isinstance(there, list):
            value[key] = [other for other in there if other not in item]
        if key in value and value[key] != there and not value[key]:
            del value[key]
    return value


def render(value: Config, like: bytes = b"") -> str:
    """The text of a file.

    :param like: what the file held before; its indentation is kept.
    """
    found = _INDENT.search(like.decode("utf-8", "replace"))
    return json.dumps(value, indent=found.group(1) if found else _DEFAULT_INDENT, ensure_ascii=False) + "\n"
