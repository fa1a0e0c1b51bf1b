# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible that all modules share: runs a module and reports its errors.

This file and ``_step_module`` are the only ones of ``module_utils`` that import Ansible; neither is part of the core.
The options of the step modules are in ``_step_module``, so that Ansible does not ship the complete engine with a module
that has no steps.
"""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._core.artifacts.layout import Layout
from ._core.errors import CoreError
from ._core.runs.schema import check_schema
from ._core.system.disk import disk_errors


def fail(module: AnsibleModule, error: CoreError, **return_values: t.Any) -> t.NoReturn:
    """Fail a module with an error of the core.

    :param return_values: additional return values.
    """
    module.fail_json(msg=str(error), hint=error.hint, details=error.details, **return_values)
    raise AssertionError("fail_json returned")


def main(
    spec: dict[str, t.Any],
    body: t.Callable[[AnsibleModule], dict[str, t.Any]],
    reads_only: bool = False,
    **options: t.Any,
) -> None:
    """Run a module.

    :param spec: the argument spec.
    :param body: takes the module and returns its result.
    :param reads_only: whether it changes nothing; other modules are refused where a newer core has written the store.
    :param options: further arguments of ``AnsibleModule``.
    """
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **options)
    try:
        with disk_errors(str(module.params.get("data_dir") or os.curdir)):
            if module.params.get("data_dir") and not reads_only and not module.check_mode:
                check_schema(Layout(module.params["data_dir"]))
            result = body(module)
    except CoreError as error:
        fail(module, error)
    module.exit_json(**result)
