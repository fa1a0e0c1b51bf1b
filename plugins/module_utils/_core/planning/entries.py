# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entries of ``finetunes``: a list, or a dictionary by name, becomes one list for all callers. No side effects."""

from __future__ import annotations

import typing as t

from ..errors import InputError
from ..training.option_values import normalize_name, shown
from ..training.options import DECLARATION_OPTIONS

_NAMES: dict[t.Any, str] = {name: option.name for option in DECLARATION_OPTIONS for name in option.names}


def entries(declared: t.Any) -> list[dict[str, t.Any]]:
    """The declared fine-tunes as a list, in declared order.

    The options that callers look at before the declaration is validated (``name``, ``dataset``, ``nodes``) have their
    canonical names. Values are not changed.

    :param declared: a list of entries, or a dictionary of entries by the name of the fine-tune.
    :raises InputError: if it is neither, or an entry has another name than its key.
    """
    if declared is None:
        return []
    if isinstance(declared, t.Mapping):
        _refuse_single_entry(declared)
        return [_named(str(name), entry) for name, entry in declared.items()]
    if isinstance(declared, (str, bytes)) or not isinstance(declared, t.Sequence):
        raise InputError("planning.finetunes_invalid", value=shown(declared))
    return [_entry(entry, f"Entry {number} of finetunes") for number, entry in enumerate(declared, 1)]


def _named(name: str, raw: t.Any) -> dict[str, t.Any]:
    entry = _entry({} if raw is None else raw, name)
    inside = entry.pop("name", None)
    if inside is not None and str(inside) != name:
        raise InputError("planning.name_differs", name=name, inside=shown(inside))
    return {"name": name, **entry}


def _entry(raw: t.Any, label: str) -> dict[str, t.Any]:
    if not isinstance(raw, t.Mapping):
        raise InputError("planning.entry_no_mapping", entry=label, value=shown(raw))
    entry: dict[str, t.Any] = {}
    for key, value in raw.items():
        name = _NAMES.get(normalize_name(str(key)), str(key))
        # the second spelling of an option stays as it is written, and is refused when the declaration is read
        entry[str(key) if name in entry or (name != key and name in raw) else name] = value
    return entry


def _refuse_single_entry(declared: t.Mapping[t.Any, t.Any]) -> None:
    if "base_model" in declared and not isinstance(declared["base_model"], t.Mapping):
        raise InputError("planning.options_without_name")
