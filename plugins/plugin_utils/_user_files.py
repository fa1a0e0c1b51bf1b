# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the user on the control machine: beside the inventory and the playbook, also with the installed collection.

Roles and playbooks of this collection search in the collection, which is not where a user's files are. A file of the
user is used rather than one of the collection.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible import context
from ansible.errors import AnsibleFileNotFound

#: The directory of this collection.
_COLLECTION = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@dataclasses.dataclass(frozen=True)
class Found:
    """The result of a search.

    :param path: the file; empty if there is none.
    :param is_shipped: whether it is a file of the collection, in no place of the user.
    :param searched: the places that were searched, if there is none.
    """

    path: str
    is_shipped: bool = False
    searched: tuple[str, ...] = ()


def find(path: str, task_vars: t.Mapping[str, t.Any], find_needle: t.Callable[[str, str], str]) -> Found:
    """Find a file where ansible.builtin.copy does, and beside the inventory and the playbook of the command line.

    :param path: absolute or relative.
    :param find_needle: ``ActionBase._find_needle``.
    """
    searched: list[str] = []
    try:
        found = str(find_needle("files", path))
    except AnsibleFileNotFound as error:
        found, searched = "", [str(place) for place in getattr(error, "paths", None) or []]
    if os.path.isabs(path) or (found and not _is_below(found, _COLLECTION)):
        return Found(found)
    candidates = [os.path.join(place, *folder, path) for place in user_places(task_vars) for folder in (("files",), ())]
    own = next((candidate for candidate in candidates if os.path.exists(candidate)), "")
    if own or found:
        return Found(own or found, not own)
    return Found("", searched=tuple(dict.fromkeys([*candidates, *searched])))


def new_path(path: str, task_vars: t.Mapping[str, t.Any], directory: str) -> str:
    """Where a file is written that is in no place of the user: ``files/`` beside the playbook, or else the inventory.

    :param path: absolute or relative.
    :param directory: of the playbook, if neither it nor an inventory is a file of the command line.
    """
    places = user_places(task_vars)
    return os.path.join(places[-1] if places else directory, "files", path)


def user_places(task_vars: t.Mapping[str, t.Any]) -> list[str]:
    """Return the directories of the inventories, and those of the playbooks of the command line, without duplicates."""
    playbooks = context.CLIARGS.get("args") or ()
    sources = [task_vars.get("inventory_dir"), *(task_vars.get("ansible_inventory_sources") or ()), *playbooks]
    places = []
    for source in sources:
        path = os.path.abspath(str(source)) if source else ""
        if os.path.isdir(path):
            places.append(path)
        elif os.path.isfile(path):
            places.append(os.path.dirname(path))
    return list(dict.fromkeys(places))


def _is_below(path: str, directory: str) -> bool:
    real, parent = os.path.realpath(path), os.path.realpath(directory)
    return os.path.commonpath([real, parent]) == parent
