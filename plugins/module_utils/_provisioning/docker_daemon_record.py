# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was changed in Docker's ``daemon.json``, and undoing it.

A change is a top-level setting, or an entry of an object at the top level (``runtimes.nvidia``,
``log-opts.max-size``). It is undone as a whole, so that no runtime is left without its path. A setting that was
changed since then is kept.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .._core.errors import StoreError
from .docker_daemon_config import Config, option_name

_VERSION = 1
_MISSING: t.Any = object()
Key = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Change:
    """One setting that was added or replaced.

    :param key: name of the setting, or of an object and its entry.
    :param value: its value after the change.
    :param former: its value before; ``_MISSING`` if it was added.
    :param made_parent: whether the object was added with the entry.
    """

    key: Key
    value: t.Any
    former: t.Any = _MISSING
    made_parent: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        """The change as the record has it; without ``former`` if the setting was added."""
        value: dict[str, t.Any] = {"key": list(self.key), "value": self.value, "made_parent": self.made_parent}
        if self.former is not _MISSING:
            value["former"] = self.former
        return value

    def items(self) -> list[tuple[t.Any, t.Any]]:
        """The items that were added to a list, each with the one that it replaced, or ``_MISSING``."""
        if not isinstance(self.value, list):
            return []
        former = self.former if isinstance(self.former, list) else []
        replaced = {option_name(item): item for item in reversed(former) if option_name(item)}
        return [(item, replaced.get(option_name(item), _MISSING)) for item in self.value if item not in former]


def load(path: str) -> list[Change] | None:
    """The recorded changes; None if there is no record.

    :raises StoreError: if the file is no such record.
    """
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(raw)
        if value["version"] != _VERSION:
            raise ValueError("version")
        return [_change(entry) for entry in value["changes"]]
    except (ValueError, KeyError, TypeError):
        raise StoreError("provisioning.no_settings_record", path=path) from None


def _change(entry: t.Mapping[str, t.Any]) -> Change:
    key = tuple(str(name) for name in entry["key"])
    if len(key) not in (1, 2):
        raise ValueError("key")
    return Change(key, entry["value"], entry.get("former", _MISSING), bool(entry["made_parent"]))


def render(changes: t.Iterable[Change]) -> str:
    """The text of a record."""
    value = {"version": _VERSION, "changes": [change.as_dict() for change in changes]}
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def recorded(known: t.Iterable[Change], before: Config, after: Config, wanted: Config, adopt: bool) -> list[Change]:
    """The record after a change.

    :param known: the record before it. Changes that were undone or replaced since then are dropped.
    :param before: the settings before, and ``after`` them.
    :param wanted: what was merged.
    :param adopt: take wanted settings that were there already for added ones: on a host on which an earlier version,
        which kept no record, has added them.
    """
    kept = {change.key: change for change in known if _is_there(change, before)}
    for key in _keys(wanted, before):
        former, value = _get(before, key), _get(after, key)
        made_parent = len(key) == 2 and key[0] not in before
        if former == value:
            if adopt and key not in kept:
                kept[key] = Change(key, value, made_parent=len(key) == 2)
        elif key in kept:
            kept[key] = dataclasses.replace(kept[key], value=value)
        else:
            kept[key] = Change(key, value, former, made_parent)
    return list(kept.values())


def undone(config: Config, changes: t.Iterable[Change]) -> Config:
    """The settings without the changes: what was added is taken away, what was replaced is given back."""
    result = dict(config)
    # The last first: an earlier one may have added the object that a later one is in.
    for change in reversed(list(changes)):
        current = _get(result, change.key)
        if current is _MISSING:
            continue
        if current == change.value:
            _set(result, change.key, change.former, change.made_parent)
        elif isinstance(current, list) and change.items():
            rest = _without_items(current, change)
            _set(result, change.key, rest if rest or change.former is not _MISSING else _MISSING, change.made_parent)
    return result


def _without_items(current: list[t.Any], change: Change) -> list[t.Any]:
    rest = []
    for item in current:
        replaced = next((former for added, former in change.items() if added == item), item)
        if replaced is not _MISSING:
            rest.append(replaced)
    return rest


def _is_there(change: Change, config: Config) -> bool:
    current = _get(config, change.key)
    if current is _MISSING:
        return False
    if isinstance(current, list) and any(item in current for item, _former in change.items()):
        return True
    return bool(current == change.value)


def _keys(wanted: Config, before: Config) -> t.Iterator[Key]:
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(before.get(name, {}), dict) and (value or name in before):
            for entry in value:
                yield name, entry
        else:
            yield (name,)


def _get(config: Config, key: Key) -> t.Any:
    value: t.Any = config
    for name in key:
        if not isinstance(value, dict) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _set(config: Config, key: Key, value: t.Any, made_parent: bool) -> None:
    """Set or, with ``_MISSING``, remove a setting; with an object that was added and is empty now, the object."""
    holder = config
    if len(key) == 2:
        holder = config[key[0]] = dict(config[key[0]])
    if value is not _MISSING:
        holder[key[-1]] = value
        return
    del holder[key[-1]]
    if len(key) == 2 and made_parent and not holder:
        del config[key[0]]
