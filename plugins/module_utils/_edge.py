# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible that all modules share: how one runs, and how it tells what went wrong.

It and ``_module`` are the only files of ``module_utils`` that may import Ansible, and no part of the installed core.
Apart from the options of the steps, so that Ansible does not ship the whole engine with a module that has none.
"""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import CoreError
from ._files import disk_errors
from ._layout import Layout


def fail(module: AnsibleModule, error: CoreError, **more: t.Any) -> t.NoReturn:
    """End a module with an error of the core."""
    module.fail_json(msg=str(error), hint=error.hint, details=error.details, **more)
    raise AssertionError("fail_json came back")


def main(
    spec: dict[str, t.Any],
    body: t.Callable[[AnsibleModule], dict[str, t.Any]],
    reads_only: bool = False,
    **more: t.Any,
) -> None:
    """Run a module: its body takes the module and gives what it answers.

    :param reads_only: it changes nothing; the others are refused where a newer core has written the store.
    """
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **more)
    try:
        with disk_errors(str(module.params.get("data_dir") or os.curdir)):
            if module.params.get("data_dir") and not reads_only and not module.check_mode:
                Layout(module.params["data_dir"]).check_schema()
            found = body(module)
    except CoreError as error:
        fail(module, error)
    module.exit_json(**found)
