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
import sys
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from . import _shipped_code
from ._core.artifacts.layout import Layout
from ._core.errors import CoreError
from ._core.messages.message import Message
from ._core.runs.schema import check_schema
from ._core.system.disk import disk_errors
from ._core.system.ownership import become_owner, foreign_owner

#: Whether root runs the module, even if the process has become another user since.
STARTED_BY_ROOT = os.geteuid() == 0


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
    provisions: t.Callable[[dict[str, t.Any]], str] | None = None,
    prepare: t.Callable[[AnsibleModule], None] | None = None,
    **options: t.Any,
) -> None:
    """Run a module.

    If the module works in a directory that belongs to another user than root, and root runs it, a child process becomes
    that user and does the rest: root itself reads, writes and executes nothing below the directory, except that it
    gives the owner of a data directory what an earlier version left there.

    :param spec: the argument spec.
    :param body: takes the module and returns its result.
    :param reads_only: whether it changes nothing; other modules are refused where a newer core has written the store.
    :param provisions: of a module that provisions the host: returns the directory in which it works, from the options;
        empty if it works in none. Other modules work in the data directory.
    :param prepare: is called before root becomes that user: it opens files that only root can read.
    :param options: further arguments of ``AnsibleModule``.
    """
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **options)
    data_dir = "" if provisions else str(module.params.get("data_dir") or "")
    directory = provisions(module.params) if provisions else data_dir
    changes = not reads_only and not module.check_mode
    try:
        is_foreign = bool(directory) and foreign_owner(directory) is not None
        if is_foreign and prepare is not None:
            prepare(module)
        if is_foreign and data_dir and changes:
            Layout(data_dir).repair_ownership()
    except CoreError as error:
        fail(module, error)
    if is_foreign:
        _run_in_child(module, directory, lambda: _run(module, body, data_dir, changes))
    else:
        _run(module, body, data_dir, changes)


def _run(
    module: AnsibleModule, body: t.Callable[[AnsibleModule], dict[str, t.Any]], data_dir: str, changes: bool
) -> None:
    try:
        with disk_errors(data_dir or os.curdir):
            if data_dir and changes:
                check_schema(Layout(data_dir))
            result = body(module)
    except CoreError as error:
        fail(module, error)
    module.exit_json(**result)


def _run_in_child(module: AnsibleModule, directory: str, function: t.Callable[[], None]) -> t.NoReturn:
    """Run a function in a child process that is the owner of a directory, and exit with its status.

    A child process, because Ansible's own cleanup after a module needs the user who started it.
    """
    _shipped_code.keep_shipped_code()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            module.fail_json(msg=str(Message("modules.killed", signal=-code)))
        raise SystemExit(code)
    code = 1
    try:
        become_owner(directory)
        function()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except CoreError as error:
        try:
            fail(module, error)
        except SystemExit:
            pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
