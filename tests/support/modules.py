# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls a module of the collection as Ansible does, in this process: milliseconds instead of a second."""

from __future__ import annotations

import importlib
import json
import typing as t
from unittest import mock

from ansible.module_utils import basic

_PACKAGE = "ansible_collections.ia_homelab.llamafactory.plugins.modules"


class _Ended(Exception):
    pass


def call(name: str, arguments: t.Mapping[str, t.Any], check: bool = False, diff: bool = False) -> dict[str, t.Any]:
    """Call a module and return its result.

    :param name: of the module, without that of the collection.
    :returns: its result; with ``failed`` if it failed.
    """
    internal = {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_verbosity": 3}
    raw = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **internal}}).encode()
    found: dict[str, t.Any] = {}

    def end(_module: t.Any, **answer: t.Any) -> t.NoReturn:
        found.update(json.loads(json.dumps(answer)))
        raise _Ended

    def fail(_module: t.Any, msg: str, **answer: t.Any) -> t.NoReturn:
        end(_module, failed=True, msg=msg, **answer)

    module = importlib.import_module(f"{_PACKAGE}.{name}")
    with (
        mock.patch.object(basic, "_ANSIBLE_ARGS", raw),
        mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy"),
        mock.patch.object(basic.AnsibleModule, "exit_json", end),
        mock.patch.object(basic.AnsibleModule, "fail_json", fail),
    ):
        try:
            module.main()
        except _Ended:
            return found
    raise AssertionError(f"{name} ended without an answer")
