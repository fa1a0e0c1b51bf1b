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
from .._core.messages.message import Message

Config = dict[str, t.Any]

_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)
_DEFAULT_INDENT = "    "
_BUILT_IN_RUNTIME = re.compile(r"runc$|/|.*\.")


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
        name = option_name(item)
        matches = [
            index for index, other in enumerate(result) if other == item or (name and option_name(other) == name)
        ]
        if matches:
            result[matches[0]] = item
            for index in reversed(matches[1:]):
                del result[index]
        else:
            result.append(item)
    return result


def option_name(item: t.Any) -> str:
    """The name of a ``name=value`` item; empty for any other item."""
    return item.partition("=")[0] if isinstance(item, str) and "=" in item else ""


def without(existing: Config, added: Config) -> Config:
    """The existing settings minus the added ones; a setting whose value has changed since then is kept.

    A runtime is kept or removed as a whole, because the engine does not start with one that lacks its path. The default
    runtime is kept.
    """
    result = dict(existing)
    for key, item in added.items():
        if key not in result:
            continue
        current = result[key]
        if key == "runtimes" and isinstance(item, dict) and isinstance(current, dict):
            result[key] = _other_runtimes(current, item, existing.get("default-runtime"))
        elif current == item:
            del result[key]
        elif isinstance(item, dict) and isinstance(current, dict):
            result[key] = without(current, item)
        elif isinstance(item, list) and isinstance(current, list):
            result[key] = [other for other in current if other not in item]
        if key in result and result[key] != current and not result[key]:
            del result[key]
    return result


def _other_runtimes(current: Config, added: Config, default: t.Any) -> Config:
    def is_added(name: str, runtime: t.Any) -> bool:
        item = added.get(name)
        return isinstance(item, dict) and isinstance(runtime, dict) and merged(runtime, item) == runtime

    return {name: runtime for name, runtime in current.items() if name == default or not is_added(name, runtime)}


def faults(config: Config) -> list[Message]:
    """Why the engine would not start with these settings, as far as ``dockerd --validate`` does not check it.

    From ``daemon/runtime_unix.go`` and ``daemon/config/config_linux.go`` of the engine.
    """
    found = []
    runtimes = config.get("runtimes")
    runtimes = runtimes if isinstance(runtimes, dict) else {}
    for name, runtime in runtimes.items():
        if isinstance(runtime, dict) and bool(runtime.get("path")) == bool(runtime.get("runtimeType")):
            found.append(Message("provisioning.runtime_without_path", runtime=name))
    default = config.get("default-runtime")
    # The names that the engine defines itself, and those of containerd's shims.
    if isinstance(default, str) and default and default not in runtimes and not _BUILT_IN_RUNTIME.match(default):
        found.append(Message("provisioning.default_runtime_missing", runtime=default))
    return found


def render(value: Config, previous: bytes = b"") -> str:
    """The text of a file.

    :param previous: previous content of the file, whose indentation is kept.
    """
    indent = _INDENT.search(previous.decode("utf-8", "replace"))
    return json.dumps(value, indent=indent.group(1) if indent else _DEFAULT_INDENT, ensure_ascii=False) + "\n"
