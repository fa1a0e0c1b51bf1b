# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fails with the problems that a role has found, or warns."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output

_SPEC: dict[str, t.Any] = {
    "problems": {"type": "list", "elements": "str", "default": []},
    "warnings": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):
    """Everything happens on the control machine; the host of the task is not contacted."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars or {})
        _validation, options = self.validate_argument_spec(_SPEC)
        result["changed"] = False
        problems, warnings = given(options["problems"]), given(options["warnings"])
        if warnings:
            result["warnings"] = warnings
        if problems:
            result.update(failed=True, msg="\n".join(problems))
        return _output.finished(self._task, result)


def given(texts: t.Sequence[str]) -> list[str]:
    """Return the texts that are not blank, without blanks around them."""
    return [text.strip() for text in texts if text.strip()]
