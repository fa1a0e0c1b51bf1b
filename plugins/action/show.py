# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints lines of text as they are, without the quotes and escapes that a result has."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output


class ActionModule(ActionBase):
    """Everything happens on the control machine; the host of the task is not contacted."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = False

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars or {})
        _validation, options = self.validate_argument_spec(
            {"lines": {"type": "list", "elements": "str", "required": True}}
        )
        _output.show(options["lines"])
        result.update(changed=False, lines=options["lines"])
        return result
